"""Answers one SELECT, and refuses everything else."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from itertools import chain
from typing import Any, TypeAlias

from sqlalchemy import Connection, CursorResult, Engine, inspect
from sqlalchemy.exc import DBAPIError, InternalError, OperationalError

from compat_spec.results import postgresql
from compat_spec.results.errors import QueryError
from compat_spec.results.failures import explained
from compat_spec.results.sqlite import code_of

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


ONLY_READ = "queries only read: write a SELECT; nothing has been changed"
ONE_STATEMENT = "this is more than one statement: write one SELECT"

# fmt: off
WRITING = frozenset((
    "alter", "analyze", "begin", "call", "cluster", "comment", "commit", "copy", "create", "delete", "do", "drop",
    "grant", "insert", "lock", "merge", "refresh", "reindex", "revoke", "rollback", "savepoint", "set", "start",
    "truncate", "update", "vacuum",
))
# fmt: on
"""Words that begin a statement which PostgreSQL takes for a mistake where only a query can be."""


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
        else:
            postgresql.answer_plainly(driver)
            if not _without_comments(sql):
                raise QueryError("the query asks for nothing: write a SELECT")
        # of what is streamed, PostgreSQL takes one statement only, and only a query
        connection = connection.execution_options(stream_results=True, no_parameters=True)
        with _mistakes(connection, sql):
            result = connection.exec_driver_sql(sql, tuple(params) or None)
            if not result.returns_rows:
                raise QueryError("the query asks for nothing: write a SELECT")
            first = result.fetchone()  # a server finds some mistakes only now
        yield tuple(result.keys()), chain([] if first is None else [tuple(first)], _rest(connection, sql, result))


def _rest(connection: Connection, sql: str, result: CursorResult[Any]) -> Iterator[tuple[Any, ...]]:
    with _mistakes(connection, sql):
        yield from map(tuple, result)


def _authorize(action: int, first: str | None, *_: str | None) -> int:
    if action == sqlite3.SQLITE_PRAGMA:
        return sqlite3.SQLITE_OK if first in HARMLESS_PRAGMAS else sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_DENY if action in REFUSED else sqlite3.SQLITE_OK


@contextmanager
def _mistakes(connection: Connection, sql: str) -> Iterator[None]:
    """Tell what is the query's fault from what is the database's."""
    try:
        yield
    except DBAPIError as error:
        if isinstance(error.orig, sqlite3.Error):
            mistake = _mistake(connection, sql, error.orig)
        else:
            mistake = _mistake_for_server(connection, sql, error)
        if mistake is None:
            raise
        raise QueryError(mistake) from None


def _mistake(connection: Connection, sql: str, error: sqlite3.Error) -> str | None:
    """What is wrong with the query; None when it is not the query's fault."""
    text = str(error)
    if (unknown := re.fullmatch(r"no such (table|column): (.+)", text)) is not None:
        return f"{text}{_advice(connection, sql, *unknown.groups())}"
    code = code_of(error) if hasattr(error, "sqlite_errorcode") else sqlite3.SQLITE_ERROR
    if code in NOT_THE_QUERY:
        return None
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_AUTH):
        return ONLY_READ
    if "one statement" in text:
        return ONE_STATEMENT
    return text[:1].lower() + text[1:].rstrip(".")


def _mistake_for_server(connection: Connection, sql: str, error: DBAPIError) -> str | None:
    """As `_mistake`, for PostgreSQL."""
    state, text = postgresql.state_of(error.orig), postgresql.words_of(error.orig)
    if state == "25006" or "data-modifying statements" in text:
        return ONLY_READ
    if isinstance(error, OperationalError | InternalError):
        return None
    if "multiple commands" in text:
        return ONE_STATEMENT
    if state == "42601" and _without_comments(sql).partition(" ")[0].lower() in WRITING:
        return ONLY_READ
    if state in ("42P01", "42703") and (name := re.search(r'(?:"(.+)"|column (\S+)) does not exist', text)) is not None:
        connection.rollback()
        kind, unknown = "table" if state == "42P01" else "column", name[1] or name[2]
        return f"no such {kind}: {unknown}{_advice(connection, sql, kind, unknown)}"
    return text


def _without_comments(sql: str) -> str:
    """A query on one line, without the comments and semicolons around it."""
    return " ".join(re.sub(r"--[^\n]*|/\*.*?\*/", " ", sql, flags=re.DOTALL).split()).strip("; ")


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
