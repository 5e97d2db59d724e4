"""Turns what a database complains of into an error that says what to do."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError

from compat_spec.results import postgresql, sqlite
from compat_spec.results.errors import ResultsError


@contextmanager
def explained(name: str) -> Iterator[None]:
    """Turn a failure of the database `name` into an error that says what to do."""
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        original = error.orig if isinstance(error, DBAPIError) else error
        if not isinstance(original, sqlite3.Error):
            lost = isinstance(error, DBAPIError) and error.connection_invalidated
            raise ResultsError(postgresql.explanation(name, original, lost=lost)) from error
        if sqlite.code_of(original) == sqlite3.SQLITE_INTERRUPT:
            raise KeyboardInterrupt from None
        raise ResultsError(sqlite.explanation(name, original)) from error
