"""Which type the column of a swept parameter has in PostgreSQL, where all values of a column have one.

SQLite shows each value as what it is. Here whole numbers make a column of whole numbers, numbers one of numbers, and
anything else one of text. A column only ever gets a wider type, and gets it before the first value that needs it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from typing import Any

from sqlalchemy import Connection

WHOLE, NUMBER, TEXT = "bigint", "double precision", "text"
TYPES = (WHOLE, NUMBER, TEXT)
"""From the narrowest to the widest."""

# which kinds of values there are; what is shown as a whole number is written as one
KINDS = """
SELECT DISTINCT p.key, jsonb_typeof(p.value), p.value::text ~ '^-?[0-9]{1,18}$'
FROM (SELECT parameters FROM scores UNION SELECT parameters FROM similarities) s, jsonb_each(s.parameters) p
"""

SQLITE_KINDS = """
SELECT DISTINCT p.key, typeof(p.value)
FROM (SELECT parameters FROM scores UNION SELECT parameters FROM similarities) s, json_each(s.parameters) p
"""

COLUMNS = """
SELECT attname, format_type(atttypid, NULL) FROM pg_attribute
WHERE attrelid = to_regclass('all_scores') AND attnum > 0 AND NOT attisdropped
"""


def needed(points: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The narrowest types that hold all values of these points of sweeps."""
    types: dict[str, str] = {}
    for point in points:
        for name, value in point.items():
            if value is not None:
                types[name] = wider(_type_of(value), types.get(name))
    return types


def wider(one: str, other: str | None) -> str:
    """The one of two types that holds the values of both."""
    return one if other is None else max(one, other, key=TYPES.index)


def existing(connection: Connection, columns: Mapping[str, str]) -> dict[str, str]:
    """The types by which the views show parameters now or, when they do not, those that the values need.

    Args:
        columns: the column of each parameter.
    """
    shown = {name: kind for name, kind in connection.exec_driver_sql(COLUMNS) if kind in TYPES}
    if all(column in shown for column in columns.values()):
        return {name: shown[column] for name, column in columns.items()}
    types = dict.fromkeys(columns, WHOLE)
    for name, kind, whole in connection.execution_options(no_parameters=True).exec_driver_sql(KINDS):
        if name in types and kind != "null":
            types[name] = wider(_type_of_json(kind, whole), types[name])
    return types


def of_values(connection: Connection, parameters: Iterable[str]) -> dict[str, str]:
    """The narrowest types that hold all values that these parameters have in a database of SQLite."""
    types = dict.fromkeys(parameters, WHOLE)
    for name, kind in connection.exec_driver_sql(SQLITE_KINDS):
        if name in types and kind != "null":
            types[name] = wider({"integer": WHOLE, "real": NUMBER}.get(kind, TEXT), types[name])
    return types


def _type_of(value: Any) -> str:
    match value:
        case Integral():  # bool, too, as 0 or 1
            return WHOLE if -(2**63) <= int(value) < 2**63 else NUMBER
        case Real() if math.isfinite(value):  # JSON has no word for the others: they are text
            return NUMBER
    return TEXT


def _type_of_json(kind: str, whole: bool) -> str:
    match kind:
        case "boolean":
            return WHOLE
        case "number":
            return WHOLE if whole else NUMBER
    return TEXT


def value_of(parameter: str, kind: str) -> str:
    """The SQL for the value of a parameter (a literal) of a row `s`, in a column of this type."""
    if kind == TEXT:
        return f"s.parameters ->> {parameter}"
    return (
        f"CASE jsonb_typeof(s.parameters -> {parameter}) "
        f"WHEN 'number' THEN (s.parameters ->> {parameter})::{kind} "
        f"WHEN 'boolean' THEN (s.parameters -> {parameter})::boolean::int END"
    )
