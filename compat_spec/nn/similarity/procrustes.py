"""Orthogonal Procrustes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from compat_spec.nn.similarity.feature_space import cross_products
from compat_spec.nn.similarity.inputs import product_dtype, same_layers
from compat_spec.nn.similarity.layer import Layer, keep_if_small, layers_of
from compat_spec.nn.similarity.nuclear import nuclear_norm
from compat_spec.nn.similarity.undefined import tell


def procrustes(xs: Sequence[Tensor], ys: Sequence[Tensor]) -> Tensor:
    """How well features fit on each other by the best rotation: ||X'Y||_* / (||X||_F ||Y||_F), means taken off.

    The nuclear norm is what the best orthogonal map (of the narrower into the wider, where widths differ) makes of the
    inner product of X and Y: Schönemann, 1966. Ding, Denain, Steinhardt, "Grounding Representation Similarity with
    Statistical Testing", 2021, arXiv:2108.01661, take 2 - 2 s as a squared distance of features of Frobenius norm 1;
    Williams, Kunz, Kornblith, Linderman, "Generalized Shape Metrics on Neural Representations", 2021,
    arXiv:2110.14739, arccos(s), which is a metric.

    Between 0 and 1. It does not change when features are rotated, reflected, moved, or scaled by one number.
    """
    same = same_layers(xs, ys)
    dtype = product_dtype(xs, ys)
    left = [_narrowed(layer, dtype) for layer in layers_of(xs, dtype)]
    right = left if same else [_narrowed(layer, dtype) for layer in layers_of(ys, dtype)]
    keep_if_small([*left, *right], dtype)
    tell("procrustes", [x.trouble for x in left], [y.trouble for y in right])
    sizes = {layer: layer.square_norms.sum().sqrt() for layer in (*left, *right)}
    found = torch.full((len(xs), len(ys)), torch.nan, dtype=torch.float64, device=xs[0].device)
    for i, j, product in cross_products(left, right, same=same):
        if not (left[i].trouble or right[j].trouble):
            found[i, j] = nuclear_norm(product / (sizes[left[i]] * sizes[right[j]]))
            if same:
                found[j, i] = found[i, j]
    return found


def _narrowed(layer: Layer, dtype: torch.dtype) -> Layer:
    """The layer, or where it is wider than it has tokens, a rotation of it that needs no more columns than these."""
    if layer.width <= layer.n or layer.trouble:
        return layer
    rows = layer.rows(slice(None)).double()
    return Layer(torch.linalg.qr(rows.T, mode="r").R.T.to(dtype), dtype)
