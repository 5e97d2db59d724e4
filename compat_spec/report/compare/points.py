"""The points of a model's sweeps, and which one a name means."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any

from compat_spec.errors import UsageError
from compat_spec.report.compare.names import STEP, Wanted, same
from compat_spec.report.leaderboard import LOWER_IS_BETTER, QUANTITIES
from compat_spec.results import FoundScore


@dataclass(slots=True)
class Point:
    """A model at one point of its sweeps.

    Attributes:
        settings: those in which the model's points differ; `step` is the training step.
        scores: what each seed gave.
        best_of: among how many points it is the best on these very numbers; 1 where it was named.
    """

    model: str
    settings: Mapping[str, Any]
    scores: dict[int, FoundScore] = field(default_factory=dict)
    best_of: int = 1

    @property
    def label(self) -> str:
        """`blend[alpha=0.5,step=160]`, as one would write it."""
        inside = ",".join(f"{name}={_written(value)}" for name, value in self.settings.items())
        return f"{self.model}[{inside}]" if inside else self.model

    @property
    def mean(self) -> float:
        return sum(score.value for score in self.scores.values()) / len(self.scores)


def lower_is_better(quantity: str) -> bool | None:
    """None where nobody knows."""
    return quantity in LOWER_IS_BETTER if quantity in QUANTITIES else None


def point_of(wanted: Wanted, scores: Iterable[FoundScore], where: Mapping[str, Any]) -> Point:
    """The point that a name means: the one that it gives, or the best by the mean over seeds.

    Args:
        where: settings for all models that have them; those of the name go before.

    Raises:
        UsageError: no point is there, or several without a way to tell which is best.
    """
    points = _points(scores)
    names = list(dict.fromkeys(name for point in points for name in point.settings))
    varied = [name for name in names if len({json.dumps(point.settings.get(name)) for point in points}) > 1]
    own = {"step" if name in STEP and name not in names else name: value for name, value in wanted.at.items()}
    for name in own:
        if name not in names:
            raise UsageError(f"{wanted.model} has no {name}; {_what_there_is(name, names, points)}")
    common = {"step" if name in STEP and name not in names else name: value for name, value in where.items()}
    # what one model does not sweep, such as the step of a router, is no reason to leave it out
    asked = {name: value for name, value in common.items() if name in varied} | own
    left = [point for point in points if all(same(value, point.settings.get(key)) for key, value in asked.items())]
    if not left:
        said = ", ".join(f"{name}={_written(value)}" for name, value in asked.items())
        there = "; ".join(f"{name}: {_values(name, points)}" for name in asked)
        raise UsageError(f"{wanted.model} was not measured at {said}; there is {there}")
    best = _best(left, wanted.model)
    best.settings = {name: value for name, value in best.settings.items() if name in varied}
    return replace(best, best_of=len(left))


def _points(scores: Iterable[FoundScore]) -> list[Point]:
    found: dict[str, Point] = {}
    for score in scores:
        key = json.dumps([score.training_step, score.parameters], sort_keys=True)
        step = {} if score.training_step is None else {"step": score.training_step}
        point = found.setdefault(key, Point(score.model, {**score.parameters, **step}))
        point.scores[score.seed] = score
    return list(found.values())


def _best(points: Sequence[Point], model: str) -> Point:
    """The best among those with most seeds."""
    lower = lower_is_better(next(iter(points[0].scores.values())).quantity)
    if len(points) > 1 and lower is None:
        raise UsageError(f"{model} has {len(points)} points, such as {points[0].label}: name one")
    most = max(len(point.scores) for point in points)

    def badness(point: Point) -> float:
        return math.inf if math.isnan(point.mean) else point.mean if lower else -point.mean

    return min((point for point in points if len(point.scores) == most), key=badness)


def _what_there_is(name: str, names: Sequence[str], points: Sequence[Point]) -> str:
    if close := get_close_matches(name, names, n=1):
        return f"did you mean {close[0]}?"
    return "it has " + ("; ".join(f"{name}: {_values(name, points)}" for name in names) or "no sweeps")


def _values(name: str, points: Sequence[Point]) -> str:
    return ", ".join(dict.fromkeys(_written(point.settings.get(name)) for point in points))


def _written(value: Any) -> str:
    return f"{value:.12g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)
