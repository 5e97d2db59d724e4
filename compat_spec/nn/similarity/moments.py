"""Second moments of features that come a few tokens at a time, and are then forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from compat_spec.nn.similarity.inputs import product_over_rows


class Moments:
    """Sums over all tokens so far that second moments, and the unbiased HSIC of linear kernels, are made of.

    Each block of tokens is centred on its own means, and blocks are put together by Chan, Golub, LeVeque, "Updating
    Formulae and a Pairwise Algorithm for Computing Sample Variances", 1979; so large or drifting means cost nothing.

    Attributes:
        n: how many tokens have been seen.
        mean_x, mean_y: of each layer, `[width]`.
        own_x, own_y: X'X of each layer with its means taken off, `[width, width]`.
        cross: X'Y of each pair, `[width, width]`. All float64.
    """

    def __init__(self, widths_x: Sequence[int], widths_y: Sequence[int], device: torch.device, *, fourth: bool) -> None:
        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.float64, device=device)

        self.n = 0
        self.mean_x, self.mean_y = ([zeros(w) for w in widths] for widths in (widths_x, widths_y))
        self.own_x, self.own_y = ([zeros(w, w) for w in widths] for widths in (widths_x, widths_y))
        self.cross = [[zeros(a, b) for b in widths_y] for a in widths_x]
        self.norms = SquareNorms(widths_x, widths_y, device) if fourth else None

    @staticmethod
    def bytes_for(widths_x: Sequence[int], widths_y: Sequence[int]) -> int:
        return 8 * (sum(widths_x) * sum(widths_y) + sum(w * w for w in (*widths_x, *widths_y)))

    def add(self, xs: Sequence[Tensor], ys: Sequence[Tensor], dtype: torch.dtype) -> None:
        """Count these tokens: features `[tokens, width]` of each layer, whose products are made in this type."""
        count = len(xs[0])
        total = self.n + count
        if self.norms is not None:
            self.norms.add(xs, ys)
        blocks_x, steps_x = _centred(xs, self.mean_x, dtype)
        blocks_y, steps_y = _centred(ys, self.mean_y, dtype)
        weight = self.n * count / total

        def put(sum_so_far: Tensor, a: _Block, b: _Block, step_a: Tensor, step_b: Tensor) -> None:
            sum_so_far.add_(product_over_rows(a.rows, b.rows).mul_(a.scale).mul_(b.scale))
            if weight:
                sum_so_far.addr_(step_a, step_b, alpha=weight)

        for blocks, steps, own in ((blocks_x, steps_x, self.own_x), (blocks_y, steps_y, self.own_y)):
            for block, step, moment in zip(blocks, steps, own, strict=True):
                put(moment, block, block, step, step)
        for a, step_a, row in zip(blocks_x, steps_x, self.cross, strict=True):
            for b, step_b, moment in zip(blocks_y, steps_y, row, strict=True):
                put(moment, a, b, step_a, step_b)
        for means, steps in ((self.mean_x, steps_x), (self.mean_y, steps_y)):
            for mean, step in zip(means, steps, strict=True):
                mean.add_(step, alpha=count / total)
        self.n = total


class SquareNorms:
    """Sums of products of the squared lengths of features, whose means are only known in the end.

    With u = x - s and v = y - t, for some tokens' means s and t: the sums of |u|² |v|², |u|² v, |v|² u, |u|², |v|², and
    those of |u|⁴ and |u|² u, all of which are small.
    """

    def __init__(self, widths_x: Sequence[int], widths_y: Sequence[int], device: torch.device) -> None:
        self._origin: tuple[list[Tensor], list[Tensor]] | None = None
        count_x, count_y = len(widths_x), len(widths_y)
        zeros = torch.zeros(count_x, count_y, dtype=torch.float64, device=device)
        self._both = zeros
        self._squares = [zeros.new_zeros(count_x), zeros.new_zeros(count_y)]
        self._fourths = [zeros.new_zeros(count_x), zeros.new_zeros(count_y)]
        self._thirds = [[zeros.new_zeros(w) for w in widths] for widths in (widths_x, widths_y)]
        self._y_by_x = [zeros.new_zeros(count_x, w) for w in widths_y]
        self._x_by_y = [zeros.new_zeros(count_y, w) for w in widths_x]

    def add(self, xs: Sequence[Tensor], ys: Sequence[Tensor]) -> None:
        if self._origin is None:
            self._origin = ([x.double().mean(dim=0) for x in xs], [y.double().mean(dim=0) for y in ys])
        sides = [
            [features.double() - origin for features, origin in zip(side, origins, strict=True)]
            for side, origins in zip((xs, ys), self._origin, strict=True)
        ]
        lengths = [torch.stack([u.square().sum(dim=1) for u in side]) for side in sides]
        self._both += lengths[0] @ lengths[1].T
        for s in (0, 1):
            self._squares[s] += lengths[s].sum(dim=1)
            self._fourths[s] += lengths[s].square().sum(dim=1)
            for u, length, third in zip(sides[s], lengths[s], self._thirds[s], strict=True):
                third += length @ u
        for v, by_x in zip(sides[1], self._y_by_x, strict=True):
            by_x += lengths[0] @ v
        for u, by_y in zip(sides[0], self._x_by_y, strict=True):
            by_y += lengths[1] @ u

    def sums(self, moments: Moments) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """With k and l the squared lengths once means are taken off, float64:

        Σ k l `[len(xs), len(ys)]`, Σ k² and Σ l² `[layers]`, Σ k and Σ l `[layers]`.
        """
        assert self._origin is not None
        n = moments.n
        steps = [
            [mean - origin for mean, origin in zip(means, origins, strict=True)]
            for means, origins in zip((moments.mean_x, moments.mean_y), self._origin, strict=True)
        ]
        lengths = [torch.stack([step.square().sum() for step in side]) for side in steps]
        own = []
        for s, products in ((0, moments.own_x), (1, moments.own_y)):
            for i, (step, product) in enumerate(zip(steps[s], products, strict=True)):
                square, length = self._squares[s][i], lengths[s][i]
                along = step @ product @ step + n * length.square()  # Σ (u·step)²
                fourth = self._fourths[s][i] - 4 * (self._thirds[s][i] @ step) + 2 * length * square
                own.append(fourth + 4 * along - 3 * n * length.square())
        cross = self._both.clone()
        for i, a in enumerate(steps[0]):
            for j, b in enumerate(steps[1]):
                one, other = lengths[0][i], lengths[1][j]
                along = a @ moments.cross[i][j] @ b + n * one * other  # Σ (u·a)(v·b)
                cross[i, j] += other * self._squares[0][i] + one * self._squares[1][j] + 4 * along
                cross[i, j] -= 2 * (self._y_by_x[j][i] @ b) + 2 * (self._x_by_y[i][j] @ a) + 3 * n * one * other
        count = len(steps[0])
        totals = [square - n * length for square, length in zip(self._squares, lengths, strict=True)]
        return cross, torch.stack(own[:count]), torch.stack(own[count:]), totals[0], totals[1]


@dataclass(frozen=True)
class _Block:
    """Some tokens' features `[tokens, width]` without their means, divided by a scale `[]`."""

    rows: Tensor
    scale: Tensor


def _centred(
    features: Sequence[Tensor], means: Sequence[Tensor], dtype: torch.dtype
) -> tuple[list[_Block], list[Tensor]]:
    """Each layer's features less their own means, and how far these are from the means so far."""
    blocks, steps = [], []
    for x, mean in zip(features, means, strict=True):
        exact = x.double()
        # from the first token, so that what does not vary comes out exactly zero
        rest = exact - exact[0]
        own = rest.mean(dim=0)
        rest -= own
        # a power of 2 changes no rounding, and leaves float32 numbers for the products
        scale = torch.exp2(rest.abs().amax().log2().round().nan_to_num(nan=0.0, posinf=0.0, neginf=0.0))
        blocks.append(_Block(rest.div_(scale).to(dtype), scale))
        steps.append(exact[0] + own - mean)
    return blocks, steps
