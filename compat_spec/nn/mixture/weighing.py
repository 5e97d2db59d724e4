"""The weighted sum of frozen MLPs, forward and backward: matrix products over all tokens, and little besides.

`y_t = sum_e w_te down_e(act(up_e(x_t)))`. For each expert there is one matrix product per matrix over all tokens that
it is given, with the experts' own weights where they lie: a matrix that holds those of all experts would be no faster
(see benchmarks/README.md) and would take their memory once more. Outputs of experts are added up as they come. For the
backward pass there are kept, per token and expert, what enters the activation (for the gradient of x) and the output,
which is smaller (for that of the weight); no gradient of an expert's own weights is ever computed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers.pytorch_utils import Conv1D

from compat_spec.nn.anatomy import MlpForm
from compat_spec.nn.mixture.activations import Activation, activation_of

_CPU_ROWS = 512
"""Tokens that go through an expert at once on a CPU, so that what is between its matrices stays in the cache."""


@dataclass(frozen=True)
class _Matrices:
    """The tensors of an expert in one pass: matrices `[in, out]` and biases `[out]`."""

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


class Mlp:
    """An expert whose form is known: its layers, as they are in the module that it was found in.

    Attributes:
        entries: `up` alone, or `gate` and `up`.
    """

    def __init__(
        self, entries: Sequence[nn.Module], act: Activation, down: nn.Module, dropout: nn.Module | None
    ) -> None:
        self.entries = tuple(entries)
        self.act = act
        self.down = down
        self.dropout = dropout

    def matrices(self, dtype: torch.dtype, *, keep: bool = False) -> _Matrices:
        """Its tensors in a dtype. With `keep`, what had to be cast is there the next time, until `forget`."""
        layers = (*self.entries, self.down)
        if not keep or all(layer.get_parameter("weight").dtype == dtype for layer in layers):
            return self._matrices(dtype)
        state = (dtype, *((p.data_ptr(), p._version) for layer in layers for p in layer.parameters()))
        known, cast = _CASTS.get(self.down, (None, None))
        if cast is None or known != state:
            cast = self._matrices(dtype)
            _CASTS[self.down] = state, cast
        return cast

    def forget(self) -> None:
        _CASTS.pop(self.down, None)

    def _matrices(self, dtype: torch.dtype) -> _Matrices:
        return _Matrices(tuple(_matrix(entry, dtype) for entry in self.entries), self.act, _matrix(self.down, dtype))


_CASTS: WeakKeyDictionary[nn.Module, tuple[tuple[Any, ...], _Matrices]] = WeakKeyDictionary()
"""What was cast of experts that are trained with, by their last layer, which blocks that reach for an expert share."""


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
    x: Tensor,
    mlps: Sequence[Mlp],
    weights: Tensor | Sequence[float],
    rows: Sequence[Tensor] | None = None,
    *,
    keep_casts: bool = False,
) -> Tensor:
    """`sum_e w_e mlp_e(x)` `[tokens, width]`, differentiable in `x` and `weights`, without dropout.

    Sums over experts are in float32 at least. Under autocast the matrix products are in its dtype.

    Args:
        x: `[tokens, width]`.
        weights: `[tokens, experts]`, or a number for each expert.
        rows: the tokens that each expert is given, int64 `[its tokens]`; its weights of others count as zero. None is
            all tokens for each.
        keep_casts: under autocast, keep what was cast of the experts' weights for the next pass; see `Mlp.forget`.
    """
    kind = x.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
    with torch.autocast(kind, enabled=False):
        return _weighted_sum(x.to(dtype), [mlp.matrices(dtype, keep=keep_casts) for mlp in mlps], weights, rows)


def _weighted_sum(
    x: Tensor, mlps: Sequence[_Matrices], weights: Tensor | Sequence[float], rows: Sequence[Tensor] | None
) -> Tensor:
    wanted = x.requires_grad or (isinstance(weights, Tensor) and weights.requires_grad)
    if torch.is_grad_enabled() and wanted:
        output: Tensor = _WeightedSum.apply(x, weights, mlps, rows)  # type: ignore[no-untyped-call]
        return output
    return _forward(x, mlps, weights, rows)


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
    entered: list[Tensor] | None = None,
    left: list[Tensor] | None = None,
) -> Tensor:
    """The sum. What enters each expert, or leaves it, is added to the lists that are given, piece by piece."""
    total = torch.zeros_like(x, dtype=torch.promote_types(x.dtype, torch.float32))
    for expert, mlp in enumerate(mlps):
        for places in _places(x, rows, expert):
            inputs = mlp.enter(x[places])
            output = _affine(mlp.inside(inputs), *mlp.down)  # [piece, width]
            _add_weighted(total, places, output, _weights_of(weights, expert, places))
            if entered is not None:
                entered += inputs
            if left is not None:
                left.append(output)
    return total.to(x.dtype)


class _WeightedSum(torch.autograd.Function):
    """`_forward`, with the gradients of `x` and of the weights, where they are tensors that want one."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weights: Tensor | Sequence[float],
        mlps: Sequence[_Matrices],
        rows: Sequence[Tensor] | None,
    ) -> Tensor:
        wants_x, wants_weights, *_ = ctx.needs_input_grad
        entered: list[Tensor] = []
        left: list[Tensor] = []
        total = _forward(
            x, mlps, weights, rows, entered=entered if wants_x else None, left=left if wants_weights else None
        )
        ctx.mlps, ctx.rows, ctx.pieces = mlps, rows, len(left)
        ctx.constants = None if isinstance(weights, Tensor) else weights
        ctx.save_for_backward(weights if ctx.constants is None else None, *left, *entered)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        weights, *kept = ctx.saved_tensors
        left, entered = iter(kept[: ctx.pieces]), iter(kept[ctx.pieces :])
        g_x = (
            torch.zeros_like(g, dtype=torch.promote_types(g.dtype, torch.float32)) if ctx.needs_input_grad[0] else None
        )
        g_weights = torch.zeros_like(weights) if ctx.needs_input_grad[1] else None
        for expert, mlp in enumerate(ctx.mlps):
            for places in _places(g, ctx.rows, expert):
                g_output = g[places]  # of the expert's output, but for its weight [piece, width]
                if g_weights is not None:
                    g_weights[places, expert] = (next(left) * g_output).sum(-1, dtype=g_weights.dtype)
                if g_x is not None:
                    inputs = [next(entered) for _ in mlp.entries]
                    g_inside = torch.mm(g_output, mlp.down[0].T)  # [piece, inner]
                    weight = _weights_of(weights if ctx.constants is None else ctx.constants, expert, places)
                    for g_input, (matrix, _) in zip(mlp.inside_backward(g_inside, inputs), mlp.entries, strict=True):
                        _add_weighted(g_x, places, torch.mm(g_input, matrix.T), weight)
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
