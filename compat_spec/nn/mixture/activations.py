"""The functions between the matrices of an MLP, with their derivatives, each in as few passes as torch has for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import activations


@dataclass(frozen=True)
class Activation:
    """A function of each number.

    Attributes:
        value: `f(a)`.
        backward: `g * f'(a)` of `(g, a)`.
    """

    value: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor, Tensor], Tensor]


def _gelu(approximate: str) -> Activation:
    return Activation(
        lambda a: F.gelu(a, approximate=approximate),
        lambda g, a: torch.ops.aten.gelu_backward(g, a, approximate=approximate),
    )


_SILU = Activation(F.silu, torch.ops.aten.silu_backward)
_RELU = Activation(F.relu, lambda g, a: torch.ops.aten.threshold_backward(g, a, 0))

_KNOWN: dict[type[nn.Module], Activation] = {
    activations.GELUActivation: _gelu("none"),
    activations.SiLUActivation: _SILU,
    nn.SiLU: _SILU,
    nn.ReLU: _RELU,
    # gpt2's is written out in transformers: the same function in eight passes over memory
    activations.NewGELUActivation: _gelu("tanh"),
    activations.GELUTanh: _gelu("tanh"),
}


def activation_of(module: nn.Module) -> Activation:
    """What a module of an MLP does to each number. What is not known is differentiated by autograd."""
    if type(module) is nn.GELU:
        return _gelu(module.approximate)
    return _KNOWN.get(type(module)) or _differentiated(module)


def _differentiated(module: nn.Module) -> Activation:
    def value(a: Tensor) -> Tensor:
        found: Tensor = module(a)
        return found.clone() if found is a else found  # whoever asks may write into it

    def backward(g: Tensor, a: Tensor) -> Tensor:
        with torch.enable_grad():
            a = a.detach().requires_grad_()
            return torch.autograd.grad(module(a), a, g)[0]

    return Activation(value, backward)
