"""All that the report knows of one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from compat_spec.report.data import routing, similarities
from compat_spec.report.data.examples import sureness
from compat_spec.report.data.intervals import Sureness
from compat_spec.report.data.metrics import metrics

if TYPE_CHECKING:
    from compat_spec.results import ModelRow, Results, Run, SeedMean, StepRow, TaskRow

QUANTITIES = ("loss", "accuracy", "answers", "perplexity")
"""The order in which quantities are told; others come after."""

LOWER_IS_BETTER = frozenset(("loss", "perplexity"))

Target = tuple[str, str]
"""A task and its split."""


@dataclass(frozen=True)
class Gathered:
    """One run: what was asked, what each seed gave, and what it cost."""

    run: Run
    models: Sequence[ModelRow]
    tasks: Sequence[TaskRow]
    steps: Sequence[StepRow]
    means: Sequence[SeedMean]
    metrics: Mapping[tuple[str, str, str], Sequence[str]]
    """The names of those that measured a quantity (last) on a task and split. `means` are over all of them."""
    sureness: Sureness
    diagonals: Sequence[similarities.Diagonal]
    maps: Sequence[similarities.LayerMap]
    routing: Sequence[routing.RoutingMean]

    @cached_property
    def seeds(self) -> list[int]:
        return sorted({mean.seed for mean in self.means} | {one.seed for one in self.diagonals})

    @cached_property
    def targets(self) -> list[Target]:
        """Tasks with scores: those on which most merges were measured first."""
        merges: dict[Target, set[str]] = {}
        for mean in self.means:
            merges.setdefault((mean.task, mean.split), set())
            if mean.role == "merge":
                merges[mean.task, mean.split].add(mean.model)
        return sorted(merges, key=lambda target: -len(merges[target]))

    def experts_of(self, model: ModelRow) -> tuple[str, ...]:
        """The names of a merge's experts, without the steps at which its first point takes them (`math@40`)."""
        names = {known.name for known in self.models}
        return tuple(name if name in names else name.rpartition("@")[0] or name for name in model.experts)

    def diagonals_on(self, task: str) -> list[similarities.Diagonal]:
        """The similarities that were measured on a task or, where there are none, on any."""
        return [one for one in self.diagonals if one.compared.task == task] or list(self.diagonals)

    def of_target(self, target: Target) -> list[SeedMean]:
        return [mean for mean in self.means if (mean.task, mean.split) == target]

    def quantities(self, target: Target) -> list[str]:
        """What was measured on a task; the first decides what is best."""
        present = list(dict.fromkeys(mean.quantity for mean in self.of_target(target)))
        return [name for name in QUANTITIES if name in present] + [name for name in present if name not in QUANTITIES]


def gather(results: Results, run: str | None = None) -> Gathered:
    """Ask for everything about a run: its id or the beginning of it, the name of an experiment, or the newest.

    Raises:
        ResultsError: there is no such run.
    """
    found = results.run(run or "last")
    means = results.seed_means(found.id)
    return Gathered(
        run=found,
        models=results.models(found.id),
        tasks=results.tasks(found.id),
        steps=results.steps(found.id),
        means=means,
        metrics=metrics(results, found.id),
        sureness=sureness(results, found.id, means),
        diagonals=similarities.diagonals(results, found.id),
        maps=similarities.maps(results, found.id),
        routing=routing.routing_means(results, found.id),
    )
