"""A file of results that vanishes, is locked, or finds no room while a run writes: nothing is lost without a word."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from compat_spec.results import Results, ResultsError, open_results, sqlite
from tests.results.made_up import record, score, start


def delete(path: Path) -> None:
    path.unlink()


def delete_all(path: Path) -> None:
    for file in path.parent.iterdir():
        file.unlink()


def move(path: Path) -> None:
    path.rename(path.with_name("elsewhere.db"))


def put_a_folder_there(path: Path) -> None:
    path.unlink()
    path.mkdir()


def put_a_copy_there(path: Path) -> None:
    shutil.copy(path, path.with_name("copy"))
    os.replace(path.with_name("copy"), path)


def remove_the_folder(path: Path) -> None:
    shutil.rmtree(path.parent)


WAYS = [delete, delete_all, move, put_a_folder_there, put_a_copy_there, remove_the_folder]


@pytest.mark.parametrize("vanish", WAYS)
def test_a_file_that_is_not_the_same_any_more_is_noticed(vanish: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "folder" / "results.db"
    path.parent.mkdir()
    results = open_results(path, create=True)
    writer = start(results)
    writer.scores([score("average", 1.0)])
    vanish(path)
    for write in (lambda: writer.scores([score("average", 2.0, seed=1)]), lambda: writer.finish("finished")):
        with pytest.raises(ResultsError, match=r"results\.db was deleted, moved or replaced while a run wrote it"):
            write()
    with pytest.raises(ResultsError, match="deleted, moved or replaced"):
        start(results)


@pytest.mark.parametrize("vanish", [delete, delete_all, move])
def test_after_that_a_new_file_is_whole(vanish: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    first = open_results(path, create=True)
    writer = start(first)
    writer.scores([score("average", 1.0)])
    vanish(path)
    with pytest.raises(ResultsError, match="is not there any more"):
        first.query("SELECT 1")
    second = open_results(path, create=True)
    record(second, [score("average", 2.0)])
    with pytest.raises(ResultsError, match="deleted, moved or replaced"):
        writer.finish("finished")
    del first, writer  # closes what is still open of the old file
    assert second.query("SELECT value FROM all_scores").rows == [(2.0,)]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_file_that_vanishes_inside_a_transaction_is_noticed_before_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    results = open_results(path, create=True)
    writer = start(results)

    @event.listens_for(writer._engine, "after_cursor_execute")
    def executed(_: Any, __: Any, statement: str, *___: Any) -> None:
        if statement.startswith("INSERT INTO scores"):
            path.unlink()

    with pytest.raises(ResultsError, match="deleted, moved or replaced"):
        writer.scores([score("average", 1.0)])


def test_a_lock_that_outlasts_our_patience_is_said(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.05)
    writer = start(results)
    with closing(sqlite3.connect(results.name, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(ResultsError, match=r"is locked: another process has been writing to it for 0\.05 s"):
            writer.scores([score("average", 1.0)])
        assert results.query("SELECT count(*) FROM scores").rows == [(0,)]
        other.execute("ROLLBACK")
    writer.scores([score("average", 1.0)])
    writer.finish("finished")
    assert results.query("SELECT value FROM loss").rows == [(1.0,)]


def test_a_full_disk_is_said_and_leaves_what_was_there(results: Results) -> None:
    writer = start(results)
    writer.scores([score("average", 1.0)])
    with writer._engine.connect() as connection:  # the one connection of the writer
        (pages,) = connection.exec_driver_sql("PRAGMA page_count").one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(ResultsError, match=r"cannot write .*results\.db: the disk is full"):
        writer.scores([score("average", 2.0, seed=seed) for seed in range(10_000)])
    assert results.query("SELECT value FROM loss").rows == [(1.0,)]
    with writer._engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 100000")
    writer.scores([score("average", 2.0, seed=seed) for seed in range(10_000)])
    writer.finish("finished")
    assert results.query("SELECT count(*) FROM loss").rows == [(10_001,)]


def test_a_file_that_becomes_read_only_takes_what_a_run_has_begun(results: Results) -> None:
    """It was opened for writing: the system keeps that promise. Only the next run is refused."""
    path = Path(results.name)
    writer = start(results)
    path.chmod(0o444)
    writer.scores([score("average", 1.0)])
    writer.finish("finished")
    assert results.query("SELECT value FROM loss").rows == [(1.0,)]
