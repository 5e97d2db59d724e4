"""The closing table of a run: what each model and each way of combining gives on the target, best first."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from compat_spec.report.wording import short

if TYPE_CHECKING:
    from compat_spec.results import Results, SeedMean

QUANTITIES = ("loss", "accuracy", "answers", "perplexity")
"""The order of the columns; others come after. The first that was measured decides the order of the rows."""

LOWER_IS_BETTER = {"loss", "perplexity"}
MOST_TABLES = 3


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over seeds and its standard error, sd / sqrt(n); None for a single seed. NaN: some seed gave no number."""

    mean: float
    error: float | None

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Estimate:
        numbers = [math.nan if value is None else value for value in values]
        n = len(numbers)
        mean = sum(numbers) / n
        variance = sum((number - mean) ** 2 for number in numbers) / (n - 1) if n > 1 else None
        return cls(mean, None if variance is None else math.sqrt(variance / n))

    def __str__(self) -> str:
        if not math.isfinite(self.mean):
            return "not a number" if math.isnan(self.mean) else "infinite"
        digits = 3 if abs(self.mean) < 100 else 1
        return f"{self.mean:.{digits}f}" + ("" if self.error is None else f" ± {self.error:.{digits}f}")


@dataclass(slots=True)
class Point:
    """One point of a model's sweeps, with the value of each quantity for each seed."""

    training_step: int | None
    parameters: Mapping[str, Any]
    values: dict[str, dict[int, float | None]] = field(default_factory=dict)

    def seeds(self, quantity: str) -> int:
        return len(self.values.get(quantity, ()))

    def estimate(self, quantity: str) -> Estimate | None:
        return Estimate.of(self.values[quantity].values()) if self.seeds(quantity) else None

    def settings(self) -> dict[str, Any]:
        return {**self.parameters, "step": self.training_step}


@dataclass(frozen=True, slots=True)
class Standing:
    """A model or merge at its best point. `settings` are those that its points differ in."""

    model: str
    role: str
    best: Point
    settings: Mapping[str, Any]
    points: int

    def where(self) -> str:
        """`alpha 0.5, step 80 (best of 77)`; nothing for a model without sweeps."""
        if self.points < 2:
            return ""
        settings = ", ".join(f"{name} {short(value)}" for name, value in self.settings.items())
        return f"{settings} (best of {self.points})"


def closing_table(results: Results, run_id: str) -> RenderableType:
    """What a run found, for printing: one table for each task on which most merges were measured, three at most."""
    means = results.seed_means(run_id)
    targets = _targets(means)
    if not targets:
        return Text("No scores: the run measured nothing.")
    return Group(*(part for target, of_target in targets.items() for part in _ranking(*target, of_target)))


def hint(results: str) -> str:
    """Where the results are, and how to look at them."""
    query = 'compat query "SELECT merge, min(loss) AS loss FROM leaderboard GROUP BY merge ORDER BY loss"'
    elsewhere = "" if results == "results.db" else f" --results {shlex.quote(results)}"
    return f"\nThe results are in {results}. To look: compat report{elsewhere}\nTo ask: {query}{elsewhere}"


def standings(means: Sequence[SeedMean], quantity: str) -> list[Standing]:
    """The models on one task by their best point, the best first. Points that lack seeds that others have lose."""
    points: dict[str, dict[str, Point]] = {}
    roles = {mean.model: mean.role for mean in means}
    for mean in means:
        key = json.dumps([mean.training_step, mean.parameters], sort_keys=True)
        point = points.setdefault(mean.model, {}).setdefault(key, Point(mean.training_step, mean.parameters))
        point.values.setdefault(mean.quantity, {})[mean.seed] = mean.value
    found = [_standing(model, roles[model], list(of.values()), quantity) for model, of in points.items()]
    return sorted(found, key=lambda standing: _badness(standing.best, quantity))


def _targets(means: Sequence[SeedMean]) -> dict[tuple[str, str], list[SeedMean]]:
    """The tasks, with their split, on which most merges were measured; most models, where there are no merges."""
    by_target: dict[tuple[str, str], list[SeedMean]] = {}
    for mean in means:
        by_target.setdefault((mean.task, mean.split), []).append(mean)

    def crowd(of_target: list[SeedMean]) -> tuple[int, int]:
        merges = {mean.model for mean in of_target if mean.role == "merge"}
        return (len(merges), 0 if merges else len({mean.model for mean in of_target}))

    most = max(map(crowd, by_target.values()), default=None)
    return dict([item for item in by_target.items() if crowd(item[1]) == most][:MOST_TABLES])


def _ranking(task: str, split: str, means: Sequence[SeedMean]) -> tuple[Text, Table]:
    """A heading, and the standings."""
    present = list(dict.fromkeys(mean.quantity for mean in means))
    quantities = [name for name in QUANTITIES if name in present] + [name for name in present if name not in QUANTITIES]
    rows = standings(means, quantities[0])
    seeds = len({mean.seed for mean in means})
    spread = f"mean ± standard error over {seeds} seeds" if seeds > 1 else "one seed"
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("model", "role", *quantities, "where"):
        table.add_column(name, overflow="fold", no_wrap=name not in ("model", "where"))
    for row in rows:
        cells = [str(row.best.estimate(quantity) or "") for quantity in quantities]
        own = row.best.seeds(quantities[0])
        missing = f"{own} of {seeds} seeds" if 0 < own < seeds else ""
        table.add_row(row.model, row.role, *cells, ", ".join(filter(None, (row.where(), missing))))
    return Text(f"\nOn {task} ({split} split), best {quantities[0]} first, {spread}"), table


def _standing(model: str, role: str, points: list[Point], quantity: str) -> Standing:
    most = max(point.seeds(quantity) for point in points)
    candidates = [point for point in points if point.seeds(quantity) == most]
    best = min(candidates, key=lambda point: _badness(point, quantity))
    settings = {
        name: value
        for name, value in best.settings().items()
        if any(point.settings().get(name) != value for point in points)
    }
    return Standing(model, role, best, settings, sum(point.seeds(quantity) > 0 for point in points))


def _badness(point: Point, quantity: str) -> float:
    estimate = point.estimate(quantity)
    if estimate is None or math.isnan(estimate.mean):
        return math.inf
    return estimate.mean if quantity in LOWER_IS_BETTER else -estimate.mean
