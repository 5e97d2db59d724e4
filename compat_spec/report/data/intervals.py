"""How sure means and differences are: over seeds and, where the results have numbers per example, over examples too."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from compat_spec import statistics
from compat_spec.statistics.arrays import Array

if TYPE_CHECKING:
    from compat_spec.report.leaderboard import Point


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and the ends of its 95 % confidence interval, None where nothing can be said of them.

    `mean` is NaN where some seed gave no number: a diverged seed must not vanish from a mean.
    """

    mean: float
    low: float | None
    high: float | None
    seeds: int
    examples: int = 1

    @property
    def is_number(self) -> bool:
        return math.isfinite(self.mean)

    @property
    def may_be_zero(self) -> bool:
        """Of a difference: whether it may be chance. False where nothing can be said."""
        return self.low is not None and self.high is not None and self.low <= 0 <= self.high

    @property
    def over(self) -> str:
        """`3 seeds and 600 examples`; nothing for what has no interval."""
        counts = ((self.seeds, "seeds"), (self.examples, "examples"))
        return "" if self.low is None else " and ".join(f"{count:,} {what}" for count, what in counts if count > 1)

    def __neg__(self) -> Interval:
        low, high = (None, None) if self.low is None or self.high is None else (-self.high, -self.low)
        return Interval(-self.mean, low, high, self.seeds, self.examples)


@dataclass(frozen=True)
class ByExample:
    """What each seed found on each example, `[seeds, examples]`, and how much each counts."""

    seeds: tuple[int, ...]
    places: tuple[int, ...]
    values: Array
    weights: Array

    def interval(self) -> Interval:
        return _plain(statistics.over_seeds_and_examples(self.values, self.weights))

    def minus(self, other: ByExample) -> Interval | None:
        """The difference, example by example and seed by seed; None where the two do not have the same of them."""
        if (self.seeds, self.places) != (other.seeds, other.places) or not np.array_equal(self.weights, other.weights):
            return None
        return _plain(statistics.over_seeds_and_examples(self.values - other.values, self.weights))


PointKey = tuple[str, str, str, str, str]


def key_of(target: tuple[str, str], quantity: str, model: str, point: Any) -> PointKey:
    """Of a quantity at a point of a model's sweeps."""
    return (*target, quantity, model, json.dumps([point.training_step, point.parameters], sort_keys=True))


@dataclass(frozen=True)
class Sureness:
    """Intervals of the numbers of one run."""

    by_example: Mapping[PointKey, ByExample]

    def interval(self, target: tuple[str, str], quantity: str, model: str, point: Point) -> Interval | None:
        """Of a quantity at a point; None where it was not measured there."""
        values = point.values.get(quantity)
        if not values:
            return None
        known = self.by_example.get(key_of(target, quantity, model, point))
        mean = over_seeds(values.values())
        if known is None or set(known.seeds) != set(values) or not mean.is_number:
            return mean
        return known.interval()

    def difference(
        self, target: tuple[str, str], quantity: str, a: tuple[str, Point], b: tuple[str, Point]
    ) -> Interval | None:
        """Of two models at a point each, in pairs; None where they do not have the same seeds."""
        of_a, of_b = (point.values.get(quantity) or {} for _, point in (a, b))
        if not of_a or of_a.keys() != of_b.keys():
            return None
        examples_a, examples_b = (self.by_example.get(key_of(target, quantity, *one)) for one in (a, b))
        if examples_a is not None and examples_b is not None and set(examples_a.seeds) == set(of_a):
            found = examples_a.minus(examples_b)
            if found is not None:
                return found
        pairs = [(of_a[seed], of_b[seed]) for seed in of_a]
        return over_seeds(None if x is None or y is None else x - y for x, y in pairs)


def over_seeds(values: Iterable[float | None]) -> Interval:
    """The mean and its interval by Student's t; a single seed has none."""
    return _plain(statistics.over_seeds([math.nan if value is None else value for value in values]))


def _plain(found: statistics.Interval) -> Interval:
    known = math.isfinite(found.low) and math.isfinite(found.high)
    low, high = (found.low, found.high) if known else (None, None)
    return Interval(found.mean, low, high, found.seeds, found.examples)
