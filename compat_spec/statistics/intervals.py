"""Confidence intervals of a mean over seeds, over examples, and over both.

The model behind all of them: seeds and examples are drawn from many, independently, and every seed is measured on every
example. A number is then a mean, plus what its seed adds, plus what its example adds, plus what only that seed does on
that example (a crossed design with two random factors). An interval *over seeds* says where the mean would be with
other seeds, on these examples; *over examples*, with other examples, for these trained models; *over both*, with others
of both, which is what a claim about a method needs.

Resampling is not used: with three seeds, a bootstrap over them knows two thirds of their variance and no quantile of
Student's t, and its 95 % intervals hold the truth in about three of four cases (`tests/statistics` shows it).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from compat_spec.statistics.arrays import Array, numbers


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean, and where it would be with other seeds, other examples, or both.

    Attributes:
        low, high: the ends; NaN where nothing can be said, of a single seed or a value that is not finite.
        error: the standard error.
        degrees: the degrees of freedom of Student's t.
        seeds, examples: of how many it is; 1 where they are not what it is over.
        level: how often such an interval holds the true mean.
    """

    mean: float
    low: float
    high: float
    error: float
    degrees: float
    seeds: int
    examples: int
    level: float = 0.95

    @property
    def over(self) -> Literal["seeds and examples", "seeds", "examples", "nothing"]:
        """What was drawn, and would be drawn anew."""
        if self.seeds > 1:
            return "seeds and examples" if self.examples > 1 else "seeds"
        return "examples" if self.examples > 1 else "nothing"

    def p_value(self, null: float = 0.0) -> float:
        """Two-sided: how likely a mean so far from `null` would be, were that the true one. NaN where unknown."""
        from scipy.special import stdtr

        if math.isnan(self.error):
            return math.nan
        if self.error == 0:
            return 1.0 if self.mean == null else 0.0
        return float(2 * stdtr(self.degrees, -abs(self.mean - null) / self.error))


def over_seeds(values: ArrayLike, *, level: float = 0.95) -> Interval:
    """Student's t interval of the mean of one value per seed `[seeds]`."""
    given = numbers(values, 1)
    return over_seeds_and_examples(given[:, None], level=level)


def over_examples(values: ArrayLike, weights: ArrayLike | None = None, *, level: float = 0.95) -> Interval:
    """The interval of the weighted mean of one value per example `[examples]`, such as the loss per token.

    A weighted mean is a ratio of two sums that both vary with the examples. Its error is that of the ratio estimator by
    the delta method (Cochran, Sampling Techniques, 1977, chapter 6), n / (n - 1) Σ w² (x - mean)² / (Σ w)²; the
    quantile is Student's with n - 1 degrees of freedom. Good from about 30 examples on.
    """
    given = numbers(values, 1)
    return over_seeds_and_examples(given[None], weights, level=level)


def over_seeds_and_examples(values: ArrayLike, weights: ArrayLike | None = None, *, level: float = 0.95) -> Interval:
    """The interval of the mean over seeds of weighted means over examples: with other seeds and other examples.

    The error is that of a crossed design with two random factors, from the mean squares of its analysis of variance:
    error² = (MS(seeds) + max(MS(examples) - MS(both), 0)) / (seeds · examples). The degrees of freedom are
    Satterthwaite's (1946) for that sum as Hillis (2007, Statistics in Medicine 26:596) has it, who studied few
    readers on many cases: what is subtracted does not count, so that few seeds keep wide intervals. Weighted means
    enter by their influences, as in `over_examples`.

    Of one seed it is the interval over examples, and of one example that over seeds.

    Args:
        values: `[seeds, examples]`.
        weights: what each example counts, `[examples]` or `[seeds, examples]`; all the same by default.

    Raises:
        ValueError: no values, or weights that are negative, not finite or all 0, or of another shape.
    """
    given = numbers(values, 2)
    n_seeds, n_examples = given.shape
    pulls = _influences(given, _weights(weights, given))
    mean = float(pulls.mean())
    nothing = Interval(mean, math.nan, math.nan, math.nan, math.nan, n_seeds, n_examples, level)
    if not np.isfinite(given).all() or given.size == 1:
        return nothing
    of_seeds = pulls.mean(1)
    of_examples = pulls.mean(0)
    seeds = n_examples * _square(of_seeds - mean) / max(n_seeds - 1, 1)
    examples = n_seeds * _square(of_examples - mean) / max(n_examples - 1, 1)
    rest = pulls - of_seeds[:, None] - of_examples + mean
    both = _square(rest) / max((n_seeds - 1) * (n_examples - 1), 1)
    beyond = max(examples - both, 0.0)
    total = seeds + beyond
    error = math.sqrt(total / given.size)
    if total == 0:
        return Interval(mean, mean, mean, 0.0, math.inf, n_seeds, n_examples, level)
    # shares first: the squares of tiny mean squares would be 0
    degrees = 1 / ((seeds / total) ** 2 / max(n_seeds - 1, 1) + (beyond / total) ** 2 / max(n_examples - 1, 1))
    reach = _quantile(degrees, level) * error
    return Interval(mean, mean - reach, mean + reach, error, degrees, n_seeds, n_examples, level)


def _influences(values: Array, weights: Array) -> Array:
    """What stands for each value in an unweighted mean `[seeds, examples]`: their means are those of the seeds.

    m + (w / mean w) (x - m) for the weighted mean m of a seed: to first order, how the mean follows its examples.
    """
    with np.errstate(invalid="ignore"):  # infinities make values that are no numbers
        means = (values * weights).sum(1, keepdims=True) / weights.sum(1, keepdims=True)
        found: Array = means + weights / weights.mean(1, keepdims=True) * (values - means)
    return found


def _weights(weights: ArrayLike | None, values: Array) -> Array:
    """Weights `[seeds, examples]`.

    Raises:
        ValueError: they do not fit, or are no weights.
    """
    if weights is None:
        return np.ones_like(values)
    given = np.asarray(weights, np.float64)
    if given.shape not in (values.shape, values.shape[1:]):
        raise ValueError(f"weights of shape {given.shape} do not go with values of shape {values.shape}")
    given = np.broadcast_to(given, values.shape)
    if not (np.isfinite(given).all() and (given >= 0).all() and (given.sum(1) > 0).all()):
        raise ValueError("weights must be finite, not negative, and not all 0")
    return given


def _square(distances: Any) -> float:
    return float(np.square(distances).sum())


def _quantile(degrees: float, level: float) -> float:
    """How many standard errors an interval reaches to each side."""
    if not 0 < level < 1:
        raise ValueError(f"the level {level:g} is not between 0 and 1, such as 0.95")
    from scipy.special import stdtrit

    return float(stdtrit(degrees, (1 + level) / 2))
