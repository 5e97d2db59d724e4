"""Routers: which experts a token goes to. They give probabilities."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compat_spec.errors import CompatError


class Router(nn.Linear):
    """A linear router without bias: `softmax(W x)` over all experts, `[..., width] -> [..., experts]`.

    The weights are float32 and so is the softmax, whatever the activations are, under autocast too. They start Kaiming
    uniform (He et al., 2015, arXiv:1502.01852, with a=0): within ±sqrt(6 / width).
    """

    def __init__(self, width: int, experts: int) -> None:
        super().__init__(width, experts, bias=False, dtype=torch.float32)

    def reset_parameters(self) -> None:
        nn.init.kaiming_uniform_(self.weight, a=0)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return F.linear(x.to(self.weight.dtype), self.weight).softmax(-1)


class SharedRouter(Router):
    """The first block's router, whose choice the `Follower` of every other block repeats in the same forward pass."""

    def __init__(self, width: int, experts: int) -> None:
        super().__init__(width, experts)
        self._choice: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self._choice = super().forward(x)
        return self._choice

    def choice(self, *, last: bool) -> Tensor:
        """What it said in this pass; the last to ask leaves nothing behind for the next pass."""
        if self._choice is None:
            raise RuntimeError("a block that follows the first block's choice ran before it")
        choice = self._choice
        if last:
            self._choice = None
        return choice


class Follower(nn.Module):
    """Stands for the router of a block that repeats the choice of the first: `[..., width] -> [..., experts]`."""

    def __init__(self, first: SharedRouter, *, last: bool) -> None:
        super().__init__()
        self.first = first
        self.out_features = first.out_features
        self._last = last

    def forward(self, x: Tensor) -> Tensor:
        return self.first.choice(last=self._last)


def routers(kind: str, width: int, experts: int, blocks: int) -> list[nn.Module]:
    """A router for each block; `kind` is `per_block`, or `shared` for one whose first choice serves all blocks."""
    if kind == "per_block" or blocks == 1:
        return [Router(width, experts) for _ in range(blocks)]
    first = SharedRouter(width, experts)
    return [first, *(Follower(first, last=block == blocks - 1) for block in range(1, blocks))]


def keep_top(probabilities: Tensor, k: int) -> Tensor:
    """The `k` largest of each row `[..., experts]`, not normalised again; the others become zero."""
    values, places = probabilities.topk(k, dim=-1)
    return torch.zeros_like(probabilities).scatter(-1, places, values)


def routers_of(module: nn.Module) -> Sequence[Router | Follower]:
    """What gives each block's probabilities, in the order of the blocks. Raises `CompatError` when there are none."""
    found = [part for part in module.modules() if isinstance(part, Router | Follower)]
    if not found:
        raise CompatError(f"this {type(module).__name__} has no routers")
    return found
