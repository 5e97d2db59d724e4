"""The features of one layer, centred and brought to a scale of 1."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from torch import Tensor

from compat_spec.nn.similarity.inputs import row_blocks, same_layers
from compat_spec.nn.similarity.undefined import NOT_FINITE, STILL

_IN_CACHE = 2**20
"""Entries of rows that are worked through several times."""
_SAMPLE = 64
_KEPT_BYTES = 360 * 2**20
"""Copies of all layers are kept when they take no more than this, and made again block by block otherwise."""


class Layer:
    """Features `[n, width]` without their means, divided by a power of 2 that brings their root mean square to about 1.

    What is a power of 2 changes no rounding, and products of four features then fit in float32. Means are taken off in
    two parts, so that rounding is that of the differences, however large the mean is. A column that is constant comes
    out exactly zero.

    Args:
        prepare: what is done to the rows first, in float64.

    Attributes:
        n, width: the shape.
        mean: `[width]`, float64.
        scale: what features were divided by.
        kept_in: the stack `[layers, n, width]` that holds the centred features of this layer and others, and its place.
        trouble: why there is nothing to compare, or an empty string: features that do not vary or are not finite.
    """

    def __init__(self, features: Tensor, dtype: torch.dtype, prepare: Callable[[Tensor], Tensor] | None = None) -> None:
        self.n, self.width = features.shape
        self._features = features
        self._dtype = dtype
        self._prepare = prepare
        self._kept: Tensor | None = None
        self.kept_in: tuple[Tensor, int] | None = None
        self._high, self._low, square = self._moments(torch.float64 if prepare else dtype)
        if self._high.dtype != torch.float64 and not 1e-30 < square / (self.n * self.width) < 1e30:
            # squares that float32 may have no numbers for
            self._high, self._low, square = self._moments(torch.float64)
        self.mean = self._high.double() + self._low.double()
        self.trouble = NOT_FINITE if not math.isfinite(square) else STILL if square == 0 else ""
        self.scale = 1.0 if self.trouble else _power_of_2((square / (self.n * self.width)) ** 0.5)

    @property
    def device(self) -> torch.device:
        return self._features.device

    def rows(self, which: slice | Tensor) -> Tensor:
        """Some of the rows, `[rows, width]`. Not to be changed."""
        if self._kept is not None:
            return self._kept[which]
        given = self._given(which, self._high.dtype)
        return given.sub(self._high).sub_(self._low).div_(self.scale).to(self._dtype)

    def blocks(self, entries: int = _IN_CACHE) -> list[slice]:
        """All rows, in slices of about so many entries."""
        return list(row_blocks(self.n, max(1, entries // self.width)))

    def keep(self, stack: Tensor, place: int) -> None:
        """Hold the rows from now on, in this place of a stack `[layers, n, width]`."""
        for block in self.blocks():
            self._write(block, stack[place, block])
        self._kept, self.kept_in = stack[place], (stack, place)

    def let_go(self) -> None:
        """Hold them no longer."""
        self._kept = self.kept_in = None

    @cached_property
    def square_norms(self) -> Tensor:
        """The square of each row's length `[n]`, float64: the diagonal of the Gram matrix."""
        norms = [torch.linalg.vector_norm(self.rows(block), dim=1) for block in self.blocks()]
        return torch.cat(norms).double().square()

    def _write(self, which: slice, out: Tensor) -> None:
        """The same into a tensor of the layer's type."""
        if self._high.dtype == out.dtype:
            torch.sub(self._given(which, out.dtype), self._high, out=out)
            out.sub_(self._low).div_(self.scale)
        else:
            out.copy_(self.rows(which))

    def _given(self, which: slice | Tensor, dtype: torch.dtype) -> Tensor:
        rows = self._features[which].to(dtype)
        return rows if self._prepare is None else self._prepare(rows)

    def _moments(self, dtype: torch.dtype) -> tuple[Tensor, Tensor, float]:
        """The mean of each column in two parts `[width]`, and the sum of the squares of all that remains.

        The second part is the mean of what the first left over, and so as exact as differences from the mean are.
        """
        total = torch.zeros(self.width, dtype=torch.float64, device=self.device)
        for block in self.blocks():
            total += _sum(self._given(block, dtype))
        still = self._constant(dtype)
        high = torch.where(still, self._given(slice(1), dtype)[0], (total / self.n).to(dtype))
        rest, square = torch.zeros_like(total), total.new_zeros(())
        for block in self.blocks():
            left = self._given(block, dtype).sub(high)
            if len(still.nonzero()):
                left.masked_fill_(still, 0)
            rest += _sum(left)
            square += torch.linalg.vector_norm(left).double().square()
        low = rest / self.n
        return high, low.to(dtype), float((square - self.n * low.square().sum()).clamp(min=0))

    def _constant(self, dtype: torch.dtype) -> Tensor:
        """Which columns are constant `[width]`: some rows tell which may be, and all rows which of these are."""
        some = torch.linspace(0, self.n - 1, min(self.n, _SAMPLE), device=self.device).long()
        low, high = _range(self._given(some, dtype))
        suspects = _equal(low, high).nonzero().flatten()
        still = torch.zeros(self.width, dtype=torch.bool, device=self.device)
        if not len(suspects):
            return still
        low, high = low[suspects], high[suspects]
        for block in self.blocks():
            least, most = _range(self._given(block, dtype)[:, suspects])
            low, high = torch.minimum(low, least), torch.maximum(high, most)
        still[suspects] = _equal(low, high)
        return still


def layers_of(
    features: Sequence[Tensor], dtype: torch.dtype, prepare: Callable[[Tensor], Tensor] | None = None
) -> list[Layer]:
    """Each layer, and one that is there twice only once."""
    different: dict[int, Layer] = {}
    for x in features:
        if id(x) not in different:
            different[id(x)] = Layer(x, dtype, prepare)
    return [different[id(x)] for x in features]


def layers_of_both(
    xs: Sequence[Tensor], ys: Sequence[Tensor], dtype: torch.dtype, prepare: Callable[[Tensor], Tensor] | None = None
) -> tuple[list[Layer], list[Layer], bool]:
    """The layers of both sides, and whether they are the same ones."""
    left, same = layers_of(xs, dtype, prepare), same_layers(xs, ys)
    return left, left if same else layers_of(ys, dtype, prepare), same


def keep_if_small(layers: Sequence[Layer], dtype: torch.dtype) -> None:
    """Hold all centred features, if they fit; those of one width beside each other, so that products are batched."""
    different = [layer for layer in dict.fromkeys(layers) if layer.kept_in is None]
    if sum(layer.n * layer.width for layer in different) * dtype.itemsize > _KEPT_BYTES:
        return
    for width in {layer.width for layer in different}:
        alike = [layer for layer in different if layer.width == width]
        stack = torch.empty(len(alike), alike[0].n, width, dtype=dtype, device=alike[0].device)
        for place, layer in enumerate(alike):
            layer.keep(stack, place)


def _sum(rows: Tensor) -> Tensor:
    """Over rows, float64; a product with ones, for on a CPU it is many times as fast as a sum."""
    return (rows.new_ones(len(rows)) @ rows).double()


def _range(rows: Tensor) -> tuple[Tensor, Tensor]:
    low, high = torch.aminmax(rows, dim=0)
    return low.double(), high.double()


def _equal(low: Tensor, high: Tensor) -> Tensor:
    # float64 features that differ in their last bits are what is left of a constant that was computed
    rounding = 16 * torch.finfo(torch.float64).eps * torch.maximum(low.abs(), high.abs())
    return (high - low <= rounding) & low.isfinite() & high.isfinite()


def _power_of_2(number: float) -> float:
    return float(2.0 ** round(math.log2(number)))
