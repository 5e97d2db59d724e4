"""Routers: which experts a token goes to. They give probabilities; `record_routing` watches them for reports."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

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


def keep_top(probabilities: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The `k` largest of each row `[tokens, experts]`, others zero, not normalised; and their places `[tokens, k]`."""
    values, places = probabilities.topk(k, dim=-1)
    return torch.zeros_like(probabilities).scatter(-1, places, values), places


def rows_of_experts(places: Tensor, experts: int) -> Sequence[Tensor]:
    """The tokens of each expert, ascending, int64, from the experts of each token `[tokens, k]`.

    By one sort; on a GPU, the host waits once, for the counts.
    """
    order = places.flatten().argsort(stable=True)
    counts = torch.bincount(places.flatten(), minlength=experts).tolist()
    return torch.split(order // places.shape[-1], counts)


class RoutingRecord:
    """Sums over the tokens that routers saw, in float64 on the CPU."""

    def __init__(self, blocks: int, experts: int) -> None:
        self.tokens = 0
        self._probability = torch.zeros(blocks, experts, dtype=torch.float64)
        self._entropy = torch.zeros(blocks, dtype=torch.float64)

    @property
    def probability(self) -> Tensor:
        """The mean probability of each expert, before any but the top ones are dropped `[blocks, experts]`."""
        return self._probability / self.tokens

    @property
    def entropy(self) -> Tensor:
        """The mean entropy of a token's probabilities, in nats `[blocks]`."""
        return self._entropy / self.tokens

    def see(self, block: int, probabilities: Tensor) -> None:
        """Add what the router of a block said of some tokens `[tokens, experts]`."""
        exact = probabilities.detach().cpu().double()
        self._probability[block] += exact.sum(0)
        self._entropy[block] -= torch.xlogy(exact, exact).sum()
        self.tokens += len(exact) if block == 0 else 0

    def add(self, other: RoutingRecord) -> RoutingRecord:
        """This record, with what another one saw of the same routers."""
        self.tokens += other.tokens
        self._probability += other._probability
        self._entropy += other._entropy
        return self


@contextmanager
def record_routing(module: nn.Module, counted: Tensor | None = None) -> Iterator[RoutingRecord]:
    """Record what the routers of a routed model say while the context is open.

    Args:
        counted: the places of a flattened batch `[batch * seq]` that count, int64 on the model's device; None is all.

    Raises `CompatError` when the module has no routers.
    """
    found = routers_of(module)
    record = RoutingRecord(len(found), found[0].out_features)

    def watch(block: int) -> Callable[[nn.Module, Any, Tensor], None]:
        def hook(_: nn.Module, __: Any, output: Tensor) -> None:
            probabilities = output.reshape(-1, output.shape[-1])
            record.see(block, probabilities if counted is None else probabilities[counted])

        return hook

    handles = [router.register_forward_hook(watch(block)) for block, router in enumerate(found)]
    try:
        yield record
    finally:
        for handle in handles:
            handle.remove()


def routers_of(module: nn.Module) -> Sequence[Router | Follower]:
    """What gives each block's probabilities, in the order of the blocks. Raises `CompatError` when there are none."""
    found = [part for part in module.modules() if isinstance(part, Router | Follower)]
    if not found:
        raise CompatError(f"this {type(module).__name__} has no routers")
    return found
