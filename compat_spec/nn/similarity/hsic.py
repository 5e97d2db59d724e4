"""The Hilbert-Schmidt independence criterion of all pairs of layers, biased and unbiased.

Gretton et al., "Measuring Statistical Dependence with Hilbert-Schmidt Norms", 2005: tr(K H L H) / (n - 1)², with the
centring matrix H. Unbiased: Song et al., "Feature Selection via Dependence Maximization", 2012, equation 5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from compat_spec.nn.similarity.feature_space import squares_of_products
from compat_spec.nn.similarity.gram import GramSums, LinearKernel, gram_sums
from compat_spec.nn.similarity.inputs import product_dtype
from compat_spec.nn.similarity.layer import Layer, keep_if_small, layers_of_both
from compat_spec.nn.similarity.rbf import RbfKernel

_TOO_MUCH_LOST = 64
"""Terms so many times as large as what remains of them are computed in float64."""
_ONLY_ROUNDING = 1e-12


@dataclass
class Hsics:
    """HSIC of each pair, and of each layer with itself; float64.

    Attributes:
        cross: `[len(xs), len(ys)]`.
        own_x, own_y: `[layers]`; NaN where nothing but rounding is left.
        trouble_x, trouble_y: why a layer has none, or an empty string, for each.
    """

    cross: Tensor
    own_x: Tensor
    own_y: Tensor
    trouble_x: Sequence[str]
    trouble_y: Sequence[str]


def hsics(xs: Sequence[Tensor], ys: Sequence[Tensor], *, kernel: str, sigma: float, unbiased: bool) -> Hsics:
    """HSIC of all pairs, in float32 where that is enough for features of float32, in float64 otherwise.

    Args:
        xs, ys: features `[n, width]`, as `inputs.checked` returns them.
        kernel: `linear` or `rbf`.
        sigma: of the rbf kernel, as a multiple of the median distance.
    """
    dtype = product_dtype(xs, ys)
    found, lost = _hsics(xs, ys, kernel, sigma, unbiased, dtype)
    if dtype == torch.float32 and lost > _TOO_MUCH_LOST:
        found, _ = _hsics(xs, ys, kernel, sigma, unbiased, torch.float64)
    return found


def _hsics(
    xs: Sequence[Tensor], ys: Sequence[Tensor], kernel: str, sigma: float, unbiased: bool, dtype: torch.dtype
) -> tuple[Hsics, float]:
    """HSIC of all pairs, and how many times as large the largest terms are as what remains of them."""
    left, right, same = layers_of_both(xs, ys, dtype)
    keep_if_small([*left, *right], dtype)
    n = left[0].n
    trouble = [[layer.trouble for layer in side] for side in (left, right)]
    if kernel == "rbf":
        made = {layer: RbfKernel(layer, sigma, dtype) for layer in [*left, *right]}
        sums = gram_sums(
            [made[x] for x in left], [made[y] for y in right], _like(left, dtype), [slice(0, n)], same=same
        )
        trouble = [[made[layer].trouble for layer in side] for side in (left, right)]
        losses = [k.lost for layer, k in made.items() if not layer.trouble]
        scales = [sums.own_x.new_tensor([made[layer].scale for layer in side]) for side in (left, right)]
    else:
        sums = linear_sums(left, right, dtype, same=same)
        losses = []
        scales = [sums.own_x.new_tensor([layer.scale**2 for layer in side]) for side in (left, right)]
    cross = hsic(sums.cross[0, 0], sums.rows_x[..., 0], sums.rows_y[..., 0], sums.diagonal_x, sums.diagonal_y, unbiased)
    own = []
    for off, rows, diagonal, side in (
        (sums.own_x[0, 0], sums.rows_x[..., 0], sums.diagonal_x, trouble[0]),
        (sums.own_y[0, 0], sums.rows_y[..., 0], sums.diagonal_y, trouble[1]),
    ):
        k, d = rows[:, None], diagonal[:, None]
        norms = hsic(off[:, None, None], k, k, d, d, unbiased).flatten()
        total = off + diagonal.square().sum(dim=1)
        norms = torch.where(norms > _ONLY_ROUNDING * total, norms, torch.nan)
        # where nothing is left, all of it is lost
        shares = (total / norms).nan_to_num(nan=math.inf).tolist()
        losses += [share for share, why in zip(shares, side, strict=True) if not why]
        if unbiased and kernel == "linear":
            # each entry is wrong by rounding of |x_i| |x_j|, about, in either direction
            entries = 0.25 * diagonal.sum(dim=1) * off.clamp(min=0).sqrt()
            losses += (entries / norms)[norms > 0].tolist()
        own.append(norms)
    times = 1 / (n * (n - 3)) if unbiased else 1 / max(1, n - 1) ** 2
    a, b = scales
    found = Hsics(times * cross * a[:, None] * b, times * own[0] * a * a, times * own[1] * b * b, *trouble)
    return found, max(losses, default=0.0)


def _like(layers: Sequence[Layer], dtype: torch.dtype) -> Tensor:
    return torch.empty((), dtype=dtype, device=layers[0].device)


def hsic(off: Tensor, k: Tensor, l: Tensor, diagonal_k: Tensor, diagonal_l: Tensor, unbiased: bool) -> Tensor:  # noqa: E741
    """HSIC, times (n - 1)² or, unbiased, n (n - 3), from sums over the kernel matrices; any leading dimensions.

    Args:
        off: the sum of K_ij L_ij over i != j, `[a, b]`.
        k, l: the sums of the rows without the diagonal, `[a, n]` and `[b, n]`.
        diagonal_k, diagonal_l: K_ii and L_ii, `[a, n]` and `[b, n]`.
    """
    n = k.shape[-1]
    return hsic_of_part(off, k, l, diagonal_k, diagonal_l, n, unbiased)


def hsic_of_part(
    off: Tensor,
    k: Tensor,
    l: Tensor,  # noqa: E741
    diagonal_k: Tensor,
    diagonal_l: Tensor,
    n: int,
    unbiased: bool,
) -> Tensor:
    """The same over n tokens, where `k`, `l` and the diagonals are zero for all other tokens."""
    if unbiased:
        sums = k.sum(dim=-1)[..., :, None] * l.sum(dim=-1)[..., None, :]
        return off - (2 / (n - 2)) * (k @ l.mT) + sums / ((n - 1) * (n - 2))
    k, l = k + diagonal_k, l + diagonal_l  # noqa: E741
    sums = k.sum(dim=-1)[..., :, None] * l.sum(dim=-1)[..., None, :]
    return off + diagonal_k @ diagonal_l.mT - (2 / n) * (k @ l.mT) + sums / n**2


def unbiased_of_centred(traces: Tensor, products: Tensor, sums: Tensor, n: int | Tensor) -> Tensor:
    """`hsic` for linear kernels of centred features, whose rows without the diagonal sum to minus the diagonal.

    Args:
        traces: tr(K L), the diagonals included.
        products: Σ K_ii L_ii.
        sums: Σ K_ii times Σ L_ii.
    """
    return traces - products * (n / (n - 2)) + sums / ((n - 1) * (n - 2))


def linear_sums(xs: Sequence[Layer], ys: Sequence[Layer], dtype: torch.dtype, *, same: bool) -> GramSums:
    """The sums over the linear kernels, in Gram or in feature space, whichever takes fewer multiplications."""
    if gram_is_cheaper(xs, ys, same=same):
        kernels = {layer: LinearKernel(layer) for layer in [*xs, *ys]}
        left, right = [kernels[x] for x in xs], [kernels[y] for y in ys]
        return gram_sums(left, right, _like(xs, dtype), [slice(0, xs[0].n)], same=same)
    norms = {layer: layer.square_norms for layer in dict.fromkeys([*xs, *ys])}
    k, l = (torch.stack([norms[layer] for layer in side]) for side in (xs, ys))  # noqa: E741
    cross, own_x, own_y = squares_of_products(xs, ys, same=same)
    return GramSums(
        cross=(cross - k @ l.T)[None, None],
        own_x=(own_x - k.square().sum(dim=1))[None, None],
        own_y=(own_y - l.square().sum(dim=1))[None, None],
        diagonal_x=k,
        diagonal_y=l,
        rows_x=-k[..., None],
        rows_y=-l[..., None],
    )


def gram_is_cheaper(xs: Sequence[Layer], ys: Sequence[Layer], *, same: bool) -> bool:
    """Whether halves of n × n Gram matrices take fewer multiplications than width × width products of all pairs."""
    n = xs[0].n
    a, b = [x.width for x in xs], [y.width for y in ys]
    if same:
        in_features = n * sum(a[i] * a[j] for i in range(len(a)) for j in range(i, len(a)))
        return n * n // 2 * (sum(a) + len(a) ** 2) < in_features
    in_features = n * (sum(a) * sum(b) + sum(w * w for w in a + b) // 2)
    return n * n // 2 * (sum(a) + sum(b) + len(a) * len(b)) < in_features
