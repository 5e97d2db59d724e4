"""Sums over the entries of kernel matrices of all pairs of layers, without ever holding a whole matrix.

The kernel matrices K of `xs` and L of `ys` are `[n, n]` and symmetric. Tiles of all of them are made at a time, on the
diagonal and right of it: what lies right counts for its mirror image, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from compat_spec.nn.similarity.inputs import row_blocks
from compat_spec.nn.similarity.layer import Layer

_TILE_BYTES = 128 * 2**20
"""Memory of the tiles that are held at once, over all layers of both sides."""
_UNDIVIDED = 128
_SUMMED_AT_ONCE = 4096
"""So many products of entries are added up in the type of the tiles, and sums of them in float64."""


class Kernel(Protocol):
    """The kernel matrix of one layer, tile by tile."""

    def tile(self, rows: slice, columns: slice, out: Tensor) -> None:
        """Write these entries into `out`, `[rows, columns]`."""

    def diagonal(self) -> Tensor:
        """`[n]`, float64."""

    def row_sums(self, groups: Sequence[slice]) -> Tensor | None:
        """The sums over the columns of each group, without the diagonal, `[n, groups]` in float64; None: to be added
        up from the tiles."""


class LinearKernel:
    """K = XX' of centred features."""

    def __init__(self, layer: Layer) -> None:
        self.layer = layer

    def tile(self, rows: slice, columns: slice, out: Tensor) -> None:
        torch.mm(self.layer.rows(rows), self.layer.rows(columns).T, out=out)

    def diagonal(self) -> Tensor:
        return self.layer.square_norms

    def row_sums(self, groups: Sequence[slice]) -> Tensor:
        diagonal = self.diagonal()
        if len(groups) == 1:
            return -diagonal[:, None]  # the rows of the whole matrix sum to zero
        layer = self.layer
        totals = torch.stack([layer.rows(group).double().sum(dim=0) for group in groups], dim=1)
        sums = torch.cat([layer.rows(block).double() @ totals for block in layer.blocks()])
        for g, group in enumerate(groups):
            sums[group, g] -= diagonal[group]
        return sums


@dataclass
class GramSums:
    """Sums over kernel matrices without their diagonals, by groups of tokens; all float64.

    Attributes:
        cross: the sum of K_ij L_ij over tokens i of one group and j of another, `[groups, groups, len(xs), len(ys)]`.
        own_x, own_y: the same of K_ij² and of L_ij², `[groups, groups, layers]`.
        diagonal_x, diagonal_y: K_ii and L_ii, `[layers, n]`.
        rows_x, rows_y: the sum of K_ij over tokens j of a group, `[layers, n, groups]`.
    """

    cross: Tensor
    own_x: Tensor
    own_y: Tensor
    diagonal_x: Tensor
    diagonal_y: Tensor
    rows_x: Tensor
    rows_y: Tensor


def gram_sums(
    xs: Sequence[Kernel], ys: Sequence[Kernel], like: Tensor, groups: Sequence[slice], *, same: bool = False
) -> GramSums:
    """The sums for all pairs of layers.

    Args:
        like: a tensor of the device and type that tiles are made in.
        groups: of neighbouring tokens, all n of them: one slice, for sums over all.
        same: `ys` are the same kernels as `xs`.
    """
    n, count = groups[-1].stop, len(groups)
    kernels = [*xs] if same else [*xs, *ys]
    size = min(n, _tile_size(len(kernels), like))
    buffer = like.new_empty(len(kernels) * size * size)
    double = torch.zeros((), dtype=torch.float64, device=like.device)
    cross = double.new_zeros(count, count, len(xs), len(ys))
    own = double.new_zeros(count, count, len(kernels))
    rows = [kernel.row_sums(groups) for kernel in kernels]
    runs = list(_runs(kernels))
    unknown = [i for i, sums in enumerate(rows) if sums is None]
    added = [double.new_zeros(n, count) if sums is None else sums for sums in rows]
    for g, h, here, there in _tiles(groups, size):
        a, b = here.stop - here.start, there.stop - there.start
        tiles = buffer[: len(kernels) * a * b].view(len(kernels), a, b)
        for some, stack in runs:
            if stack is not None:
                torch.bmm(stack[:, here], stack[:, there].mT, out=tiles[some])
            else:
                kernels[some.start].tile(here, there, tiles[some.start])
        on_diagonal = here.start == there.start
        if on_diagonal:
            tiles.diagonal(dim1=1, dim2=2).zero_()
        flat = tiles.flatten(1)
        products = _products(flat[: len(xs)], flat if same else flat[len(xs) :])
        norms = products.diagonal() if same else _norms(flat)
        for i in unknown:
            added[i][here, h] += tiles[i].sum(dim=1, dtype=torch.float64)
            if not on_diagonal:
                added[i][there, g] += tiles[i].sum(dim=0, dtype=torch.float64)
        # a tile right of the diagonal stands for its mirror image, which has the groups turned around
        cross[g, h] += products
        own[g, h] += norms
        if not on_diagonal:
            cross[h, g] += products
            own[h, g] += norms
    diagonal = torch.stack([kernel.diagonal() for kernel in kernels])
    sums = torch.stack(added)
    x, y = slice(len(xs)), slice(0 if same else len(xs), None)
    return GramSums(cross, own[..., x], own[..., y], diagonal[x], diagonal[y], sums[x], sums[y])


def _runs(kernels: Sequence[Kernel]) -> Iterator[tuple[slice, Tensor | None]]:
    """Kernels one by one, or several whose features lie beside each other, with these: one call makes their tiles."""
    start = 0
    while start < len(kernels):
        stack, first = _kept_in(kernels[start])
        stop = start + 1
        while stack is not None and stop < len(kernels):
            other, place = _kept_in(kernels[stop])
            if other is not stack or place != first + stop - start:
                break
            stop += 1
        yield slice(start, stop), None if stack is None else stack[first : first + stop - start]
        start = stop


def _kept_in(kernel: Kernel) -> tuple[Tensor | None, int]:
    kept = kernel.layer.kept_in if isinstance(kernel, LinearKernel) else None
    return kept or (None, 0)


def _tile_size(number: int, like: Tensor) -> int:
    """The rows and columns of a tile, a power of 2: what keeps the device busy, and fits for all layers."""
    fits = math.isqrt(_TILE_BYTES // (number * like.dtype.itemsize))
    return min(512 if like.device.type == "cpu" else 1024, 1 << max(0, fits.bit_length() - 1))


def _products(k: Tensor, l: Tensor) -> Tensor:  # noqa: E741
    """k lᵀ in float64, of `[a, entries]` and `[b, entries]`."""
    whole = k.shape[1] - k.shape[1] % _SUMMED_AT_ONCE
    parts = [side[:, :whole].reshape(len(side), -1, _SUMMED_AT_ONCE).transpose(0, 1) for side in (k, l)]
    sums: Tensor = (parts[0] @ parts[1].mT).sum(dim=0, dtype=torch.float64)
    return sums + (k[:, whole:] @ l[:, whole:].T).double()


def _norms(k: Tensor) -> Tensor:
    """The sum of squares of each row, float64."""
    whole = k.shape[1] - k.shape[1] % _SUMMED_AT_ONCE
    parts = torch.linalg.vector_norm(k[:, :whole].reshape(len(k), -1, _SUMMED_AT_ONCE), dim=2)
    rest = torch.linalg.vector_norm(k[:, whole:], dim=1)
    total: Tensor = parts.double().square().sum(dim=1) + rest.double().square()
    return total


def _tiles(groups: Sequence[slice], size: int) -> list[tuple[int, int, slice, slice]]:
    """Tiles that cover the upper half, each inside one group's rows and one group's columns, with those groups.

    Those on the diagonal are divided further, for half of each of them is made in vain.
    """
    found = []
    for g, group in enumerate(groups):
        for here in _within(group, size):
            found += [(g, g, *pair) for pair in _on_diagonal(here)]
            for h in range(g, len(groups)):
                rest = slice(here.stop, group.stop) if h == g else groups[h]
                found += [(g, h, here, there) for there in _within(rest, size)]
    return found


def _on_diagonal(block: slice) -> list[tuple[slice, slice]]:
    size = block.stop - block.start
    if size <= _UNDIVIDED:
        return [(block, block)]
    middle = block.start + size // 2
    left, right = slice(block.start, middle), slice(middle, block.stop)
    return [*_on_diagonal(left), (left, right), *_on_diagonal(right)]


def _within(rows: slice, size: int) -> list[slice]:
    return [
        slice(rows.start + block.start, rows.start + block.stop) for block in row_blocks(rows.stop - rows.start, size)
    ]
