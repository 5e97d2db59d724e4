"""What there is to export: the views and tables, each as a query, with the types of its columns."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, DateTime, Double, Integer, select

from compat_spec.results import parameter_types, views
from compat_spec.results.parameter_types import NUMBER, TEXT, WHOLE
from compat_spec.results.tables import Base, ExampleScoresRecord, RunRecord

TIME = "timestamp"
"""The type of a moment, beside those of parameters."""


@dataclass(frozen=True, slots=True)
class Relation:
    """A view or table: how to ask for its rows, and the type of each column."""

    name: str
    sql: str
    types: Mapping[str, str]


def relations(connection: Connection, run: str | None, *, tables: bool) -> list[Relation]:
    """All views, and tables if asked for, of one run or of all.

    A view of one run shows that run, also where the view of that name shows a newer one.

    Args:
        run: the id of a run.
    """
    key = None if run is None else connection.scalar(select(RunRecord.run_id).where(RunRecord.id == run))
    which = select(RunRecord.parameters) if key is None else select(RunRecord.parameters).where(RunRecord.run_id == key)
    parameters = sorted({name for names in connection.scalars(which) for name in names})
    columns = views.parameter_columns(parameters)
    if connection.dialect.name == "postgresql":
        types = parameter_types.existing(connection, columns)
        definitions = views.definitions(parameters, types, key)
    else:
        types = parameter_types.of_values(connection, parameters)
        definitions = views.definitions(parameters, None, key)
    by_column = {**views.COLUMN_TYPES, **{columns[name]: kind for name, kind in types.items()}}
    if key is None:  # as they stand, which a database may know how to read faster
        definitions = {name: f"SELECT * FROM {name}" for name in definitions}
    found = [Relation(name, sql, by_column) for name, sql in definitions.items()]
    return found + [_table(table, key) for table in Base.metadata.sorted_tables] if tables else found


def _table(table: Any, run: int | None) -> Relation:
    where = ""
    if run is not None and table is ExampleScoresRecord.__table__:
        where = f" WHERE score_id IN (SELECT score_id FROM scores WHERE run_id = {run})"
    elif run is not None:
        where = f" WHERE run_id = {run}"
    columns = ", ".join(column.name for column in table.columns)
    types = {column.name: _type_of(column.type) for column in table.columns}
    return Relation(table.name, f"SELECT {columns} FROM {table.name}{where}", types)


def _type_of(kind: Any) -> str:
    match kind:
        case Integer():  # BigInteger, too
            return WHOLE
        case Double():
            return NUMBER
        case DateTime():
            return TIME
    return TEXT


def as_time(value: Any) -> datetime:
    """A moment, which SQLite keeps as text. All are UTC, and say so nowhere."""
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def as_text(value: Any) -> str:
    """What SQLite shows as a number in a column that has words in it, too."""
    return value if isinstance(value, str) else json.dumps(value)


CLASSES: dict[str, type] = {WHOLE: int, NUMBER: float, TEXT: str, TIME: datetime}
"""What the values of a type are in Python."""

CONVERSIONS: dict[str, Callable[[Any], Any]] = {WHOLE: int, NUMBER: float, TEXT: as_text, TIME: as_time}
"""What makes a value, as a database gives it, one of a type."""
