"""How alike layers are: whole maps as means over seeds, and the means of their diagonals for each seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compat_spec.report.data.asking import MEAN, ask, parameters_of
from compat_spec.report.wording import settings_in_words

if TYPE_CHECKING:
    from compat_spec.results import Results

MOST_STEPS = 12
"""At which maps are read: nobody looks at more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What was compared with what: one line of a plot, or one series of maps."""

    metric: str
    quantity: str
    task: str
    a: str
    b: str
    settings: str

    def __str__(self) -> str:
        settings = f" ({self.settings})" if self.settings else ""
        return f"{self.metric}{settings}: {self.a} and {self.b} on {self.task}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagonal:
    """The mean over the layers that both networks have, layer i with layer i, of one seed."""

    compared: Compared
    step_a: int | None
    step_b: int | None
    seed: int
    value: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerMap:
    """The mean over seeds for each layer of `a` (first) with each layer of `b` (second)."""

    compared: Compared
    step_a: int | None
    step_b: int | None
    seeds: int
    cells: Mapping[tuple[int, int], float | None]


COLUMNS = "s.metric, s.quantity, t.name AS task, a.name AS a, b.name AS b, s.parameters, s.step_a, s.step_b"
KEYS = "s.metric, s.quantity, t.name, a.name, b.name, s.parameters, s.step_a, s.step_b"
ROWS = """
FROM similarities s JOIN runs r ON r.run_id = s.run_id JOIN models a ON a.model_id = s.model_a_id
    JOIN models b ON b.model_id = s.model_b_id JOIN tasks t ON t.task_id = s.task_id
WHERE r.id = {run}
"""


def diagonals(results: Results, run_id: str) -> list[Diagonal]:
    sql = (
        f"SELECT {COLUMNS}, s.seed, {MEAN} AS value {ROWS} AND s.layer_a = s.layer_b "
        f"GROUP BY {KEYS}, s.seed ORDER BY min(s.similarity_id)"
    )
    return [
        Diagonal(
            compared=_compared(row), step_a=row["step_a"], step_b=row["step_b"], seed=row["seed"], value=row["value"]
        )
        for row in ask(results, sql, run_id)
    ]


def maps(results: Results, run_id: str) -> list[LayerMap]:
    """The maps; of many steps, those of some that are spread evenly."""
    found_at = ask(results, f"SELECT DISTINCT s.step_a AS step {ROWS} AND s.step_a IS NOT NULL ORDER BY 1", run_id)
    kept = spread([row["step"] for row in found_at], MOST_STEPS)
    wanted = f"AND (s.step_a IS NULL OR s.step_a IN ({', '.join(map(str, kept))}))" if kept else ""
    sql = (
        f"SELECT {COLUMNS}, s.layer_a, s.layer_b, count(DISTINCT s.seed) AS seeds, {MEAN} AS value {ROWS} {wanted} "
        f"GROUP BY {KEYS}, s.layer_a, s.layer_b ORDER BY min(s.similarity_id)"
    )
    found: dict[tuple[Compared, int | None, int | None], tuple[int, dict[tuple[int, int], float | None]]] = {}
    for row in ask(results, sql, run_id):
        _, of_map = found.setdefault((_compared(row), row["step_a"], row["step_b"]), (row["seeds"], {}))
        of_map[row["layer_a"], row["layer_b"]] = row["value"]
    return [
        LayerMap(compared=compared, step_a=step_a, step_b=step_b, seeds=seeds, cells=of_map)
        for (compared, step_a, step_b), (seeds, of_map) in found.items()
    ]


def spread(values: list[int], most: int) -> list[int]:
    """At most so many of these values, at even distances, the first and last among them."""
    if len(values) <= most:
        return values
    return [values[round(i * (len(values) - 1) / (most - 1))] for i in range(most)]


def _compared(row: Mapping[str, Any]) -> Compared:
    return Compared(
        metric=row["metric"],
        quantity=row["quantity"],
        task=row["task"],
        a=row["a"],
        b=row["b"],
        settings=settings_in_words(parameters_of(row["parameters"])),
    )
