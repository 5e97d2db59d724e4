"""A database of results: opened, written by runs, read by SQL."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError

from compat_spec.results import history, numbers, postgresql, schema, sqlite
from compat_spec.results.errors import ResultsError
from compat_spec.results.failures import explained
from compat_spec.results.history import SeedMean
from compat_spec.results.passwords import without_password
from compat_spec.results.query import Answer, answer
from compat_spec.results.relations import Relation, relations
from compat_spec.results.rows import (
    FoundScore,
    ModelRow,
    Run,
    RunInfo,
    ScoreRow,
    SimilarityRow,
    StepRow,
    Table,
    TaskRow,
)
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
    if isinstance(where, str) and "://" in where:
        url = _parsed(where)
        if url.get_backend_name() != "sqlite":
            return _open_server(url, create=create)
        if not url.database or url.database == ":memory:":
            raise ResultsError("results need a file: sqlite:///results.db")
        where = url.database
    try:
        return _open_file(str(where), Path(where).absolute(), create=create)
    except OSError as error:
        raise ResultsError(f"cannot open {where}: {error.strerror}") from None


class Results:
    """An open database of results.

    Attributes:
        name: the file, or the URL without its password.
    """

    def __init__(self, name: str, reading: Engine, writing: Engine | None) -> None:
        self.name = name
        self._reading = reading
        self._writing = writing

    def start_run(self, info: RunInfo) -> RunWriter:
        """Record that a run starts, and make its swept parameters columns of the views."""
        if self._writing is None:
            raise ResultsError(f"{self.name} was opened to be read only")
        return RunWriter(self._writing, self.name, info)

    def query(self, sql: str, params: Sequence[Any] = (), *, limit: int | None = None) -> Table:
        """The answer to one SELECT, or its first `limit` rows.

        Raises:
            QueryError: it is not one statement, would change something, or names what is not there.
        """
        with self.stream(sql, params) as (columns, rows):
            return Table(columns, list(islice(rows, limit)))

    @contextmanager
    def stream(self, sql: str, params: Sequence[Any] = ()) -> Generator[Answer]:
        """The columns of one SELECT, and its rows one by one: for answers that are larger than the memory.

        Raises:
            QueryError: as `query`.
        """
        with answer(self._reading, self.name, sql, params) as found:
            yield found

    def runs(self) -> list[Run]:
        """All runs, the newest first."""
        with self._connection() as connection:
            return history.runs(connection)

    def run(self, name: str) -> Run:
        """The run with this id or beginning of an id; the newest with `last` or the name of an experiment.

        Raises:
            ResultsError: none, or several ids begin like that.
        """
        with self._connection() as connection:
            return history.find_run(connection, name)

    def models(self, run_id: str) -> list[ModelRow]:
        """The models and merges of a run, as the spec orders them."""
        with self._connection() as connection:
            return history.models(connection, run_id)

    def tasks(self, run_id: str) -> list[TaskRow]:
        """The tasks of a run, as the spec orders them."""
        with self._connection() as connection:
            return history.tasks(connection, run_id)

    def steps(self, run_id: str) -> list[StepRow]:
        """The steps of a run, as they were recorded."""
        with self._connection() as connection:
            return history.steps(connection, run_id)

    def score_rows(self, run_id: str) -> list[ScoreRow]:
        """The scores of a run as they were recorded, without their examples; NaN where there was no number."""
        with self._connection() as connection:
            return numbers.scores(connection, run_id)

    def similarity_rows(self, run_id: str) -> list[SimilarityRow]:
        """The similarities of a run as they were recorded; NaN where there was no number."""
        with self._connection() as connection:
            return numbers.similarities(connection, run_id)

    def seed_means(self, run_id: str) -> list[SeedMean]:
        """What each seed of a run gave, for each quantity at each point of the sweeps."""
        with self._connection() as connection:
            return history.seed_means(connection, run_id)

    def scores_of(self, run_id: str, model: str) -> list[FoundScore]:
        """The numbers about a whole model or merge of a run, at all points of its sweeps and all seeds."""
        with self._connection() as connection:
            return history.scores(connection, run_id, model)

    def examples(self, keys: Sequence[int]) -> dict[int, list[tuple[int, float, float]]]:
        """Of which examples scores are the mean: the place in the split, value and weight of each.

        Args:
            keys: of scores, as `scores_of` gives them. Those without examples are left out of the answer.
        """
        with self._connection() as connection:
            return history.examples(connection, keys)

    def relations(self, run_id: str | None = None, *, tables: bool = False) -> list[Relation]:
        """The views, and tables if asked for, as queries with the types of their columns, for one run or all."""
        with self._connection() as connection:
            return relations(connection, run_id, tables=tables)

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        with explained(self.name), self._reading.connect() as connection:
            yield connection


def _open_file(name: str, path: Path, *, create: bool) -> Results:
    if path.is_dir():
        raise ResultsError(f"{name} is a folder; name a file with --results")
    if not path.exists():
        if not create:
            raise ResultsError(f"there is no {name}; compat run makes it, --results names another")
        if not path.parent.is_dir():
            raise ResultsError(f"cannot make {name}: there is no folder {path.parent}")
    elif not path.is_file():
        raise ResultsError(f"{name} is not a file")
    elif create and not sqlite.may_write(path):
        raise ResultsError(f"cannot write {name}: {sqlite.READ_ONLY}")
    reading = sqlite.reading_engine(path)
    filled = path.exists() and path.stat().st_size > 0
    if not filled and not create:
        raise ResultsError(f"{name} is empty; compat run fills it")
    with explained(name):
        if filled:  # a look before anything is touched
            with reading.connect() as connection:
                version = schema.version_of(connection, name)
            if not create:
                schema.check_readable(version, name)
        if not create:
            return Results(name, reading, None)
        writing = sqlite.writing_engine(path)
        sqlite.use_wal(writing)
        with writing.begin() as connection:
            schema.bring_up_to_date(connection, name)
        writing.dispose()  # until a run starts, the database is one whole file
    return Results(name, reading, writing)


def _open_server(url: URL, *, create: bool) -> Results:
    name = postgresql.shown(url)
    if url.drivername not in postgresql.DRIVERS:
        raise ResultsError(f"cannot open {name}: results are kept by sqlite:/// or postgresql+psycopg://")
    reading = postgresql.reading_engine(url)
    writing = postgresql.writing_engine(url) if create else None
    with explained(name):
        if writing is None:
            with reading.connect() as connection:
                schema.check_readable(schema.version_of(connection, name), name)
        else:
            with writing.begin() as connection:
                schema.bring_up_to_date(connection, name)
            writing.dispose()  # until a run starts, no connection is kept
    return Results(name, reading, writing)


def _parsed(where: str) -> URL:
    try:
        return make_url(where)
    except (ArgumentError, ValueError):  # the latter for a port that is no number
        name = without_password(where)
        raise ResultsError(f"{name} is neither a file nor an SQLAlchemy URL such as sqlite:///results.db") from None
