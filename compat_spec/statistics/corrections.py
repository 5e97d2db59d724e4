"""Corrections for several tests at once: among twenty, one with p < 0.05 is no surprise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from compat_spec.statistics.arrays import Array


def holm(p_values: ArrayLike) -> Array:
    """Corrected p-values such that any false one below 0.05 has a chance of 5 %, however the tests depend (Holm, 1979).

    NaN stays NaN, and counts as no test.
    """
    return _corrected(p_values, lambda p, n: np.maximum.accumulate(p * np.arange(n, 0, -1)))


def benjamini_hochberg(p_values: ArrayLike) -> Array:
    """Corrected p-values such that of those below 0.05 about 5 % are false, for independent or positively dependent
    tests (Benjamini and Hochberg, 1995). NaN stays NaN, and counts as no test.
    """
    return _corrected(p_values, lambda p, n: np.minimum.accumulate((p * n / np.arange(1, n + 1))[::-1])[::-1])


def _corrected(p_values: ArrayLike, correct: Callable[[Array, int], Array]) -> Array:
    """`correct` what is known, smallest first."""
    found: Array = np.array(p_values, np.float64)
    known = np.flatnonzero(~np.isnan(found))
    order = known[np.argsort(found[known], kind="stable")]
    found[order] = np.minimum(correct(found[order], len(order)), 1.0)
    return found
