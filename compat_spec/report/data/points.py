"""The points of a merge's sweeps, with the interval of a quantity at each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compat_spec.report.data.intervals import Interval, over_seeds

if TYPE_CHECKING:
    from compat_spec.results import SeedMean


@dataclass(frozen=True, slots=True)
class Point:
    """A model or merge at one point of its sweeps."""

    model: str
    step: int | None
    parameters: Mapping[str, Any]
    by_seed: Mapping[int, float | None]

    @property
    def interval(self) -> Interval:
        return over_seeds(self.by_seed.values())

    @property
    def settings(self) -> dict[str, Any]:
        return {**self.parameters, "step": self.step}


def points(means: Iterable[SeedMean]) -> list[Point]:
    """The points that numbers of one quantity on one task are about."""
    found: dict[tuple[str, str], tuple[SeedMean, dict[int, float | None]]] = {}
    for mean in means:
        key = (mean.model, json.dumps([mean.training_step, mean.parameters], sort_keys=True))
        found.setdefault(key, (mean, {}))[1][mean.seed] = mean.value
    return [Point(mean.model, mean.training_step, mean.parameters, by_seed) for mean, by_seed in found.values()]


def best_by_step(means: Iterable[SeedMean]) -> dict[str, dict[int, dict[int, float | None]]]:
    """Of numbers of a loss: model → step → seed → the lowest over whatever else is swept (the best alpha)."""
    found: dict[str, dict[int, dict[int, float | None]]] = {}
    for mean in means:
        if mean.training_step is None:
            continue
        of_step = found.setdefault(mean.model, {}).setdefault(mean.training_step, {})
        known = of_step.get(mean.seed)
        of_step[mean.seed] = mean.value if known is None else known if mean.value is None else min(known, mean.value)
    return found


def critical_steps(of_model: Mapping[int, Mapping[int, float | None]]) -> dict[int, tuple[int, float]]:
    """For each seed the step at which its best loss is lowest, and that loss: the view `critical_steps`, of any run."""
    curves: dict[int, dict[int, float | None]] = {}
    for step, by_seed in of_model.items():
        for seed, value in by_seed.items():
            curves.setdefault(seed, {})[step] = value
    turns = {}
    for seed, curve in curves.items():
        known = [(value, step) for step, value in curve.items() if value is not None]
        if len(curve) > 1 and known:
            value, step = min(known)
            turns[seed] = (step, value)
    return turns
