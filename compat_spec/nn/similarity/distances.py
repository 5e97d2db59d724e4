"""Squared distances between the tokens of one layer, tile by tile, and the median of them."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from compat_spec.nn.similarity.inputs import row_blocks
from compat_spec.nn.similarity.layer import Layer

_EXACT_PAIRS = 2**24
"""So many distances are sorted; of more, the number in each of many narrow bins is counted."""
_TILE = 1024
_BIN_BITS = 15
_OCTAVES = 24


class SquaredDistances:
    """|x_i - x_j|² = |x_i|² + |x_j|² - 2 x_i·x_j of centred features: no cancellation but between tokens that are
    much nearer to each other than to the mean."""

    def __init__(self, layer: Layer) -> None:
        self._layer = layer
        self.n = layer.n
        self.norms = layer.square_norms

    def tile(self, rows: slice, columns: slice, out: Tensor) -> None:
        """Write these entries into `out`, `[rows, columns]`."""
        torch.mm(self._layer.rows(rows), self._layer.rows(columns).T, out=out)
        out.mul_(-2).add_(self.norms[rows, None].to(out.dtype)).add_(self.norms[columns].to(out.dtype))
        out.clamp_(min=0)

    def upper(self, dtype: torch.dtype) -> Iterator[Tensor]:
        """The distances of all pairs, each once, in some order."""
        for rows in row_blocks(self.n, _TILE):
            for columns in row_blocks(self.n, _TILE):
                if columns.start < rows.start:
                    continue
                shape = (rows.stop - rows.start, columns.stop - columns.start)
                tile = torch.empty(shape, dtype=dtype, device=self._layer.device)
                self.tile(rows, columns, tile)
                if columns.start == rows.start:
                    above = torch.triu_indices(*shape, offset=1, device=tile.device)
                    yield tile[above[0], above[1]]
                else:
                    yield tile.flatten()

    def median(self, dtype: torch.dtype) -> float:
        """The median of the squared distances of all pairs of different tokens; of an even number, between the two."""
        pairs = self.n * (self.n - 1) // 2
        if not pairs:
            return 0.0
        if pairs > _EXACT_PAIRS:
            return _median_of_bins(Bins(self, dtype), pairs)
        values = torch.cat(list(self.upper(dtype)))
        lower = values.kthvalue((pairs + 1) // 2).values
        upper = lower
        if pairs % 2 == 0 and int((values <= lower).sum()) == pairs // 2:
            upper = values[values > lower].min()
        return ((math.sqrt(float(lower)) + math.sqrt(float(upper))) / 2) ** 2


class Bins:
    """How many pairs of tokens have a squared distance in each bin, with 2^15 bins between a distance and its double.

    The bins are told by the first bits of numbers in float32, which grow as non-negative numbers do. They reach from
    the largest distance that can be, 2^24 times down; the lowest takes all below.

    Attributes:
        counts: `[bins]`, int64.
    """

    def __init__(self, distances: SquaredDistances, dtype: torch.dtype) -> None:
        largest = 4 * distances.norms.max().clamp(min=1e-30).to(torch.float32)
        self._shift = 23 - _BIN_BITS
        self.size = _OCTAVES << _BIN_BITS
        self._base = int(largest.view(torch.int32) >> self._shift) - self.size + 1
        self.counts = torch.zeros(self.size, dtype=torch.int64, device=largest.device)
        for values in distances.upper(dtype):
            self.counts += torch.bincount(self.of(values), minlength=self.size)

    def of(self, values: Tensor) -> Tensor:
        """The bin of each of these distances, int32."""
        bits = values.to(torch.float32).view(torch.int32)
        return (bits >> self._shift).sub_(self._base).clamp_(0, self.size - 1)

    def lower_edge(self, number: int) -> float:
        if number == 0:
            return 0.0
        return float(torch.tensor((number + self._base) << self._shift, dtype=torch.int32).view(torch.float32))


def _median_of_bins(bins: Bins, pairs: int) -> float:
    below = bins.counts.cumsum(0)
    number = int((below < (pairs + 1) // 2).sum())
    inside = (pairs / 2 - float(below[number] - bins.counts[number])) / float(bins.counts[number])
    low, high = bins.lower_edge(number), bins.lower_edge(number + 1)
    return low + inside * (high - low)
