"""Products X'Y of all pairs of layers, summed over tokens: `[width, width]` each, whatever the number of tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from compat_spec.nn.similarity.inputs import product_over_rows, row_blocks
from compat_spec.nn.similarity.layer import Layer

_COLUMNS = 1024
_BLOCK_ENTRIES = 2**22


def cross_products(
    xs: Sequence[Layer], ys: Sequence[Layer], *, same: bool = False
) -> Iterator[tuple[int, int, Tensor]]:
    """X'Y of each pair in float64, with its place; where `ys` are `xs`, of the pairs with i <= j only.

    Products within a block of rows have the type of the features, and are added up in float64.
    """
    for i, x in enumerate(xs):
        for j, y in enumerate(ys):
            if not same or i <= j:
                yield i, j, cross_product(x, y)


def cross_product(
    x: Layer, y: Layer, columns: slice = slice(None), onwards: int = 0, rows: slice | None = None
) -> Tensor:
    """X'Y in float64, of these columns of X and of the columns of Y from `onwards` on; over all rows, or some."""
    some = rows or slice(0, x.n)
    total: Tensor | None = None
    for block in row_blocks(some.stop - some.start, max(1, _BLOCK_ENTRIES // max(x.width, y.width))):
        which = slice(some.start + block.start, some.start + block.stop)
        product = product_over_rows(x.rows(which)[:, columns], y.rows(which)[:, onwards:])
        total = product if total is None else total.add_(product)
    assert total is not None
    return total


def square_of_own_product(x: Layer) -> Tensor:
    """||X'X||² in the Frobenius norm, from the diagonal of X'X and what lies right of it."""
    total = x.mean.new_zeros(())
    for start in range(0, x.width, _COLUMNS):
        stop = min(start + _COLUMNS, x.width)
        product = cross_product(x, x, slice(start, stop), start)
        squares = product.square_()
        total = total + squares[:, : stop - start].sum() + 2 * squares[:, stop - start :].sum()
    return total


def squares_of_products(xs: Sequence[Layer], ys: Sequence[Layer], *, same: bool) -> tuple[Tensor, Tensor, Tensor]:
    """||X'Y||² of each pair `[len(xs), len(ys)]`, ||X'X||² and ||Y'Y||² of each layer; float64."""
    cross = torch.zeros(len(xs), len(ys), dtype=torch.float64, device=xs[0].mean.device)
    for i, j, product in cross_products(xs, ys, same=same):
        cross[i, j] = product.square_().sum()
        if same:
            cross[j, i] = cross[i, j]
    if same:
        return cross, cross.diagonal(), cross.diagonal()
    own = {layer: square_of_own_product(layer) for layer in dict.fromkeys([*xs, *ys])}
    return cross, torch.stack([own[x] for x in xs]), torch.stack([own[y] for y in ys])
