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

LEAST_P = 1e-100
"""No p-value of a sum of parts is given as less than this: nobody needs it smaller."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean, and where it would be with other seeds, other examples, or both.

    Attributes:
        low, high: the ends; NaN where nothing can be said, of a single seed or a value that is not finite.
        error: the standard error.
        parts: what its square is the sum of: variances, and the degrees of freedom with which each is known.
        seeds, examples: of how many it is; 1 where they are not what it is over.
        level: how often such an interval holds the true mean.
    """

    mean: float
    low: float
    high: float
    error: float
    parts: tuple[tuple[float, float], ...]
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
        """Two-sided: how likely a mean so far from `null` would be, were that the true one. NaN where unknown.

        An interval of level 1 - p would just reach `null`.
        """
        if math.isnan(self.error):
            return math.nan
        distance = abs(self.mean - null)
        if not self.parts:
            return 0.0 if distance else 1.0
        if len(self.parts) == 1:
            from scipy.special import stdtr

            return float(2 * stdtr(self.parts[0][1], -distance / self.error))
        least, most = math.log(LEAST_P), 0.0
        for _ in range(60):
            middle = (least + most) / 2
            least, most = (least, middle) if _reach(self.parts, math.exp(middle)) < distance else (middle, most)
        return math.exp(most) if most > math.log(LEAST_P) + 1e-9 else LEAST_P


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
    error² = (MS(seeds) + max(MS(examples) - MS(both), 0)) / (seeds · examples), as Hillis (2007, Statistics in Medicine
    26:596) has it, who studied few readers on many cases. Each of the two parts counts with the quantile of Student's t
    of its own degrees of freedom: reach² = Σ t² part (Banerjee, 1960, Sankhyā 22:357), which never holds the truth less
    often than it says. (Satterthwaite's degrees of freedom do, where a few seeds are close by luck: then the variance
    comes out too small and its degrees too many, and p < 0.001 happens to one in 60 with three seeds, one in 20 with
    two.) Weighted means enter by their influences, as in `over_examples`.

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
    if not np.isfinite(given).all() or given.size == 1:
        return Interval(mean, math.nan, math.nan, math.nan, (), n_seeds, n_examples, level)
    parts = _parts(pulls)
    reach = _reach(parts, 1 - level)
    error = math.sqrt(sum(variance for variance, _ in parts))
    return Interval(mean, mean - reach, mean + reach, error, parts, n_seeds, n_examples, level)


def _parts(pulls: Array) -> tuple[tuple[float, float], ...]:
    """The variances of the mean of `[seeds, examples]` by its seeds and by its examples, and their degrees of freedom.

    A part that is 0 but for rounding is left out.
    """
    n_seeds, n_examples = pulls.shape
    mean, of_seeds, of_examples = pulls.mean(), pulls.mean(1), pulls.mean(0)
    degrees = [max(n_seeds - 1, 1), max(n_examples - 1, 1)]
    nothing = (1e-12 * float(np.abs(pulls).max())) ** 2
    seeds = n_examples * _square(of_seeds - mean) / degrees[0]
    examples = n_seeds * _square(of_examples - mean) / degrees[1]
    both = _square(pulls - of_seeds[:, None] - of_examples + mean) / (degrees[0] * degrees[1])
    if seeds <= max(1e-12 * both, nothing) and both > nothing:
        # Seeds whose means are equal by chance, as counts of right answers may be: what is left tells what they vary.
        seeds, degrees[0] = both, degrees[0] * degrees[1]
    known = zip((seeds, max(examples - both, 0.0)), degrees, strict=True)
    return tuple((square / pulls.size, float(own)) for square, own in known if square > nothing)


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


def _reach(parts: tuple[tuple[float, float], ...], outside: float) -> float:
    """How far an interval reaches to each side that leaves the truth out in a share of cases (Banerjee, 1960)."""
    if not 0 < outside < 1:
        raise ValueError(f"the level {1 - outside:g} is not between 0 and 1, such as 0.95")
    from scipy.special import stdtrit

    return math.hypot(*(math.sqrt(variance) * float(stdtrit(degrees, outside / 2)) for variance, degrees in parts))
