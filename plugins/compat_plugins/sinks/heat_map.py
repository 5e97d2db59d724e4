"""A picture of a matrix of layers by layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from compat_spec.components import MeasuredSimilarity

if TYPE_CHECKING:
    from numpy.typing import NDArray

PIXELS = 24
"""The side of the square of a pair of layers; less where the picture would be larger than `LARGEST`."""

LARGEST = 2048

COLOURS = ((0, 34, 78), (53, 69, 108), (102, 105, 112), (148, 142, 119), (200, 184, 102), (254, 232, 56))
"""Dark blue to yellow, ever brighter, which shows to those who see no red or no green, too."""

MISSING = (255, 255, 255)


def heat_map(rows: Sequence[MeasuredSimilarity]) -> NDArray[Any]:
    """The similarities of two models as colours `[height, width, 3]`, uint8: layer 0 of `a` at the bottom, of `b` left.

    What lies between 0 and 1, as CKA does, is coloured on that scale, anything else from the least to the greatest.
    """
    import numpy as np

    first_a, first_b = min(row.layer_a for row in rows), min(row.layer_b for row in rows)
    layers = max(row.layer_a for row in rows) - first_a + 1, max(row.layer_b for row in rows) - first_b + 1
    values = np.full(layers, np.nan)
    for row in rows:
        values[row.layer_a - first_a, row.layer_b - first_b] = row.value
    known = values[np.isfinite(values)]
    low, high = (known.min(), known.max()) if known.size else (0.0, 1.0)
    if low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    shares = np.nan_to_num((values - low) / ((high - low) or 1.0)).clip(0, 1)
    stops = np.linspace(0, 1, len(COLOURS))
    colours = np.stack([np.interp(shares, stops, channel) for channel in np.transpose(COLOURS)], axis=-1)
    colours[~np.isfinite(values)] = MISSING
    side = max(1, min(PIXELS, LARGEST // max(layers)))
    return colours[::-1].round().astype(np.uint8).repeat(side, axis=0).repeat(side, axis=1)
