"""A database of results: opened, written by runs, read by SQL."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from compat_spec.results.rows import Run, RunInfo, Table
from compat_spec.results.writer import RunWriter


def open_results(where: str | Path, *, create: bool) -> Results:
    """Open results: a file, or an SQLAlchemy URL.

    Args:
        create: open for writing, and make the database or bring its schema up to date when that is needed; otherwise
            it must exist and is only read.

    Raises:
        ResultsError: nothing there, not a database of results, of a newer version, locked, not permitted. Nothing has
            been changed then.
    """
    raise NotImplementedError


class Results:
    """An open database of results."""

    def start_run(self, info: RunInfo) -> RunWriter:
        """Record that a run starts, and make its swept parameters columns of the views."""
        raise NotImplementedError

    def query(self, sql: str, params: Sequence[Any] = (), *, limit: int | None = None) -> Table:
        """The answer to one SELECT, or its first `limit` rows.

        Raises:
            QueryError: it is not one statement, would change something, or names what is not there.
        """
        raise NotImplementedError

    def runs(self) -> list[Run]:
        """All runs, the newest first."""
        raise NotImplementedError

    def run(self, name: str) -> Run:
        """The run with this id or beginning of an id; the newest with `last` or the name of an experiment.

        Raises:
            ResultsError: none, or several ids begin like that.
        """
        raise NotImplementedError
