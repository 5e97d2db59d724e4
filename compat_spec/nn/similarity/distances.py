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
_LARGEST_BIN = 255 << _BIN_BITS
_SAMPLED_TOKENS = 1024
_QUANTILES = 2**14


class SquaredDistances:
    """|x_i - x_j|² = |x_i|² + |x_j|² - 2 x_i·x_j of centred features: no cancellation but between tokens that are
    much nearer to each other than to the mean. What is no more than rounding is zero.

    Attributes:
        norms: |x_i|² `[n]`, float64.
        rounding: about how wrong a distance may be, as a share of the norms.
    """

    def __init__(self, layer: Layer, dtype: torch.dtype) -> None:
        self._layer = layer
        self.n = layer.n
        self.norms = layer.square_norms
        self.rounding = 4 * torch.finfo(dtype).eps * math.sqrt(layer.width)

    def tile(self, rows: slice | Tensor, columns: slice | Tensor, out: Tensor) -> None:
        """Write these entries into `out`, `[rows, columns]`."""
        torch.mm(self._layer.rows(rows), self._layer.rows(columns).T, out=out)
        out.mul_(-2).add_(self.norms[rows, None].to(out.dtype)).add_(self.norms[columns].to(out.dtype))
        # two tokens of which this is true have the same norm, but for rounding
        out.masked_fill_(out <= (self.rounding * self.norms[rows, None]).to(out.dtype), 0)

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
    the smallest distance above zero to the largest; the lowest takes distances of zero. A few tokens that are far from
    all others so take no bins from these.

    Attributes:
        counts: `[bins]`, int64.
    """

    def __init__(self, distances: SquaredDistances, dtype: torch.dtype) -> None:
        counts = torch.zeros(_LARGEST_BIN + 1, dtype=torch.int64, device=distances.norms.device)
        for values in distances.upper(dtype):
            numbers = _first_bits(values)
            above = numbers[numbers > 0]
            counts[0] += len(numbers) - len(above)
            if len(above):
                least = int(above.min())
                found = torch.bincount(above - least)
                counts[least : least + len(found)] += found
        used = counts[1:].nonzero().flatten() + 1
        least, most = (int(used[0]), int(used[-1])) if len(used) else (1, 1)
        self._base = least - 1
        self.counts = torch.cat([counts[:1], counts[least : most + 1]])

    def resolve(self) -> bool:
        """Whether ranks hardly change when those of one bin share one: the sum of their squares does by Σ counts³ / 12,
        of about pairs³ / 12. Distances of zero do share one."""
        shares = self.counts[1:] / self.counts.sum()
        return bool(shares.pow(3).sum() < 1e-6)

    def of(self, values: Tensor) -> Tensor:
        """The bin of each of these distances, int32."""
        return _first_bits(values).sub_(self._base).clamp_(0, len(self.counts) - 1)

    def lower_edge(self, number: int) -> float:
        if number == 0:
            return 0.0
        return float(torch.tensor((number + self._base) << (23 - _BIN_BITS), dtype=torch.int32).view(torch.float32))


class SortedDistances:
    """The squared distances between all pairs of some tokens, in ascending order.

    Attributes:
        above: the places of these pairs in the matrix of the tokens, `[2, pairs]`.
        order: which of the pairs each is `[pairs]`.
        values, rounding: the distances, and how wrong each may be; in the type that they were made in.
        run: which run of equal ones each belongs to: what differs by rounding only is equal.
    """

    def __init__(self, distances: SquaredDistances, tokens: Tensor, dtype: torch.dtype) -> None:
        count = len(tokens)
        everything = torch.empty(count, count, dtype=dtype, device=tokens.device)
        distances.tile(tokens, tokens, everything)
        self.above = torch.triu_indices(count, count, offset=1, device=tokens.device)
        self.values, self.order = everything[self.above[0], self.above[1]].sort()
        norms = distances.norms[tokens].to(dtype)
        self.rounding = distances.rounding * (norms[self.above[0]] + norms[self.above[1]])[self.order]
        self.run = self._runs()

    def _runs(self) -> Tensor:
        new = self.values.diff() > torch.maximum(self.rounding[1:], self.rounding[:-1])
        run = torch.cat([new.new_zeros(1), new]).cumsum(0)
        # many that are different lie close together, too: all of a run must be within rounding
        ends = run.bincount().cumsum(0) - 1
        starts = torch.cat([ends.new_zeros(1), ends[:-1] + 1])
        wide = self.values[ends] - self.values[starts] > 2 * self.rounding[ends]
        return torch.cat([new.new_zeros(1), new | wide[run[1:]]]).cumsum(0)


class QuantileBins:
    """The same with bins that hold about equally many distances each, wherever these lie: for distances of which many
    are nearly the same. They take some times as long.

    Distances that differ by rounding only are in one bin.
    """

    def __init__(self, distances: SquaredDistances, dtype: torch.dtype) -> None:
        device = distances.norms.device
        chosen = torch.randperm(distances.n, generator=torch.Generator().manual_seed(0))[:_SAMPLED_TOKENS].to(device)
        found = SortedDistances(distances, chosen, dtype)
        run = torch.unique_consecutive(found.run[:: max(1, len(found.run) // _QUANTILES)])
        first = torch.searchsorted(found.run, run)
        # a bin begins a little below its first distance, which others are equal to but for rounding
        self._edges = (found.values - found.rounding)[first].sort().values
        self.counts = torch.zeros(len(self._edges) + 1, dtype=torch.int64, device=device)
        for values in distances.upper(dtype):
            self.counts += torch.bincount(self.of(values), minlength=len(self.counts))

    def of(self, values: Tensor) -> Tensor:
        return torch.bucketize(values, self._edges, out_int32=True)


def _first_bits(values: Tensor) -> Tensor:
    return values.to(torch.float32).view(torch.int32) >> (23 - _BIN_BITS)


def _median_of_bins(bins: Bins, pairs: int) -> float:
    below = bins.counts.cumsum(0)
    number = int((below < (pairs + 1) // 2).sum())
    if number == 0:
        return 0.0
    inside = (pairs / 2 - float(below[number] - bins.counts[number])) / float(bins.counts[number])
    low, high = bins.lower_edge(number), bins.lower_edge(number + 1)
    return low + inside * (high - low)
