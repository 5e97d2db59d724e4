"""The arrays that statistics are of."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def numbers(values: ArrayLike, dimensions: int) -> Array:
    """Values as an array of so many dimensions: `[n]`, or `[seeds, examples]`.

    Raises:
        ValueError: they have other dimensions, or there are none.
    """
    given = np.asarray(values, np.float64)
    if given.ndim != dimensions or not given.size:
        what = "one value for each" if dimensions == 1 else "values [seeds, examples]"
        raise ValueError(f"{what} is wanted, at least one; not an array of shape {given.shape}")
    return given
