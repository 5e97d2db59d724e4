"""Measures that look at nearest neighbours only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from compat_spec.nn.similarity.inputs import product_dtype
from compat_spec.nn.similarity.layer import Layer, keep_if_small, layers_of_both
from compat_spec.nn.similarity.neighbours import nearest_neighbours, products_of
from compat_spec.nn.similarity.undefined import tell

T = TypeVar("T")


def mutual_knn(xs: Sequence[Tensor], ys: Sequence[Tensor], *, k: int = 10) -> Tensor:
    """The share of a token's k nearest neighbours in one network that are so in the other, in the mean over tokens.

    Huh, Cheung, Wang, Isola, "The Platonic Representation Hypothesis", 2024, arXiv:2405.07987 (appendix A). Neighbours
    are the other tokens with the largest inner products of the features as they are, as in the authors' code.

    Between 0 and 1; k / (n - 1) for what is unrelated. It does not change when features are rotated, reflected, or
    scaled by one number. It does when they are moved; centre them first where that should not count.

    Args:
        k: how many neighbours; fewer than there are other tokens.
    """
    near_x, near_y, trouble = _of_layers(xs, ys, k, lambda features, layer: nearest_neighbours(features, layer, k))
    tell("mutual_knn", *trouble)
    found = torch.full((len(xs), len(ys)), torch.nan, dtype=torch.float64, device=xs[0].device)
    for i, a in enumerate(near_x):
        for j, b in enumerate(near_y):
            if a is not None and b is not None:
                found[i, j] = len(_common(a, b)[0]) / len(a)
    return found


def cknna(xs: Sequence[Tensor], ys: Sequence[Tensor], *, k: int = 10) -> Tensor:
    """Centered kernel nearest-neighbour alignment: unbiased CKA of the kernels where two tokens are near in both.

    Huh, Cheung, Wang, Isola, "The Platonic Representation Hypothesis", 2024, arXiv:2405.07987 (appendix A), as the
    authors' code has it: with M_ij = 1 where j is among the k nearest neighbours of i in both networks, the unbiased
    HSIC of M ∘ K and M ∘ L (Song et al., 2012, equation 5), divided by the square root of those of K and of L with
    themselves, whose M are their own neighbours. K and L are inner products of the features as they are.

    At most about 1, and 1 for a layer with itself; about 0 for what is unrelated. Rotations, reflections, and scaling
    by one number do not change it; moving features does.

    Args:
        k: how many neighbours; fewer than there are other tokens.
    """
    n = len(xs[0])
    if n < 4:
        raise ValueError(f"cknna needs at least 4 tokens, not {n}")

    def kernel(features: Tensor, layer: Layer) -> _NearKernel:
        edges = nearest_neighbours(features, layer, k)
        return _NearKernel(edges, *products_of(edges, features, layer))

    near_x, near_y, trouble = _of_layers(xs, ys, k, kernel)
    own = [[torch.nan if a is None else _masked_hsic(a, a, n) for a in side] for side in (near_x, near_y)]
    for reasons, norms in zip(trouble, own, strict=True):
        for i, norm in enumerate(norms):
            if not norm > 0:
                reasons[i] = reasons[i] or "their neighbourhoods have no positive HSIC; more neighbours may have"
                norms[i] = torch.nan
    tell("cknna", *trouble)
    found = torch.full((len(xs), len(ys)), torch.nan, dtype=torch.float64, device=xs[0].device)
    for i, a in enumerate(near_x):
        for j, b in enumerate(near_y):
            if a is not None and b is not None:
                found[i, j] = _masked_hsic(a, b, n) / (own[0][i] * own[1][j]) ** 0.5
    return found


@dataclass(frozen=True)
class _NearKernel:
    """A kernel that is zero but for the nearest neighbours of each token.

    Attributes:
        edges: as of `nearest_neighbours`.
        products, more: the kernel there is `products`, `[edges]` in float64, plus this number.
    """

    edges: Tensor
    products: Tensor
    more: float


def _of_layers(
    xs: Sequence[Tensor], ys: Sequence[Tensor], k: int, find: Callable[[Tensor, Layer], T]
) -> tuple[list[T | None], list[T | None], list[list[str]]]:
    """What is found of each layer, None for a layer that has no neighbours, and why."""
    n = len(xs[0])
    if not 1 <= k < n:
        raise ValueError(f"k must be at least 1 and less than the number of tokens, {n}; it is {k}")
    dtype = product_dtype(xs, ys)
    left, right, _ = layers_of_both(xs, ys, dtype)
    found: dict[int, T | None] = {}
    for features, layer in zip((*xs, *ys), (*left, *right), strict=True):
        if id(layer) not in found:
            keep_if_small([layer], dtype)
            found[id(layer)] = None if layer.trouble else find(features, layer)
            layer.let_go()
    trouble = [[layer.trouble for layer in side] for side in (left, right)]
    return [found[id(layer)] for layer in left], [found[id(layer)] for layer in right], trouble


def _common(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Where the edges that both have are among those of a, and among those of b."""
    places = torch.searchsorted(b, a).clamp_(max=len(b) - 1)
    in_a = (b[places] == a).nonzero().flatten()
    return in_a, places[in_a]


def _masked_hsic(a: _NearKernel, b: _NearKernel, n: int) -> float:
    """n (n - 3) times the unbiased HSIC of kernels that are zero but at common edges; these are not symmetric."""
    in_a, in_b = _common(a.edges, b.edges)
    edges, k, l = a.edges[in_a], a.products[in_a], b.products[in_b]  # noqa: E741
    i, j = edges // n, edges % n
    both_ways = torch.isin(j * n + i, edges)
    trace = (k * l)[both_ways].sum()
    columns, rows = k.new_zeros(n).index_add_(0, j, k), l.new_zeros(n).index_add_(0, i, l)
    varying = trace + k.sum() * l.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (columns @ rows)
    # the same with a constant in place of either, which cancels between whole numbers, and so exactly
    common = both_ways * ((n - 1) * (n - 2)) + len(edges)
    with_l = (common - 2 * (n - 1) * j.bincount(minlength=n)[i]).double()
    with_k = (common - 2 * (n - 1) * i.bincount(minlength=n)[j]).double()
    constant = a.more * (with_l @ l) + b.more * (with_k @ k) + a.more * b.more * with_k.sum()
    return float(varying + constant / ((n - 1) * (n - 2)))
