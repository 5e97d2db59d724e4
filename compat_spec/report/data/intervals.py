"""How sure a mean over seeds is."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over seeds and the ends of its confidence interval, which a single seed does not have.

    `mean` is NaN where some seed gave no number: a diverged seed must not vanish from a mean.
    """

    mean: float
    low: float | None
    high: float | None
    seeds: int

    @property
    def is_number(self) -> bool:
        return math.isfinite(self.mean)


def over_seeds(values: Iterable[float | None], level: float = LEVEL) -> Interval:
    """The mean and its interval by Student's t with n - 1 degrees of freedom (Student, 1908, Biometrika 6)."""
    numbers = [math.nan if value is None else value for value in values]
    n = len(numbers)
    mean = math.fsum(numbers) / n if all(map(math.isfinite, numbers)) else sum(numbers) / n
    if n < 2 or not math.isfinite(mean):
        return Interval(mean, None, None, n)
    deviation = math.sqrt(math.fsum((number - mean) ** 2 for number in numbers) / (n - 1))
    half = quantile(n - 1, level) * deviation / math.sqrt(n)
    return Interval(mean, mean - half, mean + half, n)


def quantile(degrees: int, level: float) -> float:
    """By how many standard errors an interval of this level reaches to each side."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, 0.5 + level / 2))
