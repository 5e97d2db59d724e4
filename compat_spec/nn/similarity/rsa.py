"""Representational similarity analysis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from compat_spec.nn.similarity.distances import Bins, QuantileBins, SortedDistances, SquaredDistances
from compat_spec.nn.similarity.gram import Kernel, gram_sums
from compat_spec.nn.similarity.inputs import product_dtype
from compat_spec.nn.similarity.layer import Layer, keep_if_small, layers_of_both
from compat_spec.nn.similarity.undefined import tell

_SORTED_TOKENS = 1024
"""The dissimilarities of so many tokens are sorted; of more, those in one of many bins share a rank."""


def rsa(
    xs: Sequence[Tensor],
    ys: Sequence[Tensor],
    *,
    dissimilarity: Literal["correlation", "cosine", "euclidean"] = "correlation",
    correlation: Literal["spearman", "pearson"] = "spearman",
) -> Tensor:
    """How dissimilarities between tokens in one network correlate with those in the other.

    Kriegeskorte, Mur, Bandettini, "Representational Similarity Analysis: Connecting the Branches of Systems
    Neuroscience", 2008, doi:10.3389/neuro.06.004.2008: the dissimilarity of two tokens is 1 - Pearson's correlation of
    their features, and matrices of dissimilarities are compared by Spearman's rank correlation over all pairs of
    tokens.

    Between -1 and 1. It does not change when features are scaled by one number. With `euclidean` and `cosine`, nor when
    they are rotated or reflected; with `euclidean`, nor when they are moved. Spearman's does not change under anything
    that keeps the order of dissimilarities.

    Args:
        dissimilarity: of two tokens: 1 - Pearson's correlation over features, 1 - cosine, or the Euclidean distance.
        correlation: of the dissimilarities: of their ranks (equal ones share the mean rank), or of themselves.
    """
    if dissimilarity not in _PREPARED:
        raise ValueError(f"rsa has no dissimilarity {dissimilarity!r}; there are: {', '.join(_PREPARED)}")
    if correlation not in ("spearman", "pearson"):
        raise ValueError(f"rsa has no correlation {correlation!r}; there are: spearman, pearson")
    n = len(xs[0])
    if n < 3:
        raise ValueError(f"rsa needs at least 3 tokens, not {n}")
    exact = correlation == "spearman" and n <= _SORTED_TOKENS
    # ranks, and roots, tell of small distances, too, which in float32 are rounding where some tokens are far away
    small_count = correlation == "spearman" or dissimilarity == "euclidean"
    dtype = torch.float64 if small_count else product_dtype(xs, ys)
    left, right, same = layers_of_both(xs, ys, dtype, _PREPARED[dissimilarity])
    keep_if_small([*left, *right], dtype)

    def kernel(layer: Layer) -> Kernel:
        distances = SquaredDistances(layer, dtype)
        if correlation == "pearson":
            return _Dissimilarities(distances, root=dissimilarity == "euclidean")
        return _Ranks(distances) if exact else _BinnedRanks(distances, dtype)

    made = {layer: kernel(layer) for layer in (*left, *right) if not layer.trouble}
    trouble = [[_in_words(layer.trouble, dissimilarity) for layer in side] for side in (left, right)]
    good_x, good_y = [[i for i, layer in enumerate(side) if not layer.trouble] for side in (left, right)]
    found = torch.full((len(xs), len(ys)), torch.nan, dtype=torch.float64, device=xs[0].device)
    if good_x and good_y:
        like = torch.empty((), dtype=dtype, device=xs[0].device)
        sums = gram_sums(
            [made[left[i]] for i in good_x], [made[right[j]] for j in good_y], like, [slice(0, n)], same=same
        )
        pairs = n * (n - 1)
        total_x, total_y = sums.rows_x.sum(dim=(1, 2)), sums.rows_y.sum(dim=(1, 2))
        cross = sums.cross[0, 0] - total_x[:, None] * total_y / pairs
        spread = []
        for own, total, good, reasons in (
            (sums.own_x[0, 0], total_x, good_x, trouble[0]),
            (sums.own_y[0, 0], total_y, good_y, trouble[1]),
        ):
            rest = own - total.square() / pairs
            rest = torch.where(rest > 1e-12 * own, rest, torch.nan)
            for i, value in zip(good, rest.tolist(), strict=True):
                reasons[i] = "" if value > 0 else "their tokens are all equally dissimilar"
            spread.append(rest)
        found[torch.tensor(good_x)[:, None], torch.tensor(good_y)] = cross / (spread[0][:, None] * spread[1]).sqrt()
    tell("rsa", *trouble)
    return found


def _standardised(rows: Tensor) -> Tensor:
    """Rows of mean 0 and length 1: half of their squared distance is 1 - correlation. NaN for rows of one value."""
    moved = rows - rows.mean(dim=1, keepdim=True)
    length = torch.linalg.vector_norm(moved, dim=1, keepdim=True)
    rounding = 16 * torch.finfo(torch.float64).eps * torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    standardised: Tensor = moved / torch.where(length > rounding, length, torch.nan)
    return standardised


def _unit(rows: Tensor) -> Tensor:
    """Rows of length 1: half of their squared distance is 1 - cosine. NaN for rows of zeros."""
    unit: Tensor = rows / torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return unit


_PREPARED: dict[str, Callable[[Tensor], Tensor] | None] = {
    "correlation": _standardised,
    "cosine": _unit,
    "euclidean": None,
}


def _in_words(trouble: str, dissimilarity: str) -> str:
    if not trouble:
        return ""
    return {
        "correlation": f"{trouble}, or a token's features are all equal and have no correlation",
        "cosine": f"{trouble}, or a token's features are all zero and have no direction",
    }.get(dissimilarity, trouble)


class _Dissimilarities:
    """The dissimilarities themselves, up to a factor and less about their mean."""

    def __init__(self, distances: SquaredDistances, *, root: bool) -> None:
        self._distances = distances
        self._root = root
        mean = 2 * float(distances.norms.mean())
        self._mean = mean**0.5 if root else mean

    def tile(self, rows: slice, columns: slice, out: Tensor) -> None:
        self._distances.tile(rows, columns, out)
        (out.sqrt_() if self._root else out).sub_(self._mean)

    def diagonal(self) -> Tensor:
        return torch.zeros_like(self._distances.norms)

    def row_sums(self, groups: Sequence[slice]) -> None:
        return None


class _Ranks:
    """The ranks of the dissimilarities, from -1 to 1."""

    def __init__(self, distances: SquaredDistances) -> None:
        n = distances.n
        pairs = SortedDistances(distances, torch.arange(n, device=distances.norms.device), torch.float64)
        sizes = pairs.run.bincount()
        middle = sizes.cumsum(0) - (sizes + 1) / 2
        ranks = torch.empty_like(pairs.values)
        ranks[pairs.order] = (middle[pairs.run] / max(1, len(ranks) - 1) * 2 - 1).to(ranks.dtype)
        self._ranks = ranks.new_zeros(n, n)
        self._ranks[pairs.above[0], pairs.above[1]] = ranks
        self._ranks += self._ranks.T.clone()

    def tile(self, rows: slice, columns: slice, out: Tensor) -> None:
        out.copy_(self._ranks[rows, columns])

    def diagonal(self) -> Tensor:
        return self._ranks.diagonal()

    def row_sums(self, groups: Sequence[slice]) -> None:
        return None


class _BinnedRanks:
    """The ranks of dissimilarities that are too many to sort, from -1 to 1: those of one bin share a rank."""

    def __init__(self, distances: SquaredDistances, dtype: torch.dtype) -> None:
        self._distances = distances
        bins = Bins(distances, dtype)
        self._bins = bins if bins.resolve() else QuantileBins(distances, dtype)
        counts = self._bins.counts.double()
        middle = counts.cumsum(0) - (counts + 1) / 2
        self._ranks = (middle / (counts.sum() - 1) * 2 - 1).to(dtype)

    def tile(self, rows: slice, columns: slice, out: Tensor) -> None:
        self._distances.tile(rows, columns, out)
        out.copy_(self._ranks[self._bins.of(out)])

    def diagonal(self) -> Tensor:
        return torch.zeros_like(self._distances.norms)

    def row_sums(self, groups: Sequence[slice]) -> None:
        return None
