"""Similarity of features that come a few tokens at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from compat_spec.nn.similarity.cca import (
    OPEN_WEIGHTS,
    WELL_CONDITIONED,
    components,
    mean_correlation,
    weighted_correlation,
)
from compat_spec.nn.similarity.cka import BatchMean, alignment, check_options
from compat_spec.nn.similarity.compute import function_of
from compat_spec.nn.similarity.hsic import Hsics, unbiased_of_centred
from compat_spec.nn.similarity.inputs import checked, exact_products, product_dtype
from compat_spec.nn.similarity.moments import Moments
from compat_spec.nn.similarity.nuclear import nuclear_norm
from compat_spec.nn.similarity.undefined import NOT_FINITE, STILL, tell, tell_pairs

_BLOCK = 1024
STREAMING = ("cka", "svcca", "pwcca", "procrustes")


class Accumulator:
    """The similarity of all pairs of layers from tokens that are seen once, in any portions, and not kept.

        accumulator = Accumulator("cka")
        for xs, ys in batches:  # features [tokens, width] of each layer
            accumulator.update(xs, ys)
        accumulator.compute()  # as similarity("cka", ...) of all tokens at once

    Linear `cka`, biased or not, `svcca`, `pwcca` and `procrustes` are made of second moments, which take
    (sum of widths of xs) x (sum of widths of ys) numbers in float64. `cka` with a `batch_size` takes memory for that
    many tokens and a number for each pair; it can have any kernel. Measures that compare all tokens with all others
    need all of them at once.

    Args:
        measure: `cka`, `svcca`, `pwcca` or `procrustes`.
        max_bytes: raise `ValueError` where the moments would take more.
        options: of the measure, as of `similarity`.

    Raises `ValueError` for a measure that does not stream, or options that it does not have.
    """

    def __init__(self, measure: str, *, max_bytes: int = 4 * 2**30, **options: Any) -> None:
        function_of(measure, options)
        self._batch_size: int | None = options.get("batch_size")
        if measure == "cka":
            self._kernel, self._sigma = options.get("kernel", "linear"), options.get("sigma", 1.0)
            check_options(kernel=self._kernel, sigma=self._sigma, batch_size=self._batch_size)
        all_pairs = measure == "cka" and self._kernel != "linear" and self._batch_size is None
        if measure not in STREAMING or all_pairs:
            raise ValueError(
                f"{'cka with the rbf kernel' if all_pairs else measure} compares all tokens with all others and cannot "
                "be computed from a stream: give `similarity` a sample of the tokens. From a stream: linear cka, cka "
                "with a `batch_size` and any kernel, svcca, pwcca, procrustes"
            )
        self._measure = measure
        self._max_bytes = max_bytes
        self._options = options
        self._unbiased = bool(options.get("unbiased", False))
        self._variance = float(options.get("variance", 0.99)) if measure == "svcca" else 1.0
        if not 0 < self._variance <= 1:
            raise ValueError(f"variance is a share above 0 and at most 1, not {self._variance}")
        self._waiting: list[tuple[list[Tensor], list[Tensor]]] = []
        self._waiting_tokens = 0
        self._widths: tuple[list[int], list[int]] | None = None
        self._moments: Moments | None = None
        self._batches: BatchMean | None = None
        self.tokens = 0

    @staticmethod
    def bytes_for(widths_x: Sequence[int], widths_y: Sequence[int]) -> int:
        """What the second moments of layers of these widths take."""
        return Moments.bytes_for(widths_x, widths_y)

    def update(self, xs: Sequence[Tensor] | Tensor, ys: Sequence[Tensor] | Tensor) -> None:
        """Count some tokens: features `[tokens, width]` of each layer, one token or more.

        Raises `ValueError` when layers or widths are other than before.
        """
        left, right = checked(xs, ys)
        widths = ([x.shape[1] for x in left], [y.shape[1] for y in right])
        if self._widths is None:
            self._begin(widths, left[0].device)
        elif widths != self._widths:
            raise ValueError(f"layers have widths {widths[0]} and {widths[1]}, and before had {self._widths}")
        self.tokens += len(left[0])
        # features may be buffers that the caller writes the next tokens into
        self._waiting.append(([x.clone() for x in left], [y.clone() for y in right]))
        self._waiting_tokens += len(left[0])
        block = self._batch_size or _BLOCK
        if self._waiting_tokens >= block:
            joined = self._joined()
            whole = self._waiting_tokens - self._waiting_tokens % block
            for start in range(0, whole, block):
                self._count(joined, slice(start, start + block))
            rest = ([x[whole:].clone() for x in joined[0]], [y[whole:].clone() for y in joined[1]])
            self._waiting_tokens -= whole
            self._waiting = [rest] if self._waiting_tokens else []

    def compute(self) -> Tensor:
        """The similarity over all tokens so far: `[len(xs), len(ys)]`, float64; more may follow."""
        if self._widths is None:
            raise ValueError("no tokens have been seen")
        if self._batch_size is not None:
            return self._by_batches()
        if self._waiting_tokens:
            self._count(self._joined(), slice(None))
            self._waiting, self._waiting_tokens = [], 0
        assert self._moments is not None
        if self._unbiased and self.tokens < 4:
            raise ValueError(f"unbiased CKA needs at least 4 tokens, not {self.tokens}")
        with exact_products(self._moments.cross[0][0].device):
            return _FROM_MOMENTS[self._measure](self._moments, self._unbiased, self._variance)

    def _begin(self, widths: tuple[list[int], list[int]], device: torch.device) -> None:
        needed = Moments.bytes_for(*widths)
        if self._batch_size is None and needed > self._max_bytes:
            raise ValueError(
                f"second moments of these layers take {needed / 2**30:.1f} GiB, more than max_bytes="
                f"{self._max_bytes / 2**30:.1f} GiB: compare fewer layers at a time, or use minibatch CKA, which needs "
                'no more than a batch: Accumulator("cka", batch_size=256)'
            )
        self._widths = widths
        if self._batch_size is None:
            self._moments = Moments(*widths, device, fourth=self._unbiased)
        else:
            self._batches = BatchMean()

    def _joined(self) -> tuple[list[Tensor], list[Tensor]]:
        if len(self._waiting) == 1:
            return self._waiting[0]
        sides = [[torch.cat(parts) for parts in zip(*(one[s] for one in self._waiting), strict=True)] for s in (0, 1)]
        return sides[0], sides[1]

    def _count(self, features: tuple[list[Tensor], list[Tensor]], tokens: slice) -> None:
        xs, ys = ([x[tokens] for x in side] for side in features)
        with exact_products(xs[0].device):
            if self._batches is not None:
                self._batches.add(xs, ys, kernel=self._kernel, sigma=self._sigma)
            else:
                assert self._moments is not None
                # what is divided by variances, or is a small difference, must be exact
                exact = self._unbiased or self._measure in ("svcca", "pwcca")
                self._moments.add(xs, ys, torch.float64 if exact else product_dtype(xs, ys))

    def _by_batches(self) -> Tensor:
        assert self._batches is not None
        batches = self._batches
        if self._waiting_tokens >= 4:  # a smaller batch, which is counted anew when more tokens have come
            batches = batches.copy()
            xs, ys = self._joined()
            with exact_products(xs[0].device):
                batches.add(xs, ys, kernel=self._kernel, sigma=self._sigma)
        return alignment(batches.hsics(), unbiased=True)


def _trouble(moments: Moments) -> tuple[list[str], list[str]]:
    def why(own: Tensor) -> str:
        total = float(own.diagonal().sum())
        return STILL if total == 0 else "" if total < float("inf") else NOT_FINITE

    return [why(own) for own in moments.own_x], [why(own) for own in moments.own_y]


def _cka(moments: Moments, unbiased: bool, variance: float) -> Tensor:
    cross = torch.stack([torch.stack([product.square().sum() for product in row]) for row in moments.cross])
    own_x, own_y = (torch.stack([own.square().sum() for own in side]) for side in (moments.own_x, moments.own_y))
    if unbiased:
        assert moments.norms is not None
        n = moments.n
        both, squares_x, squares_y, sum_x, sum_y = moments.norms.sums(moments)

        cross = unbiased_of_centred(cross, both, sum_x[:, None] * sum_y, n)
        left = unbiased_of_centred(own_x, squares_x, sum_x**2, n)
        right = unbiased_of_centred(own_y, squares_y, sum_y**2, n)
        own_x, own_y = (
            torch.where(rest > 1e-12 * own, rest, torch.nan) for rest, own in ((left, own_x), (right, own_y))
        )
    return alignment(Hsics(cross, own_x, own_y, *_trouble(moments)), unbiased=unbiased)


def _procrustes(moments: Moments, unbiased: bool, variance: float) -> Tensor:
    trouble = _trouble(moments)
    tell("procrustes", *trouble)
    sizes = [[own.diagonal().sum().sqrt() for own in side] for side in (moments.own_x, moments.own_y)]

    def pair(i: int, j: int) -> Tensor:
        return nuclear_norm(moments.cross[i][j] / (sizes[0][i] * sizes[1][j]))

    return _table(moments, trouble, pair)


def _svcca(moments: Moments, unbiased: bool, variance: float) -> Tensor:
    whitened, trouble = _whitened("svcca", moments, variance)

    def pair(i: int, j: int) -> Tensor:
        return mean_correlation(whitened[0][i][0].T @ moments.cross[i][j] @ whitened[1][j][0])

    return _table(moments, trouble, pair)


def _pwcca(moments: Moments, unbiased: bool, variance: float) -> Tensor:
    whitened, trouble = _whitened("pwcca", moments, 1.0)
    good_x, good_y = (torch.tensor([not why for why in side]) for side in trouble)

    def pair(i: int, j: int) -> Tensor:
        (white, neurons), (other, _) = whitened[0][i], whitened[1][j]
        return weighted_correlation(white.T @ moments.cross[i][j] @ other, neurons, moments.n)

    found = _table(moments, trouble, pair)
    tell_pairs("pwcca", found.isnan().cpu() & good_x[:, None] & good_y, OPEN_WEIGHTS)
    return found


def _whitened(
    measure: str, moments: Moments, variance: float
) -> tuple[list[list[tuple[Tensor, Tensor]]], tuple[list[str], list[str]]]:
    """For each layer the map `[width, components]` to orthonormal directions, and the features in terms of these."""
    trouble = _trouble(moments)
    found: list[list[tuple[Tensor, Tensor]]] = [[], []]
    for maps, own, reasons in zip(found, (moments.own_x, moments.own_y), trouble, strict=True):
        for i, product in enumerate(own):
            if reasons[i]:
                maps.append((product, product))
                continue
            values, vectors = (part.flip(-1) for part in torch.linalg.eigh(product))
            values = values[values > len(values) * torch.finfo(torch.float64).eps * values[0]]
            count = components(values, variance)
            if values[count - 1] < WELL_CONDITIONED * values[0]:
                reasons[i] = (
                    "second moments do not tell their smallest components from rounding; use svcca, or `similarity`"
                )
            scale, kept = values[:count].sqrt(), vectors[:, :count]
            maps.append((kept / scale, scale[:, None] * kept.T))
    tell(measure, *trouble)
    return found, trouble


def _table(moments: Moments, trouble: tuple[list[str], list[str]], pair: Callable[[int, int], Tensor]) -> Tensor:
    found = moments.mean_x[0].new_full((len(moments.own_x), len(moments.own_y)), torch.nan)
    for i, bad_x in enumerate(trouble[0]):
        for j, bad_y in enumerate(trouble[1]):
            if not (bad_x or bad_y):
                found[i, j] = pair(i, j)
    return found


_FROM_MOMENTS: dict[str, Callable[[Moments, bool, float], Tensor]] = {
    "cka": _cka,
    "svcca": _svcca,
    "pwcca": _pwcca,
    "procrustes": _procrustes,
}
