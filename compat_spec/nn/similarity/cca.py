"""Canonical correlation analysis: SVCCA and PWCCA."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from compat_spec.nn.similarity.feature_space import cross_product
from compat_spec.nn.similarity.inputs import product_dtype, product_over_rows, row_blocks
from compat_spec.nn.similarity.layer import Layer, layers_of_both
from compat_spec.nn.similarity.nuclear import nuclear_norm
from compat_spec.nn.similarity.undefined import tell, tell_pairs

OPEN_WEIGHTS = "they have more components together than there are tokens, which leaves the weights open: use more"
WELL_CONDITIONED = 1e-10
"""Eigenvalues of second moments say enough of a direction when they are this share of the largest."""


def svcca(xs: Sequence[Tensor], ys: Sequence[Tensor], *, variance: float = 0.99) -> Tensor:
    """The mean canonical correlation of the principal components that hold most of the variance.

    Raghu, Gilmer, Yosinski, Sohl-Dickstein, "SVCCA", 2017, arXiv:1706.05806. Each layer's features, means taken off,
    are cut off to the fewest principal components that hold a share of the variance; the mean is over as many
    canonical correlations as the side with fewer components has.

    Between 0 and 1. It does not change when features are rotated, reflected, moved, or scaled by one number; with all
    of the variance, nor under any invertible linear map. With few tokens for the number of components everything is
    correlated: have several times as many.

    Args:
        variance: which share of the variance is kept, above 0, at most 1.
    """
    if not 0 < variance <= 1:
        raise ValueError(f"variance is a share above 0 and at most 1, not {variance}")
    left, right = _bases("svcca", xs, ys, variance, product_dtype(xs, ys))
    found = _nothing(xs, ys)
    same = left is right
    for i, x in enumerate(left):
        for j, y in enumerate(right):
            if x is not None and y is not None and not (same and j < i):
                found[i, j] = mean_correlation(_product(x.tokens, y.tokens))
                if same:
                    found[j, i] = found[i, j]
    return found


def pwcca(xs: Sequence[Tensor], ys: Sequence[Tensor]) -> Tensor:
    """Canonical correlations weighted by how much of the features of `xs` their directions account for.

    Morcos, Raghu, Bengio, "Insights on Representational Similarity in Neural Networks with Canonical Correlation",
    2018, arXiv:1806.05759 (section 2.1): the weight of direction i is the sum over neurons j of |<h_i, x_j>|, with the
    canonical variates h_i of `xs` of length 1 and the features x_j of `xs`, means taken off.

    Between 0 and 1, and 1 for invertible linear maps of each other. It does not change when features are moved or
    scaled by one number, nor when those of `ys` are mapped by any invertible linear map; rotating those of `xs` changes
    the weights. The two sides are not interchangeable. It is 1 for any features where tokens are no more than features;
    where they are fewer than the features of both sides together, some correlations are 1 whatever the data, and their
    directions, and so their weights, are open: NaN.
    """
    # directions of nearly equal correlations, and so their weights, turn with the least rounding
    left, right = _bases("pwcca", xs, ys, 1.0, torch.float64)
    found = _nothing(xs, ys)
    for i, x in enumerate(left):
        for j, y in enumerate(right):
            if x is not None and y is not None:
                found[i, j] = weighted_correlation(_product(x.tokens, y.tokens), x.neurons, len(x.tokens))
    defined = torch.tensor([[x is not None and y is not None for y in right] for x in left], device=found.device)
    tell_pairs("pwcca", found.isnan() & defined, OPEN_WEIGHTS)
    return found


def mean_correlation(product: Tensor) -> Tensor:
    """The mean canonical correlation from the product of orthonormal bases `[a, b]`, float64."""
    return (nuclear_norm(product) / min(product.shape)).clamp(max=1)


def weighted_correlation(product: Tensor, neurons: Tensor, n: int) -> Tensor:
    """PWCCA from the product of orthonormal bases `[a, b]` and the features in terms of the first, `[a, width]`.

    NaN where two or more correlations, but not all, are 1 because there are only n tokens.
    """
    values, directions = _left_singular(product)
    certain = sum(product.shape) - (n - 1)
    if certain > 1 and bool((values < 1 - 1e-6).any()):
        return values.new_tensor(torch.nan)
    weights = (directions.T @ neurons).abs().sum(dim=1)
    return (weights @ values.clamp(max=1)) / weights.sum()


def _left_singular(product: Tensor) -> tuple[Tensor, Tensor]:
    """Singular values `[min(a, b)]` and left singular vectors `[a, min(a, b)]`, from eigenvectors if they are exact."""
    if product.shape[0] <= product.shape[1]:
        squares, vectors = torch.linalg.eigh(product @ product.T)
        if bool(squares[0] > WELL_CONDITIONED):
            return squares.sqrt(), vectors
    u, s, _ = torch.linalg.svd(product, full_matrices=False)
    return s, u


@dataclass(frozen=True)
class Basis:
    """Orthonormal directions in the space of tokens.

    Attributes:
        tokens: `[n, components]`, in the type that products are made in.
        neurons: the features in terms of these, `[components, width]`, float64.
    """

    tokens: Tensor
    neurons: Tensor


def _bases(
    measure: str, xs: Sequence[Tensor], ys: Sequence[Tensor], variance: float, dtype: torch.dtype
) -> tuple[list[Basis | None], list[Basis | None]]:
    left, right, _ = layers_of_both(xs, ys, torch.float64)
    tell(measure, [x.trouble for x in left], [y.trouble for y in right])
    found = {
        layer: None if layer.trouble else _basis(layer, variance, dtype) for layer in dict.fromkeys((*left, *right))
    }
    bases_x = [found[x] for x in left]
    return bases_x, bases_x if right is left else [found[y] for y in right]


def _basis(layer: Layer, variance: float, dtype: torch.dtype) -> Basis:
    """The principal components that hold this share of the variance; of all of it, those that are not rounding.

    From second moments, over tokens or over features, whichever are fewer, if these say enough of the last component;
    from a singular value decomposition otherwise.
    """
    rows = layer.rows(slice(None))
    over_features = layer.n >= layer.width
    moments = cross_product(layer, layer) if over_features else rows @ rows.T
    values, vectors = (found.flip(-1) for found in torch.linalg.eigh(moments))
    count = components(values[values > len(values) * torch.finfo(torch.float64).eps * values[0]], variance)
    if values[count - 1] > WELL_CONDITIONED * values[0] and (variance < 1 or count == min(layer.n - 1, layer.width)):
        scale, kept = values[:count].sqrt(), vectors[:, :count]
        if over_features:
            return Basis((rows @ (kept / scale)).to(dtype), scale[:, None] * kept.T)
        return Basis(kept.to(dtype), kept.T @ rows)
    u, s, v = torch.linalg.svd(rows, full_matrices=False)
    s = s[s > max(rows.shape) * torch.finfo(torch.float64).eps * s[0]]
    count = components(s.square(), variance)
    return Basis(u[:, :count].to(dtype), s[:count, None] * v[:count])


def components(values: Tensor, variance: float) -> int:
    """How many of the variances, the largest first, make up this share of their sum."""
    if variance == 1:
        return len(values)
    shares = values.cumsum(0) / values.sum()
    return min(len(values), int((shares < variance - 1e-12).sum()) + 1)


def _product(x: Tensor, y: Tensor) -> Tensor:
    blocks = row_blocks(len(x), 4096)
    first = next(blocks)
    total = product_over_rows(x[first], y[first])
    for block in blocks:
        total += product_over_rows(x[block], y[block])
    return total


def _nothing(xs: Sequence[Tensor], ys: Sequence[Tensor]) -> Tensor:
    return torch.full((len(xs), len(ys)), torch.nan, dtype=torch.float64, device=xs[0].device)
