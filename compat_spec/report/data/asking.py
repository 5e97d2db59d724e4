"""SQL that SQLite and PostgreSQL understand alike."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compat_spec.results import Results

MEAN = "CASE WHEN count(*) = count(s.value) THEN sum(s.value) / nullif(count(s.value), 0) END"
"""A mean that is missing when one of its values is; PostgreSQL's `avg` fails for very large values, as it squares."""


def ask(results: Results, sql: str, run_id: str) -> list[dict[str, Any]]:
    """The rows of a query in which `{run}` is the id of a run."""
    table = results.query(sql.replace("{run}", "'" + run_id.replace("'", "''") + "'"))
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def parameters_of(value: Any) -> Mapping[str, Any]:
    """The point of a sweep, which SQLite gives as text."""
    return dict(json.loads(value)) if isinstance(value, str) else dict(value or {})
