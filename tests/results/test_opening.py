"""Opening results: what is made, what is refused, and that a refusal changes nothing."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from compat_spec.results import ResultsError, open_results, sqlite
from compat_spec.results.schema import VERSION_TABLE, VERSIONS
from compat_spec.results.tables import Base
from tests.results.made_up import record, score, start


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def made_by_newer(path: Path) -> None:
    open_results(path, create=True)
    execute(path, f"UPDATE {VERSION_TABLE} SET version_num = '9999'")


def without_a_column(path: Path) -> None:
    open_results(path, create=True)
    execute(
        path,
        "DROP VIEW cka",
        "DROP VIEW similarity",
        "DROP VIEW all_similarities",
        "ALTER TABLE similarities DROP COLUMN layer_b",
    )


def without_a_table(path: Path) -> None:
    open_results(path, create=True)
    execute(path, "DROP TABLE scores")


def without_a_version(path: Path) -> None:
    open_results(path, create=True)
    execute(path, f"DELETE FROM {VERSION_TABLE}")


def of_somebody_else(path: Path) -> None:
    execute(path, "CREATE TABLE photos (name TEXT)", "INSERT INTO photos VALUES ('sea')")


def with_our_names_but_not_ours(path: Path) -> None:
    execute(path, "CREATE TABLE runs (distance REAL)")


def overwritten(path: Path) -> None:
    open_results(path, create=True)
    content = path.read_bytes()
    path.write_bytes(content[:100] + b"\xa5" * (len(content) - 100))


def text(path: Path) -> None:
    path.write_text("merge,loss\naverage,3.0\n", "utf-8")


BROKEN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "newer": (made_by_newer, "newer compat"),
    "lacks a column": (without_a_column, "lacks similarities.layer_b"),
    "lacks a table": (without_a_table, "lacks the table scores"),
    "lacks its version": (without_a_version, "which version"),
    "other tables": (of_somebody_else, "something else than results .tables photos."),
    "our table names": (with_our_names_but_not_ours, "something else than results .tables runs."),
    "corrupt": (overwritten, "damaged"),
    "text": (text, "not an SQLite database"),
    "folder": (Path.mkdir, "is a folder"),
    "no regular file": (os.mkfifo, "is not a file"),
}


@pytest.mark.parametrize("create", [True, False], ids=["to write", "to read"])
@pytest.mark.parametrize("what", BROKEN)
def test_what_is_not_ours_is_refused_and_left_alone(what: str, create: bool, tmp_path: Path) -> None:
    make, message = BROKEN[what]
    path = tmp_path / "results.db"
    make(path)
    content = path.read_bytes() if path.is_file() else None
    with pytest.raises(ResultsError, match=message) as refusal:
        open_results(path, create=create)
    assert "\n" not in str(refusal.value)
    assert str(path) in str(refusal.value)
    assert (path.read_bytes() if path.is_file() else None) == content
    assert [entry.name for entry in tmp_path.iterdir()] == ["results.db"]


def test_reading_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"there is no .*compat run makes it"):
        open_results(tmp_path / "results.db", create=False)
    with pytest.raises(ResultsError, match="there is no folder"):
        open_results(tmp_path / "nowhere" / "results.db", create=True)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_file_can_be_filled_but_not_read(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    path.touch()
    with pytest.raises(ResultsError, match="is empty"):
        open_results(path, create=False)
    open_results(path, create=True)
    assert open_results(path, create=False).runs() == []


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "what://x", "://", "mysql+nothing://host/db"])
def test_urls_that_lead_nowhere(url: str) -> None:
    with pytest.raises(ResultsError):
        open_results(url, create=True)


@pytest.mark.parametrize("name", ["results.db", "re sults?mode=ro#1%20.db", "größe.sqlite"])
def test_a_file_may_be_given_as_a_path_or_as_a_url(name: str, tmp_path: Path) -> None:
    record(open_results(tmp_path / name, create=True), [score("average", 3.0)])
    assert [entry.name for entry in tmp_path.iterdir()] == [name]
    assert open_results(str(tmp_path / name), create=False).query("SELECT value FROM loss").rows == [(3.0,)]
    if "?" not in name:
        assert len(open_results(f"sqlite:///{tmp_path / name}", create=False).runs()) == 1


def test_readers_and_a_writer_do_not_wait_for_each_other(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    results = open_results(path, create=True)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        assert results.query("SELECT count(*) FROM runs").rows == [(0,)]


def test_a_locked_database_is_said_to_be_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "results.db"
    open_results(path, create=True)
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.05)
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        with pytest.raises(ResultsError, match="is locked"):
            open_results(path, create=True)


@pytest.fixture
def as_somebody() -> Iterator[Path]:
    """A folder of an ordinary user, and that user's rights: the administrator may write everywhere."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if os.geteuid() != 0:
            yield folder
            folder.chmod(0o755)
            return
        os.chown(folder, 65534, 65534)
        os.seteuid(65534)
        try:
            yield folder
        finally:
            os.seteuid(0)


def test_a_read_only_file_cannot_be_written_but_read(as_somebody: Path) -> None:
    path = as_somebody / "results.db"
    record(open_results(path, create=True), [score("average", 3.0)])
    path.chmod(0o444)
    content = path.read_bytes()
    with pytest.raises(ResultsError, match=r"cannot write .*read-only"):
        open_results(path, create=True)
    assert open_results(path, create=False).query("SELECT value FROM loss").rows == [(3.0,)]
    assert path.read_bytes() == content


def test_a_read_only_folder_cannot_be_written_but_read(as_somebody: Path) -> None:
    path = as_somebody / "results.db"
    record(open_results(path, create=True), [score("average", 3.0)])
    content = path.read_bytes()
    as_somebody.chmod(0o555)
    for name in ("results.db", "new.db"):
        with pytest.raises(ResultsError, match=r"cannot (open|write) .*read-only"):
            open_results(as_somebody / name, create=True)
    assert open_results(path, create=False).query("SELECT value FROM loss").rows == [(3.0,)]
    assert path.read_bytes() == content
    assert [entry.name for entry in as_somebody.iterdir()] == ["results.db"]


@pytest.mark.parametrize("create", [True, False])
def test_a_folder_that_is_closed_to_us(as_somebody: Path, create: bool) -> None:
    closed = as_somebody / "closed"
    closed.mkdir(0o000)
    with pytest.raises(ResultsError, match="cannot open"):
        open_results(closed / "results.db", create=create)


def test_opening_again_does_not_take_the_lock_away(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    writer = start(open_results(path, create=True))  # keeps a connection, and with it a lock, until it has finished
    open_results(path, create=False).runs()
    open_results(path, create=True)
    other = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('PRAGMA journal_mode = DELETE')"
    done = subprocess.run([sys.executable, "-c", other, str(path)], capture_output=True, text=True)
    assert "locked" in done.stderr
    writer.finish("finished")


def test_a_relative_path_stays_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    results = open_results("results.db", create=True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    record(results, [score("average", 3.0)])
    assert results.query("SELECT value FROM loss").rows == [(3.0,)]


def open_and_write(path: Path, barrier: Barrier, number: int) -> None:
    barrier.wait(30)
    results = open_results(path, create=True)
    for seed in range(10):
        record(
            results, [score("average", 1.0, seed=seed, **{f"p{number}": 1})], f"e{number}", parameters=[f"p{number}"]
        )


def test_processes_may_make_and_write_one_new_database_at_once(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(3)
    processes = [context.Process(target=open_and_write, args=(path, barrier, number)) for number in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    results = open_results(path, create=False)
    assert len(results.runs()) == 30
    assert results.query(
        "SELECT p0, p1, p2, count(*) FROM all_scores GROUP BY experiment ORDER BY experiment"
    ).rows == [
        (1, None, None, 10),
        (None, 1, None, 10),
        (None, None, 1, 10),
    ]


def test_migrations_make_the_tables_that_the_code_expects(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    open_results(path, create=True)
    config = Config()
    config.set_main_option("script_location", "compat_spec.results:migrations")
    revisions = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    assert tuple(reversed(revisions)) == VERSIONS
    with create_engine(f"sqlite:///{path}").connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE, "compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """A database of the first version, with a run and a step."""
    path = tmp_path / "results.db"
    engine = create_engine(f"sqlite:///{path}")
    config = Config()
    config.set_main_option("script_location", "compat_spec.results:migrations")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, VERSIONS[0])
        connection.exec_driver_sql(
            "INSERT INTO runs VALUES (1, 'abcd', 'old', 'finished', '2026-01-01 00:00:00', '2026-01-01 00:00:01', NULL,"
            " 'x', 'x.yaml', 'compat run', '{}', NULL, 'here', 1, 'cpu', 'inline', '[]')"
        )
        connection.exec_driver_sql(
            "INSERT INTO steps VALUES (1, 1, 'ff', 'train', 'train it', 'computed', 1.5, 'cpu', NULL, NULL, '{}', 7)"
        )
    engine.dispose()
    return path


def test_an_older_database_is_not_read_but_told_how_to_bring_it_up_to_date(older: Path) -> None:
    before = older.read_bytes()
    with pytest.raises(ResultsError, match=r"was made by an older compat .*; the next compat run that writes to it"):
        open_results(older, create=False)
    assert older.read_bytes() == before


def test_an_older_database_is_brought_up_to_date_by_what_writes_to_it(older: Path) -> None:
    open_results(older, create=True)
    results = open_results(older, create=False)
    (step,) = results.steps("abcd")
    assert (step.label, step.seconds, step.peak_bytes, step.host) == ("train it", 1.5, 7, None)
