"""Two models on the same examples: a test by permutation, the size of an effect, and who wins how often."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from compat_spec.statistics.arrays import Array, numbers

FLIPS = 10_000
"""How many random flips stand for all; so many or fewer are all tried."""


@dataclass(frozen=True, slots=True)
class SignFlips:
    """A test by permutation.

    Attributes:
        p_value: two-sided.
        flips: of how many; `exact` when those are all that there are.
    """

    p_value: float
    flips: int
    exact: bool


def sign_flips(terms: ArrayLike, *, seed: int = 0) -> SignFlips:
    """The paired test by permutation: had the two swapped places anywhere, would their difference be as large?

    If two models are alike, each difference could as well have the other sign (Fisher, The Design of Experiments, 1935,
    §21). The p-value is the share of all sign patterns whose sum is at least as far from 0; when there are more than
    10,000, of so many random ones and the pattern that was found (Phipson and Smyth, 2010, arXiv:1603.05766). What goes
    together must be one term: the differences of all seeds on one example, weighted and added.

    Args:
        terms: `[n]`, their sum is the difference, up to a constant factor.
        seed: of the random patterns; the same ones each time.
    """
    given = numbers(terms, 1)
    n = len(given)
    if not np.isfinite(given).all():
        return SignFlips(math.nan, 0, False)
    # sums that are equal but for rounding count as equal
    least = abs(given.sum()) - 1e-12 * np.abs(given).sum()
    if n < 60 and 2 ** (n - 1) <= FLIPS:  # a pattern and its opposite are equally far from 0
        patterns = np.arange(2 ** (n - 1))[:, None] >> np.arange(n) & 1
        return SignFlips(float((np.abs((1 - 2 * patterns) @ given) >= least).mean()), len(patterns), True)
    as_far = int((np.abs(_flipped(given, np.random.default_rng(seed))) >= least).sum())
    return SignFlips((1 + as_far) / (1 + FLIPS), FLIPS, False)


def _flipped(terms: Array, generator: np.random.Generator) -> Array:
    """The sums of `terms` by random patterns of signs `[FLIPS]`: of eight at a time, a random byte picks one of 256."""
    signs = 1.0 - 2.0 * np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)
    sums = np.zeros(FLIPS)
    for eight in np.pad(terms, (0, -len(terms) % 8)).reshape(-1, 8):
        sums += (signs @ eight)[generator.integers(0, 256, FLIPS, np.uint8)]
    return sums


def effect_size(differences: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Cohen's d_z (1988, §2.3.5): the mean difference in standard deviations of the differences, weighted `[n]`.

    NaN of one difference, and where all are 0; infinite where all are the same.
    """
    given = numbers(differences, 1)
    n = len(given)
    share: Array = np.full(n, 1 / n) if weights is None else np.asarray(weights, np.float64) / np.sum(weights)
    mean = float(share @ given)
    if n < 2 or not np.isfinite(given).all():
        return math.nan
    deviation = math.sqrt(share @ np.square(given - mean) * n / (n - 1))
    if deviation > 1e-12 * abs(mean):  # less is rounding
        return mean / deviation
    return math.copysign(math.inf, mean) if mean else math.nan


def win_rate(differences: ArrayLike) -> float:
    """The share of differences `[n]` above 0; those of 0 count half (as in the probability of superiority)."""
    given = numbers(differences, 1)
    return float((given > 0).mean() + (given == 0).mean() / 2) if not np.isnan(given).any() else math.nan
