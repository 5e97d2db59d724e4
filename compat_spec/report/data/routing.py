"""What the routers of routed merges do, as means over seeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from compat_spec.report.data.asking import MEAN, ask, parameters_of
from compat_spec.report.wording import settings_in_words

if TYPE_CHECKING:
    from compat_spec.results import Results


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingMean:
    """One number about a block of a routed merge. `settings` say which point of its sweeps, in words."""

    merge: str
    settings: str
    task: str
    quantity: str
    block: int
    other_block: int | None
    expert: int | None
    token_class: str | None
    seeds: int
    value: float | None


KEYS = "t.name, m.name, s.training_step, s.parameters, s.quantity, s.block, s.other_block, s.expert, s.token_class"


def routing_means(results: Results, run_id: str) -> list[RoutingMean]:
    sql = f"""
    SELECT t.name AS task, m.name AS merge, s.training_step AS step, s.parameters, s.quantity, s.block, s.other_block,
        s.expert, s.token_class, count(DISTINCT s.seed) AS seeds, {MEAN} AS value
    FROM scores s JOIN runs r ON r.run_id = s.run_id JOIN models m ON m.model_id = s.model_id
        JOIN tasks t ON t.task_id = s.task_id
    WHERE r.id = {{run}} AND s.block IS NOT NULL GROUP BY {KEYS} ORDER BY min(s.score_id)
    """
    rows = ask(results, sql, run_id)
    steps: dict[str, set[int | None]] = {}
    for row in rows:
        steps.setdefault(row["merge"], set()).add(row["step"])
    means = []
    for row in rows:
        settings = dict(parameters_of(row.pop("parameters")))
        step = row.pop("step")
        if len(steps[row["merge"]]) > 1:
            settings["step"] = step
        means.append(RoutingMean(settings=settings_in_words(settings), **row))
    return means
