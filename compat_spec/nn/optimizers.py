"""What moves the parameters: learning-rate schedules, and AdamW or Muon as one thing with a flat state."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Muon, Optimizer
from torch.overrides import TorchFunctionMode

from compat_spec.errors import CompatError

_STATE = "optimizer:"


@dataclass(frozen=True)
class Schedule:
    """How the learning rate changes: it rises over `warmup` steps, then stays, or falls as a cosine to `final`.

    Attributes:
        final: the share of the learning rate at the end of the cosine.
    """

    kind: Literal["cosine", "constant"]
    steps: int
    warmup: int
    final: float

    def factor(self, step: int) -> float:
        """What the learning rate is multiplied by in a step, counted from 0."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        if self.kind == "constant":
            return 1.0
        done = (step - self.warmup) / (self.steps - self.warmup)
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * done)) / 2


class Optimizers:
    """One or two optimizers of torch that together train named parameters.

    Weight decay is for matrices (two dimensions or more); biases and norms do not decay.

    Args:
        parameters: what is trained, by name.
        muon_names: those of them that Muon trains (Jordan et al., 2024); AdamW trains the rest.
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        *,
        lr: float,
        betas: tuple[float, float],
        weight_decay: float,
        muon_names: frozenset[str] = frozenset(),
        muon_lr: float = 0.02,
        momentum: float = 0.95,
    ) -> None:
        self._parameters = parameters
        self._owners: dict[str, Optimizer] = {}
        rest = {name: parameter for name, parameter in parameters.items() if name not in muon_names}
        matrices = [parameter for parameter in rest.values() if parameter.ndim >= 2]
        vectors = [parameter for parameter in rest.values() if parameter.ndim < 2]
        if rest:
            groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
            adamw = AdamW([group for group in groups if group["params"]], lr=lr, betas=betas, fused=True)
            self._owners |= dict.fromkeys(rest, adamw)
        if muon_names:
            blocks = {name: parameter for name, parameter in parameters.items() if name in muon_names}
            muon = Muon(list(blocks.values()), lr=muon_lr, momentum=momentum, weight_decay=weight_decay)
            self._owners |= dict.fromkeys(blocks, muon)
        self._on_cpu = all(parameter.device.type == "cpu" for parameter in parameters.values())
        self._optimizers = list(dict.fromkeys(self._owners.values()))
        self._groups = [(group, group["lr"]) for optimizer in self._optimizers for group in optimizer.param_groups]

    def step(self, factor: float) -> None:
        """Take a step along the gradients at `factor` times the learning rates, and forget the gradients."""
        for group, lr in self._groups:
            group["lr"] = lr * factor
        for optimizer in self._optimizers:
            with _InFloat32() if isinstance(optimizer, Muon) and self._on_cpu else nullcontext():
                optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        """What `restore` needs to go on from here, to the bit."""
        return {
            f"{_STATE}{name}:{key}": tensor
            for name, parameter in self._parameters.items()
            for key, tensor in self._owners[name].state[parameter].items()
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a `state`; entries that are not of an optimizer are left alone."""
        for entry, tensor in state.items():
            if entry.startswith(_STATE):
                name, _, key = entry.removeprefix(_STATE).rpartition(":")
                parameter = self._parameters[name]
                self._owners[name].state[parameter][key] = tensor.to(parameter.device)


class _InFloat32(TorchFunctionMode):
    """Inside, Muon orthogonalises in float32 instead of bfloat16.

    A CPU without units for bfloat16 multiplies such matrices tens of times more slowly than float32 ones: a step of
    four blocks of width 128 took 0.75 instead of 0.025 seconds on one with AVX2.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is Tensor.bfloat16:
            return args[0].to(torch.float32, copy=True)  # a copy, as bfloat16() makes one: Muon writes into it
        return func(*args, **(kwargs or {}))


def block_matrices(parameters: Mapping[str, nn.Parameter], blocks: Sequence[nn.Module]) -> frozenset[str]:
    """The names of the matrices inside the blocks: what Muon is made for.

    Raises:
        CompatError: there is none among `parameters`.
    """
    inside = {id(parameter) for block in blocks for parameter in block.parameters()}
    names = frozenset(name for name, value in parameters.items() if value.ndim == 2 and id(value) in inside)
    if not names:
        raise CompatError(
            "optimizer: muon is for matrices inside the blocks, and none is trained here; use optimizer: adamw"
        )
    return names


def clip_gradients(parameters: Sequence[nn.Parameter], longest: float) -> None:
    """Scale all gradients down together, so that their common norm is at most `longest`."""
    torch.nn.utils.clip_grad_norm_(parameters, longest, foreach=True)
