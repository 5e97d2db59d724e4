"""How sure a mean over seeds is, as pages and charts show it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from compat_spec import statistics


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over seeds and the ends of its 95 % confidence interval, None where nothing can be said of them.

    `mean` is NaN where some seed gave no number: a diverged seed must not vanish from a mean.
    """

    mean: float
    low: float | None
    high: float | None
    seeds: int

    @property
    def is_number(self) -> bool:
        return math.isfinite(self.mean)


def over_seeds(values: Iterable[float | None]) -> Interval:
    """The mean and its interval by Student's t; a single seed has none."""
    found = statistics.over_seeds([math.nan if value is None else value for value in values])
    known = math.isfinite(found.low) and math.isfinite(found.high)
    return Interval(found.mean, found.low if known else None, found.high if known else None, found.seeds)
