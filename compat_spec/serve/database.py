"""The database of Datasette, with connections of our own that can only read.

Datasette would open the file as immutable (`immutable=1`) or with `mode=ro`. Neither is right here. Of a file that it
is told never changes, SQLite reads no write-ahead log, and locks nothing: while a run writes, and until its last rows
are folded into the file, such a reader misses what is committed, or reads pages of two states and calls the file
damaged. And `mode=ro` leaves the files of the log behind. So each question opens the file as `compat query` does, in a
state that is whole, and closes it: what a run has just written is there, and a file that was replaced is noticed.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from datasette.database import Database
from datasette.utils import allowed_pragmas

from compat_spec.results import ResultsError
from compat_spec.results.sqlite import connect_to_read
from compat_spec.serve.mistakes import told

READING = frozenset((sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE))


class ReadOnlyDatabase(Database):  # type: ignore[misc]  # Datasette has no types
    """A file of results. Nothing that is sent to it can change anything, there or elsewhere."""

    def __init__(self, site: Any, file: Path) -> None:
        super().__init__(site, path=str(file), is_mutable=True)  # it may change, by others: nothing of it is kept
        self._file = file

    def connect(self, write: bool = False) -> sqlite3.Connection:
        if write:
            self._refuse()
        return connect_to_read(self._file)

    async def execute_fn(self, fn: Callable[[sqlite3.Connection], Any]) -> Any:
        def ask() -> Any:
            try:
                connection = self.connect()
            except ResultsError as error:
                raise told(error) from None
            try:
                self.ds._prepare_connection(connection, self.name)
                connection.set_authorizer(_authorize)
                return fn(connection)
            finally:
                connection.close()

        return await asyncio.get_running_loop().run_in_executor(self.ds.executor, ask)

    async def execute(self, *arguments: Any, **named: Any) -> Any:
        """As Datasette's, but a mistake in a query is told on the page, not on the terminal, too."""
        return await super().execute(*arguments, **{**named, "log_sql_errors": False})

    async def execute_write_fn(self, fn: Callable[[sqlite3.Connection], Any], block: bool = True) -> Any:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise sqlite3.OperationalError("results are only read here")


def _authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    """Allow what reads; a pragma only where it asks, and a function unless it loads code.

    SQLite declares table-valued functions such as `json_each` by what it calls an update of its schema, which writes
    nothing; a real one fails on a connection that only queries.
    """
    if action == sqlite3.SQLITE_PRAGMA:
        allowed = first in allowed_pragmas
    elif action == sqlite3.SQLITE_FUNCTION:
        allowed = second != "load_extension"
    else:
        allowed = action in READING or (action == sqlite3.SQLITE_UPDATE and first == "sqlite_master")
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY
