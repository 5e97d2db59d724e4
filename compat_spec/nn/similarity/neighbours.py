"""The nearest neighbours of each token among the others: those with the largest inner products of features."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from compat_spec.nn.similarity.inputs import row_blocks
from compat_spec.nn.similarity.layer import Layer

_SCORE_BYTES = 96 * 2**20
_GATHERED = 24
"""Where a token has no more than a share of 1 / 24 of the others as neighbours, products are made of these only."""


def nearest_neighbours(features: Tensor, layer: Layer, k: int) -> Tensor:
    """The k nearest neighbours of each of n tokens by inner products of the features as they are, with their means:
    i n + j for each neighbour j of token i, in ascending order, `[n * k]`, int64.

    Products are made in the layer's type. Where the difference between the last neighbour and the next token may be
    rounding, they are made again in float64; tokens that are equally near then count by their place.

    Args:
        layer: of these features.
    """
    n, width = features.shape
    mean = layer.mean / layer.scale
    along_mean = torch.cat([layer.rows(block).double() @ mean for block in layer.blocks()])
    norms = layer.square_norms.sqrt()
    dtype = layer.rows(slice(1)).dtype
    rounding = 16 * torch.finfo(dtype).eps * math.sqrt(width)
    count = min(k + 1, n - 1)
    indices = torch.empty(n, k, dtype=torch.int64, device=features.device)
    for rows in row_blocks(n, max(1, _SCORE_BYTES // (dtype.itemsize * n))):
        scores = _scores(layer, rows, along_mean.to(dtype))
        values, found = scores.topk(count, dim=1)
        if count > k:
            # beside the differences of inner products, what x_j has along the mean is rounded
            size = norms[rows] * norms[found].amax(dim=1) + along_mean[found].abs().amax(dim=1)
            lowest = values[:, k - 1] - rounding * size
            for i in (values[:, k] >= lowest).nonzero().flatten().tolist():
                candidates = (scores[i] >= lowest[i]).nonzero().flatten()
                found[i, :k] = _nearest(features, rows.start + i, candidates, k)
        indices[rows] = found[:, :k].sort(dim=1).values
    own = torch.arange(n, device=features.device)[:, None]
    return (own * n + indices).flatten()


def products_of(edges: Tensor, features: Tensor, layer: Layer) -> tuple[Tensor, float]:
    """x_i·x_j of each edge, over the square of the layer's scale: `[edges]` in float64, and a number to add to each.

    The number is the square of the mean, which may be so large that the rest would be lost in the sum.
    """
    n, width = features.shape
    others = (edges % n).view(n, -1)
    k = others.shape[1]
    mean = layer.mean / layer.scale

    def centred(which: slice) -> Tensor:
        return (features[which] - layer.mean).div_(layer.scale)  # float64, as the mean is

    along_mean = torch.cat([centred(block) @ mean for block in layer.blocks()])
    few = k * _GATHERED < n
    products = torch.empty(n, k, dtype=torch.float64, device=features.device)
    for rows in row_blocks(n, max(1, _SCORE_BYTES // (8 * (k * width if few else n)))):
        here = centred(rows)
        if few:
            products[rows] = (features[others[rows]].double() @ here.unsqueeze(2)).squeeze(2)
        else:
            everything = torch.cat([here @ features[block].double().T for block in layer.blocks(2**22)], dim=1)
            products[rows] = everything.gather(1, others[rows])
    # with m the mean: x_i·x_j = (x_i - m)·x_j + m·(x_j - m) + m·m
    return products.div_(layer.scale).add_(along_mean[others]).flatten(), float(mean.square().sum())


def _scores(layer: Layer, rows: slice, along_mean: Tensor) -> Tensor:
    """x_i·x_j of these tokens i with all tokens j, up to a number that depends on i; minus infinity for i itself."""
    here = layer.rows(rows)
    scores = torch.empty(len(here), layer.n, dtype=here.dtype, device=here.device)
    for block in layer.blocks(2**23):
        torch.addmm(along_mean[block], here, layer.rows(block).T, out=scores[:, block])
    itself = torch.arange(len(here), device=here.device)
    scores[itself, itself + rows.start] = -torch.inf
    return scores


def _nearest(features: Tensor, i: int, candidates: Tensor, k: int) -> Tensor:
    """The k of the candidates, which are in order, that are nearest to token i by inner products in float64."""
    own = features[i].double()
    products = [(features[candidates[some]].double() * own).sum(dim=1) for some in row_blocks(len(candidates), 4096)]
    return candidates[torch.cat(products).sort(descending=True, stable=True).indices[:k]]
