"""Centered kernel alignment."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from compat_spec.nn.similarity.hsic import Hsics, hsics
from compat_spec.nn.similarity.inputs import row_blocks
from compat_spec.nn.similarity.undefined import NOT_FINITE, tell


def cka(
    xs: Sequence[Tensor],
    ys: Sequence[Tensor],
    *,
    kernel: Literal["linear", "rbf"] = "linear",
    sigma: float = 1.0,
    unbiased: bool = False,
    batch_size: int | None = None,
) -> Tensor:
    """Centered kernel alignment, HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)).

    Kornblith et al., "Similarity of Neural Network Representations Revisited", 2019, arXiv:1905.00414. The biased HSIC
    of linear kernels K = XX', L = YY' of features with their means taken off is ||X'Y||² / (n - 1)², in the Frobenius
    norm. Unbiased: the estimator of Song et al., "Feature Selection via Dependence Maximization", 2012 (equation 5),
    which leaves out each token's similarity to itself. By minibatch: Nguyen, Raghu, Kornblith, "Do Wide and Deep
    Networks Learn the Same Things?", 2021, arXiv:2010.15327 (equation 3): the means over batches of tokens of the
    unbiased HSIC.

    Between 0 and 1; unbiased, at most 1, and about 0 for what is unrelated. It does not change when features are
    rotated, reflected, moved, or scaled by one number.

    Args:
        kernel: `linear`, or `rbf`: exp(-|x_i - x_j|² / (2 s²)).
        sigma: s of the rbf kernel, as a multiple of the median distance between two tokens.
        unbiased: leave out each token's similarity to itself.
        batch_size: tokens are compared within batches of so many, in their order, and HSIC is unbiased. What is left
            over is a smaller batch, if it has at least 4 tokens; batches count by their tokens.
    """
    check_options(kernel=kernel, sigma=sigma, batch_size=batch_size)
    n = len(xs[0])
    if (unbiased or batch_size) and n < 4:
        raise ValueError(f"unbiased CKA needs at least 4 tokens, not {n}")
    if batch_size is None:
        found = hsics(xs, ys, kernel=kernel, sigma=sigma, unbiased=unbiased)
    else:
        mean = BatchMean()
        for batch in row_blocks(n, batch_size):
            if batch.stop - batch.start >= 4:
                left = {id(x): x[batch] for x in (*xs, *ys)}
                mean.add([left[id(x)] for x in xs], [left[id(y)] for y in ys], kernel=kernel, sigma=sigma)
        found = mean.hsics()
    return alignment(found, unbiased=unbiased or batch_size is not None)


def check_options(*, kernel: str, sigma: float, batch_size: int | None) -> None:
    if kernel not in ("linear", "rbf"):
        raise ValueError(f"cka has no kernel {kernel!r}; there are: linear, rbf")
    if not 0 < sigma < float("inf"):
        raise ValueError(f"sigma must be a positive multiple of the median distance, not {sigma}")
    if batch_size is not None and batch_size < 4:
        raise ValueError(f"batch_size must be at least 4, not {batch_size}: unbiased HSIC needs 4 tokens")


def alignment(found: Hsics, *, unbiased: bool) -> Tensor:
    """CKA from HSIC, with a warning where it is undefined."""
    alike = "their tokens are all equally far from each other" if unbiased else "their kernels are constant"
    own, trouble = [], []
    for norms, known in ((found.own_x, found.trouble_x), (found.own_y, found.trouble_y)):
        norms = torch.where(norms > 0, norms, torch.nan)
        trouble.append([why or alike * math.isnan(norm) for why, norm in zip(known, norms.tolist(), strict=True)])
        own.append(norms)
    tell("cka", *trouble)
    return found.cross / (own[0].sqrt()[:, None] * own[1].sqrt())


class BatchMean:
    """The mean of unbiased HSIC over batches of tokens, in memory for one batch and for all pairs of layers."""

    def __init__(self) -> None:
        self._total: Hsics | None = None

    def add(self, xs: Sequence[Tensor], ys: Sequence[Tensor], *, kernel: str, sigma: float) -> None:
        """Count one batch, of at least 4 tokens."""
        one = hsics(xs, ys, kernel=kernel, sigma=sigma, unbiased=True)
        # a batch of tokens that are all alike adds nothing
        cross, own_x, own_y = (len(xs[0]) * part.nan_to_num(nan=0.0) for part in (one.cross, one.own_x, one.own_y))
        now = Hsics(cross, own_x, own_y, one.trouble_x, one.trouble_y)
        before = self._total
        self._total = (
            now
            if before is None
            else Hsics(
                before.cross + now.cross,
                before.own_x + now.own_x,
                before.own_y + now.own_y,
                _both(before.trouble_x, now.trouble_x),
                _both(before.trouble_y, now.trouble_y),
            )
        )

    def hsics(self) -> Hsics:
        """Up to a factor that CKA does not depend on."""
        found = self._total
        assert found is not None
        return Hsics(
            found.cross,
            _finite_only(found.own_x, found.trouble_x),
            _finite_only(found.own_y, found.trouble_y),
            found.trouble_x,
            found.trouble_y,
        )


def _finite_only(own: Tensor, trouble: Sequence[str]) -> Tensor:
    bad = torch.tensor([why == NOT_FINITE for why in trouble], device=own.device)
    return torch.where(bad, torch.nan, own)


def _both(before: Sequence[str], now: Sequence[str]) -> list[str]:
    """What is wrong with layers in two sets of batches: what is not finite in any, or nothing but in all."""
    return [NOT_FINITE if NOT_FINITE in pair else pair[0] and pair[1] for pair in zip(before, now, strict=True)]
