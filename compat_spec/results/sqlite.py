"""Connections to a results file of SQLite, and what its errors mean to the user."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, NullPool, create_engine, event
from sqlalchemy.pool import QueuePool

from compat_spec.results.errors import ResultsError
from compat_spec.results.plain_json import dumps
from compat_spec.results.same_file import insist_on_same_file

BUSY_SECONDS = 30.0
"""How long to wait for another process that is writing."""

READ_ONLY = "the file or its folder is read-only, or belongs to somebody else"


def writing_engine(path: Path) -> Engine:
    """An engine whose transactions take the write lock at once, so that none fails half-way for want of it."""
    engine = create_engine(
        "sqlite://", creator=lambda: _connect(path, "rwc"), poolclass=QueuePool, json_serializer=dumps
    )
    insist_on_same_file(engine, path)

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def reading_engine(path: Path) -> Engine:
    """An engine that cannot write."""
    return create_engine("sqlite://", creator=lambda: connect_to_read(path), poolclass=NullPool)


def use_wal(engine: Engine) -> None:
    """Let readers and a writer work at once. SQLite does not wait for a lock here, hence the retries."""
    connection = engine.raw_connection()
    try:
        driver: Any = connection.driver_connection
        _patiently(lambda: driver.execute("PRAGMA journal_mode = WAL").fetchall())
    finally:
        connection.close()


def may_write(path: Path) -> bool:
    """Whether the file may be written, as far as its rights say.

    SQLite itself would find out at the first write only. And nobody but SQLite may open the file to try: when a process
    closes a file, it loses the locks that its other connections hold on it.
    """
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def code_of(error: sqlite3.Error) -> int:
    """The kind of an error, as one of the constants of the module sqlite3."""
    return getattr(error, "sqlite_errorcode", -1) & 0xFF


def explanation(name: str, error: sqlite3.Error) -> str:
    """What went wrong with the database `name`, and what to do."""
    match code_of(error):
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return f"{name} is locked: another process has been writing to it for {BUSY_SECONDS:g} s; try again later"
        case sqlite3.SQLITE_READONLY:
            return f"cannot write {name}: {READ_ONLY}"
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return f"cannot open {name}: {READ_ONLY}"
        case sqlite3.SQLITE_NOTADB:
            return f"{name} is not an SQLite database; name another file with --results"
        case sqlite3.SQLITE_CORRUPT:
            return f"{name} is damaged ({error}); move it away, and the next run makes a new one"
        case sqlite3.SQLITE_FULL:
            return f"cannot write {name}: the disk is full"
        case sqlite3.SQLITE_IOERR:
            return f"cannot read or write {name}: {error}; is its disk there, and has it room?"
    return f"{name}: {error}"


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def connect_to_read(path: Path) -> sqlite3.Connection:
    """A connection that refuses to write.

    In WAL mode SQLite puts two more files beside the database while it is open, and only a connection that might write
    takes them away again; hence `query_only` instead of `mode=ro`. Where they cannot be put, nobody else writes either.
    """
    if not path.is_file():
        raise ResultsError(f"{path} is not there any more")
    connection = _connect(path, "rw")
    try:
        connection.execute("PRAGMA query_only = ON")
        connection.execute("SELECT 1 FROM sqlite_master")
    except sqlite3.Error as error:
        connection.close()
        read_only = code_of(error) in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
        if not read_only or path.with_name(f"{path.name}-wal").exists():
            raise
        connection = _connect(path, "ro&immutable=1")
    try:
        connection.execute("SELECT sqrt(1)")
    except sqlite3.OperationalError:  # an SQLite without mathematics; `leaderboard` needs this one function
        connection.create_function("sqrt", 1, lambda x: None if x is None else x**0.5, deterministic=True)
    return connection


def _patiently(action: Callable[[], Any]) -> None:
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            action()
        except sqlite3.OperationalError as error:
            if code_of(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return
