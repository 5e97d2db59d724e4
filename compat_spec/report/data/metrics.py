"""Which metrics measured what: two of one quantity are two things, though their numbers have one name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compat_spec.report.data.asking import ask

if TYPE_CHECKING:
    from compat_spec.results import Results


def metrics(results: Results, run_id: str) -> dict[tuple[str, str, str], tuple[str, ...]]:
    """The names of the metrics by task, split and quantity, without those about blocks."""
    sql = """
    SELECT t.name AS task, s.split, s.quantity, s.metric
    FROM scores s JOIN runs r ON r.run_id = s.run_id JOIN tasks t ON t.task_id = s.task_id
    WHERE r.id = {run} AND s.block IS NULL GROUP BY t.name, s.split, s.quantity, s.metric ORDER BY min(s.score_id)
    """
    found: dict[tuple[str, str, str], tuple[str, ...]] = {}
    for row in ask(results, sql, run_id):
        key = (row["task"], row["split"], row["quantity"])
        found[key] = (*found.get(key, ()), row["metric"])
    return found
