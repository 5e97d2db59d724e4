"""The weighted sum of frozen MLPs, forward and backward: matrix products over all tokens, and little besides.

`y_t = sum_e w_te down_e(act(up_e(x_t)))`. For each expert there is one matrix product per matrix over all tokens that
it is given, with the experts' own weights where they lie: a matrix that holds those of all experts would be no faster
(see benchmarks/routing.py) and would take their memory once more. Outputs of experts are added up as they come, and
never all there at once. For the backward pass the inputs of activations are kept, and nothing else; activations are
computed again, and no gradient of an expert's weights is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers.pytorch_utils import Conv1D

from compat_spec.nn.anatomy import MlpForm
from compat_spec.nn.mixture.activations import Activation, activation_of

_CPU_ROWS = 512
"""Tokens that go through an expert at once on a CPU, so that what is between its matrices stays in the cache."""


@dataclass(frozen=True)
class Mlp:
    """An expert whose form is known: its layers, as they are in the module that it was found in."""

    entries: tuple[nn.Module, ...]
    """`up` alone, or `gate` and `up`."""
    act: Activation
    down: nn.Module
    dropout: nn.Module | None


@dataclass(frozen=True)
class _Matrices:
    """The same, as the tensors of one pass: matrices `[in, out]` and biases `[out]`."""

    entries: tuple[tuple[Tensor, Tensor | None], ...]
    act: Activation
    down: tuple[Tensor, Tensor | None]

    def enter(self, x: Tensor) -> list[Tensor]:
        """The inputs of the activation, and what it gates `[rows, inner]` each."""
        return [_affine(x, *entry) for entry in self.entries]

    def inside(self, entered: Sequence[Tensor]) -> Tensor:
        """What the last matrix reads `[rows, inner]`."""
        first, *gated = entered
        value = self.act.value(first)
        return value.mul_(gated[0]) if gated else value

    def inside_backward(self, g: Tensor, entered: Sequence[Tensor]) -> list[Tensor]:
        """The gradients of what entered, from that of what the last matrix reads, which is lost."""
        first, *gated = entered
        if not gated:
            return [self.act.backward(g, first)]
        return [self.act.backward(g * gated[0], first), g.mul_(self.act.value(first))]


def mlp_of(module: nn.Module, form: MlpForm | None) -> Mlp | None:
    """The layers of an MLP of a known form; None where the form is not known or a layer is not a plain one."""
    if form is None:
        return None
    names = [form.up] if form.gate is None else [form.gate, form.up]
    entries = tuple(module.get_submodule(name) for name in names)
    down = module.get_submodule(form.down)
    if any(type(part) not in (nn.Linear, Conv1D) for part in (*entries, down)):
        return None
    dropout = None if form.dropout is None else module.get_submodule(form.dropout)
    return Mlp(entries, activation_of(module.get_submodule(form.act)), down, dropout)


def weighted_sum(
    x: Tensor, mlps: Sequence[Mlp], weights: Tensor | Sequence[float], rows: Sequence[Tensor] | None = None
) -> Tensor:
    """`sum_e w_e mlp_e(x)` `[tokens, width]`, differentiable in `x` and `weights`, without dropout.

    Sums over experts are in float32 at least. Under autocast the matrix products are in its dtype.

    Args:
        x: `[tokens, width]`.
        weights: `[tokens, experts]`, or a number for each expert.
        rows: the tokens that each expert is given, int64 `[its tokens]`; its weights of others count as zero. None is
            all tokens for each.
    """
    kind = x.device.type
    if torch.is_autocast_enabled(kind):
        dtype = torch.get_autocast_dtype(kind)
        with torch.autocast(kind, enabled=False):
            return _weighted_sum(x.to(dtype), [_matrices(mlp, dtype) for mlp in mlps], weights, rows)
    return _weighted_sum(x, [_matrices(mlp, x.dtype) for mlp in mlps], weights, rows)


def _weighted_sum(
    x: Tensor, mlps: Sequence[_Matrices], weights: Tensor | Sequence[float], rows: Sequence[Tensor] | None
) -> Tensor:
    wanted = x.requires_grad or (isinstance(weights, Tensor) and weights.requires_grad)
    if torch.is_grad_enabled() and wanted:
        output: Tensor = _WeightedSum.apply(x, weights, mlps, rows)  # type: ignore[no-untyped-call]
        return output
    return _forward(x, mlps, weights, rows, keep=None)


def _matrices(mlp: Mlp, dtype: torch.dtype) -> _Matrices:
    return _Matrices(tuple(_matrix(entry, dtype) for entry in mlp.entries), mlp.act, _matrix(mlp.down, dtype))


def _matrix(layer: nn.Module, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    weight, bias = layer.get_parameter("weight").detach().to(dtype), layer.bias
    assert bias is None or isinstance(bias, Tensor)
    return weight if isinstance(layer, Conv1D) else weight.T, None if bias is None else bias.detach().to(dtype)


def _affine(x: Tensor, matrix: Tensor, bias: Tensor | None) -> Tensor:
    return torch.mm(x, matrix) if bias is None else torch.addmm(bias, x, matrix)


def _pieces(count: int, device: torch.device) -> Iterator[slice]:
    size = _CPU_ROWS if device.type == "cpu" else max(count, 1)
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def _forward(
    x: Tensor,
    mlps: Sequence[_Matrices],
    weights: Tensor | Sequence[float],
    rows: Sequence[Tensor] | None,
    *,
    keep: list[Tensor] | None,
) -> Tensor:
    """The sum; what enters each expert is added to `keep`, piece by piece, if that is not None."""
    total = torch.zeros_like(x, dtype=torch.promote_types(x.dtype, torch.float32))
    for expert, mlp in enumerate(mlps):
        for places in _places(x, rows, expert):
            entered = mlp.enter(x[places])
            output = _affine(mlp.inside(entered), *mlp.down)  # [piece, width]
            _add_weighted(total, places, output, _weights_of(weights, expert, places))
            if keep is not None:
                keep += entered
    return total.to(x.dtype)


class _WeightedSum(torch.autograd.Function):
    """`_forward`, with the gradients of `x` and of the weights where they are tensors."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weights: Tensor | Sequence[float],
        mlps: Sequence[_Matrices],
        rows: Sequence[Tensor] | None,
    ) -> Tensor:
        entered: list[Tensor] = []
        total = _forward(x, mlps, weights, rows, keep=entered)
        ctx.mlps, ctx.rows = mlps, rows
        ctx.constants = None if isinstance(weights, Tensor) else weights
        ctx.save_for_backward(weights if ctx.constants is None else None, *entered)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        weights, *kept = ctx.saved_tensors
        entered = iter(kept)
        exact = torch.promote_types(g.dtype, torch.float32)
        g_x = torch.zeros_like(g, dtype=exact) if ctx.needs_input_grad[0] else None
        g_weights = torch.zeros_like(weights) if ctx.needs_input_grad[1] else None
        for expert, mlp in enumerate(ctx.mlps):
            for places in _places(g, ctx.rows, expert):
                entries = [next(entered) for _ in mlp.entries]
                matrix, bias = mlp.down
                g_output = g[places]  # of the expert's output, but for its weight [piece, width]
                g_inside = torch.mm(g_output, matrix.T)  # [piece, inner]
                if g_weights is not None:
                    found = mlp.inside(entries).mul_(g_inside).sum(-1, dtype=exact)
                    if bias is not None:
                        found += g_output.to(exact) @ bias.to(exact)
                    g_weights[places, expert] = found.to(g_weights.dtype)
                if g_x is not None:
                    weight = _weights_of(weights if ctx.constants is None else ctx.constants, expert, places)
                    for g_entry, (entry, _) in zip(mlp.inside_backward(g_inside, entries), mlp.entries, strict=True):
                        _add_weighted(g_x, places, torch.mm(g_entry, entry.T), weight)
        return None if g_x is None else g_x.to(g.dtype), g_weights, None, None


def _places(x: Tensor, rows: Sequence[Tensor] | None, expert: int) -> Iterator[slice | Tensor]:
    """The tokens of an expert, piece by piece."""
    if rows is None:
        yield from _pieces(len(x), x.device)
    else:
        yield from (rows[expert][piece] for piece in _pieces(len(rows[expert]), x.device))


def _weights_of(weights: Tensor | Sequence[float], expert: int, places: slice | Tensor) -> Tensor | float:
    """`[piece, 1]`, or a number."""
    return weights[places, expert].unsqueeze(-1) if isinstance(weights, Tensor) else weights[expert]


def _add_weighted(total: Tensor, places: slice | Tensor, output: Tensor, weight: Tensor | float) -> None:
    if isinstance(weight, Tensor):
        weight = weight.to(total.dtype)
        if isinstance(places, slice):
            total[places].addcmul_(output.to(total.dtype), weight)
        else:
            total.index_add_(0, places, output.to(total.dtype) * weight)
    else:
        assert isinstance(places, slice)
        total[places].add_(output, alpha=weight)
