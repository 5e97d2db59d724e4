"""How similar the representations of two networks are, layer by layer."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

# entries of Gram matrices that are held at once, over all layers of one side: 128 MiB
_GRAM_ENTRIES = 2**24


@torch.no_grad()
def similarity(measure: str, xs: Sequence[Tensor] | Tensor, ys: Sequence[Tensor] | Tensor, **options: Any) -> Tensor:
    """The similarity of every layer of `xs` to every layer of `ys`: `[len(xs), len(ys)]`, float64.

    Computed in float64 whatever comes in, on the device of `xs`, or on the CPU where that device has no float64.

    Args:
        measure: `cka`.
        xs: features `[n, width]` of each layer, or all as `[layers, n, width]`; widths may differ.
        ys: the same of another network, on the same n tokens in the same order.
        options: of the measure. `cka`: `kernel="linear"`, `unbiased=False`.

    Raises `ValueError` for an unknown measure or option, and for features that do not fit together.
    """
    if measure not in MEASURES:
        raise ValueError(f"no measure {measure!r}; there are: {', '.join(MEASURES)}")
    function = MEASURES[measure]
    known = [p.name for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    if unknown := sorted(set(options) - set(known)):
        raise ValueError(f"{measure} has no option {unknown[0]!r}; its options are: {', '.join(known)}")
    return function(*_checked(list(xs), list(ys)), **options)


def cka(
    xs: Sequence[Tensor], ys: Sequence[Tensor], *, kernel: Literal["linear"] = "linear", unbiased: bool = False
) -> Tensor:
    """Centered kernel alignment, HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)), with K = XX' and L = YY'.

    Kornblith et al., "Similarity of Neural Network Representations Revisited", 2019, arXiv:1905.00414: the biased HSIC
    of features with their means taken off is ||X'Y||² / (n - 1)², in the Frobenius norm. Unbiased: the estimator of
    Song et al., "Feature Selection via Dependence Maximization", 2012 (equation 5), which leaves out each token's
    similarity to itself. Features that do not vary have no similarity: NaN.

    `xs` and `ys` are float64 `[n, width]` on one device.
    """
    if kernel != "linear":
        raise ValueError(f"cka has no kernel {kernel!r}; there is: linear")
    n = len(xs[0])
    if unbiased and n < 4:
        raise ValueError(f"unbiased CKA needs at least 4 tokens, not {n}")
    xs, ys = [_centred(x) for x in xs], [_centred(y) for y in ys]
    cross, norms_x, norms_y = _gram_products(xs, ys) if _gram_is_cheaper(xs, ys) else _feature_products(xs, ys)
    if unbiased:
        k, l = _diagonals(xs), _diagonals(ys)  # noqa: E741
        cross = _without_diagonals(cross, k @ l.T, k.sum(dim=1)[:, None] * l.sum(dim=1), n)
        norms_x, norms_y = _norms_without_diagonals(norms_x, k), _norms_without_diagonals(norms_y, l)
    return cross / (norms_x[:, None] * norms_y[None, :]).sqrt()


MEASURES: dict[str, Callable[..., Tensor]] = {"cka": cka}


def _checked(xs: list[Tensor], ys: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    if not xs or not ys:
        raise ValueError("there are no layers to compare")
    for features in (*xs, *ys):
        if features.ndim != 2 or not features.is_floating_point():
            raise ValueError(f"features are [n, width] of a float dtype, not {list(features.shape)} {features.dtype}")
        if len(features) != len(xs[0]) or not len(features):
            raise ValueError(f"layers must have the same tokens: one has {len(features)}, another {len(xs[0])}")
    device = torch.device("cpu") if xs[0].device.type == "mps" else xs[0].device

    def exact(features: Tensor) -> Tensor:
        return features.to(device).double()

    return [exact(x) for x in xs], [exact(y) for y in ys]


def _centred(x: Tensor) -> Tensor:
    """Take the mean off each column; a column that is constant to rounding comes out exactly zero."""
    centred = x - x.mean(dim=0)
    rounding = 16 * torch.finfo(x.dtype).eps * _largest(x)
    return torch.where(_largest(centred) <= rounding, 0.0, centred)


def _largest(x: Tensor) -> Tensor:
    """The largest magnitude of each column."""
    largest: Tensor = torch.linalg.vector_norm(x, ord=torch.inf, dim=0)
    return largest


def _gram_is_cheaper(xs: Sequence[Tensor], ys: Sequence[Tensor]) -> bool:
    """Whether halves of n × n Gram matrices take fewer multiplications than width × width products of all pairs."""
    n = len(xs[0])
    widths_x, widths_y = [x.shape[1] for x in xs], [y.shape[1] for y in ys]
    in_features = n * (sum(widths_x) * sum(widths_y) + sum(w * w for w in widths_x + widths_y))
    in_gram = n * n // 2 * (sum(widths_x) + sum(widths_y) + len(xs) * len(ys))
    return in_gram < in_features


def _feature_products(xs: Sequence[Tensor], ys: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """||X'Y||² of each pair `[len(xs), len(ys)]`, and ||X'X||² and ||Y'Y||² of each layer."""
    cross = torch.stack([torch.stack([_square(x.T @ y) for y in ys]) for x in xs])
    return cross, torch.stack([_square(x.T @ x) for x in xs]), torch.stack([_square(y.T @ y) for y in ys])


def _gram_products(xs: Sequence[Tensor], ys: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """The same by ||X'Y||² = <XX', YY'>, some rows of all Gram matrices at a time.

    Of those rows only what lies on the diagonal or right of it: what lies right counts for its mirror image, too.
    """
    n = len(xs[0])
    rows = max(1, _GRAM_ENTRIES // (n * max(len(xs), len(ys))))
    cross = xs[0].new_zeros(len(xs), len(ys))
    norms_x, norms_y = cross.new_zeros(len(xs)), cross.new_zeros(len(ys))
    for start in range(0, n, rows):
        own, after = slice(start, start + rows), slice(start + rows, n)
        for columns, times in ((own, 1), (after, 2)):
            k, l = _gram_blocks(xs, own, columns), _gram_blocks(ys, own, columns)  # noqa: E741
            cross += times * (k @ l.T)
            norms_x += times * torch.linalg.vector_norm(k, dim=1).square()
            norms_y += times * torch.linalg.vector_norm(l, dim=1).square()
    return cross, norms_x, norms_y


def _gram_blocks(xs: Sequence[Tensor], rows: slice, columns: slice) -> Tensor:
    """These rows and columns of each layer's Gram matrix, flattened: `[len(xs), rows * columns]`."""
    blocks = xs[0].new_empty(len(xs), len(xs[0][rows]), len(xs[0][columns]))
    for x, block in zip(xs, blocks, strict=True):
        torch.mm(x[rows], x[columns].T, out=block)
    return blocks.flatten(1)


def _square(matrix: Tensor) -> Tensor:
    return matrix.square().sum()


def _diagonals(xs: Sequence[Tensor]) -> Tensor:
    """The diagonal of each layer's Gram matrix `[len(xs), n]`."""
    return torch.stack([x.square().sum(dim=1) for x in xs])


def _without_diagonals(traces: Tensor, products: Tensor, sums: Tensor, n: int) -> Tensor:
    """n (n - 3) times the unbiased HSIC from `tr(KL)`, `k·l` and `(Σk)(Σl)`, where k and l are the diagonals.

    The estimator does not change when features are centred, and the rows of K and L then sum to zero. So without
    their diagonals the rows sum to -k and -l, and equation 5 of Song et al. comes down to
    tr(KL) - k·l - 2 k·l / (n - 2) + (Σk)(Σl) / ((n - 1)(n - 2)).
    """
    return traces - products * (n / (n - 2)) + sums / ((n - 1) * (n - 2))


def _norms_without_diagonals(traces: Tensor, k: Tensor) -> Tensor:
    norms = _without_diagonals(traces, k.square().sum(dim=1), k.sum(dim=1).square(), k.shape[1])
    # nothing but rounding is left where all tokens are equally far from each other
    return torch.where(norms > 1e-12 * traces, norms, torch.nan)
