"""Results that fail in the middle of a run: it ends with one clear line, and the next run has every row."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, event

from compat_spec.cli.main import main
from compat_spec.results import ResultsError, sqlite
from compat_spec.run.events import Event, StepFinished
from tests.run.experiments import Workplace


@contextmanager
def deleted(place: Workplace) -> Iterator[None]:
    (place.folder / "results.db").unlink()
    yield


@contextmanager
def a_folder(place: Workplace) -> Iterator[None]:
    path = place.folder / "results.db"
    path.unlink()
    path.mkdir()
    yield
    path.rmdir()


@contextmanager
def locked(place: Workplace) -> Iterator[None]:
    with closing(sqlite3.connect(place.folder / "results.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


@contextmanager
def full(place: Workplace) -> Iterator[None]:
    def begin(connection: Any) -> None:
        connection.exec_driver_sql("PRAGMA max_page_count = 1")  # as many as there are, and no more

    event.listen(Engine, "begin", begin)
    yield
    event.remove(Engine, "begin", begin)


WAYS = {
    "was deleted, moved or replaced": (deleted, True),
    "was deleted, moved or replaced ": (a_folder, True),
    "is locked: another process": (locked, False),
    "the disk is full": (full, False),
}


@pytest.mark.parametrize("message", WAYS)
def test_the_run_ends_with_a_clear_error_and_the_next_has_every_row(
    message: str,
    place: Workplace,
    once: Workplace,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    way, gone = WAYS[message]
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.05)
    failing = []

    def listener(happened: Event) -> None:
        if isinstance(happened, StepFinished) and happened.step.label == "train one":
            failing.append(way(place))
            failing[-1].__enter__()

    try:
        with pytest.raises(ResultsError, match=message.strip()) as error:
            place.run(listener=listener)
    finally:
        for one in failing:
            one.__exit__(None, None, None)
    assert error.value.exit_status == 1
    done = {place.store.manifest(one).label for one in place.store}
    assert {"train base", "train one"} <= done
    summary = place.run()
    assert (summary.exit_status, summary.reused) == (0, len(done))
    assert len(place.results.runs()) == (1 if gone else 2)
    for table in ("loss", "accuracy", "cka", "routing", "leaderboard", "critical_steps"):
        assert len(place.rows(f"SELECT * FROM {table}")) == len(once.rows(f"SELECT * FROM {table}")), table


def test_the_command_says_it_on_one_line(
    place: Workplace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place.spec.parent)
    path = place.folder / "results.db"

    @event.listens_for(Engine, "commit")
    def committed(connection: Any) -> None:
        if connection.exec_driver_sql("SELECT count(*) FROM steps").scalar() > 2 and path.exists():
            path.unlink()

    monkeypatch.setattr(
        sys, "argv", ["compat", "run", "tiny.yaml", "--device", "cpu", "--executor", "inline", "--quiet"]
    )
    try:
        with pytest.raises(SystemExit) as end:
            main()
    finally:
        event.remove(Engine, "commit", committed)
    assert end.value.code == 1
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith(f"compat: {path} was deleted, moved or replaced while a run wrote it")
