"""Which numbers are compared: one metric on one split of one task, which all models have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from compat_spec.errors import UsageError
from compat_spec.results import FoundScore


@dataclass(frozen=True, slots=True)
class Measure:
    """A quantity that a metric found on a split of a task."""

    metric: str
    quantity: str
    task: str
    split: str

    def has(self, score: FoundScore) -> bool:
        return self == Measure.of(score)

    @classmethod
    def of(cls, score: FoundScore) -> Measure:
        return cls(score.metric, score.quantity, score.task, score.split)


def means(measure: Measure, metric: str, task: str | None, split: str | None) -> bool:
    """Whether these words may mean this."""
    return (
        metric in (measure.metric, measure.quantity) and task in (None, measure.task) and split in (None, measure.split)
    )


def common_measure(
    names: Sequence[str], scores: Sequence[Sequence[FoundScore]], metric: str, task: str | None, split: str | None
) -> Measure:
    """The one thing that was measured of all models and that these words mean.

    Args:
        metric: the name of a metric; or a quantity, where no metric has that name.

    Raises:
        UsageError: there is none, or several.
    """
    each = [list(dict.fromkeys(map(Measure.of, own))) for own in scores]
    common = [measure for measure in each[0] if all(measure in own for own in each)]
    meant = [measure for measure in common if means(measure, metric, task, split)]
    named = [measure for measure in meant if measure.metric == metric]
    meant = named or meant
    if len(meant) == 1:
        return meant[0]
    if not meant:
        asked = metric + (f" on {task}" if task else "") + (f", split {split}" if split else "")
        there = "; ".join(
            f"{m.metric} on {m.task}" + (f" ({m.quantity})" if m.quantity != m.metric else "") for m in common
        )
        raise UsageError(f"{asked} was not measured of all of {', '.join(names)}; of all: {there or 'nothing'}")
    for option, values in (
        ("--task", [measure.task for measure in meant]),
        ("--metric", [measure.metric for measure in meant]),
        ("--split", [measure.split for measure in meant]),
        ("--metric", [measure.quantity for measure in meant]),
    ):
        if len(set(values)) > 1:
            raise UsageError(
                f"{metric} was measured more than once; choose {option} {' or '.join(dict.fromkeys(values))}"
            )
    raise AssertionError("measures differ in something")
