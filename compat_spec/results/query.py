"""Answers one SELECT, and refuses everything else."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any, TypeAlias

from sqlalchemy import Connection, Engine, inspect
from sqlalchemy.exc import DBAPIError

from compat_spec.results.errors import QueryError
from compat_spec.results.sqlite import explained

Answer: TypeAlias = tuple[tuple[str, ...], Iterator[tuple[Any, ...]]]
"""The columns, and the rows as they are read."""

REFUSED = {sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH, sqlite3.SQLITE_TRANSACTION, sqlite3.SQLITE_SAVEPOINT}
"""What `PRAGMA query_only` of the connection does not refuse by itself, besides pragmas."""

HARMLESS_PRAGMAS = {"table_info", "table_xinfo", "table_list", "index_list", "index_info", "foreign_key_list"}

NOT_THE_QUERY = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_INTERRUPT,
}
"""Errors that no other query would avoid."""


@contextmanager
def answer(engine: Engine, name: str, sql: str, params: Sequence[Any]) -> Generator[Answer]:
    """Ask the database `name`.

    Raises:
        QueryError: the query is not one SELECT, or names what is not there.
    """
    with explained(name), engine.connect() as connection:
        driver = connection.connection.driver_connection
        if isinstance(driver, sqlite3.Connection):
            driver.set_authorizer(_authorize)
            driver.set_progress_handler(lambda: 0, 100_000)  # Python notices Ctrl-C only when it is called
        connection = connection.execution_options(postgresql_readonly=True, stream_results=True, no_parameters=True)
        try:
            result = connection.exec_driver_sql(sql, tuple(params) or None)
        except DBAPIError as error:
            if mistake := _mistake(connection, sql, error.orig):
                raise QueryError(mistake) from None
            raise
        if not result.returns_rows:
            raise QueryError("the query asks for nothing: write a SELECT")
        yield tuple(result.keys()), (tuple(row) for row in result)


def _authorize(action: int, first: str | None, *_: str | None) -> int:
    if action == sqlite3.SQLITE_PRAGMA:
        return sqlite3.SQLITE_OK if first in HARMLESS_PRAGMAS else sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_DENY if action in REFUSED else sqlite3.SQLITE_OK


def _mistake(connection: Connection, sql: str, error: Any) -> str | None:
    """What is wrong with the query; None when it is not the query's fault."""
    text = str(error)
    if not isinstance(error, sqlite3.Error):
        return text
    if (unknown := re.fullmatch(r"no such (table|column): (.+)", text)) is not None:
        return f"{text}{_advice(connection, sql, *unknown.groups())}"
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code in NOT_THE_QUERY:
        return None
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_AUTH):
        return "queries only read: write a SELECT; nothing has been changed"
    if "one statement" in text:
        return "this is more than one statement: write one SELECT"
    return text[:1].lower() + text[1:].rstrip(".")


def _advice(connection: Connection, sql: str, kind: str, unknown: str) -> str:
    """The nearest name, and the names that there are."""
    inspector = inspect(connection)
    views, tables = sorted(inspector.get_view_names()), sorted(inspector.get_table_names())
    name = unknown.rpartition(".")[2]
    if kind == "table":
        return f"{_nearest(name, views + tables)}\nviews: {', '.join(views)}\ntables: {', '.join(tables)}"
    words = set(re.findall(r"\w+", sql.lower()))
    columns = {
        relation: [column["name"] for column in inspector.get_columns(relation)]
        for relation in views + tables
        if relation in words
    }
    lines = [f"{relation}: {', '.join(names)}" for relation, names in columns.items()]
    return "\n".join([_nearest(name, [column for names in columns.values() for column in names]), *lines])


def _nearest(name: str, names: Sequence[str]) -> str:
    close = get_close_matches(name.lower(), names, n=1)
    return f"; did you mean {close[0]}?" if close else ""
