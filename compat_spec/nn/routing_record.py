"""What the routers of a network say of the tokens of a text, added up for reports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from compat_spec.nn.routers import routers_of


class RoutingRecord:
    """Sums over the tokens that routers saw, in float64 on the CPU: of all, and of classes of them, which may overlap.

    Args:
        classes: how many classes of tokens there are.
    """

    def __init__(self, blocks: int, experts: int, classes: int = 0) -> None:
        self.tokens = 0
        self.class_tokens = torch.zeros(classes, dtype=torch.float64)
        # the first group is that of all tokens
        groups = 1 + classes
        self._probability = torch.zeros(blocks, groups, experts, dtype=torch.float64)
        self._chosen = torch.zeros(blocks, experts, dtype=torch.float64)
        self._entropy = torch.zeros(blocks, groups, dtype=torch.float64)
        self._agreeing = torch.zeros(blocks, blocks, dtype=torch.float64)

    @property
    def probability(self) -> Tensor:
        """The mean probability of each expert, before any but the top ones are dropped `[blocks, experts]`."""
        return self._probability[:, 0] / self.tokens

    @property
    def choice(self) -> Tensor:
        """The share of tokens of which each expert is the most probable one `[blocks, experts]`."""
        return self._chosen / self.tokens

    @property
    def entropy(self) -> Tensor:
        """The mean entropy of a token's probabilities, in nats `[blocks]`."""
        return self._entropy[:, 0] / self.tokens

    @property
    def class_probability(self) -> Tensor:
        """`probability` of the tokens of each class `[classes, blocks, experts]`; NaN for a class without any."""
        return self._probability[:, 1:].movedim(1, 0) / self.class_tokens[:, None, None]

    @property
    def class_entropy(self) -> Tensor:
        """`entropy` of the tokens of each class `[classes, blocks]`."""
        return self._entropy[:, 1:].T / self.class_tokens[:, None]

    @property
    def agreement(self) -> Tensor:
        """The share of tokens for which two blocks find the same expert most probable `[blocks, blocks]`."""
        return self._agreeing / self.tokens

    def see(self, probabilities: Tensor, classes: Tensor | None = None) -> None:
        """Add what the routers of all blocks said of some tokens.

        Args:
            probabilities: `[blocks, tokens, experts]`.
            classes: which classes each token is of `[tokens, classes]`, bool on the CPU.
        """
        exact = probabilities.detach().cpu().double()
        _, tokens, experts = exact.shape
        members = exact.new_ones(tokens, 1)
        if classes is not None:
            members = torch.cat([members, classes.to(members)], dim=1)
        chosen = exact.argmax(-1)  # [blocks, tokens]
        self._probability += members.T @ exact
        self._chosen += nn.functional.one_hot(chosen, experts).sum(1)
        self._entropy -= torch.xlogy(exact, exact).sum(-1) @ members
        self._agreeing += (chosen[:, None] == chosen).sum(-1)
        self.tokens += tokens
        self.class_tokens += members[:, 1:].sum(0)

    def add(self, other: RoutingRecord) -> RoutingRecord:
        """This record, with what another one saw of the same routers."""
        self.tokens += other.tokens
        self.class_tokens += other.class_tokens
        self._probability += other._probability
        self._chosen += other._chosen
        self._entropy += other._entropy
        self._agreeing += other._agreeing
        return self


@contextmanager
def record_routing(
    module: nn.Module, counted: Tensor | None = None, classes: Tensor | None = None
) -> Iterator[RoutingRecord]:
    """Record what the routers of a routed model say in one forward pass or more while the context is open.

    Args:
        counted: the places of a flattened batch `[batch * seq]` that count, int64 on the model's device; None is all.
        classes: which classes each token that counts is of `[tokens, classes]`, bool on the CPU; for one forward pass.

    Raises `CompatError` when the module has no routers.
    """
    found = routers_of(module)
    record = RoutingRecord(len(found), found[0].out_features, 0 if classes is None else classes.shape[1])
    said: list[Tensor] = []

    def hear(block: int) -> Callable[[nn.Module, Any, Tensor], None]:
        def hook(_: nn.Module, __: Any, output: Tensor) -> None:
            probabilities = output.detach().reshape(-1, output.shape[-1])
            if len(said) != block:
                raise RuntimeError(f"the router of block {block} was asked out of turn, after {len(said)} others")
            said.append(probabilities if counted is None else probabilities[counted])
            if len(said) == len(found):
                record.see(torch.stack(said), classes)
                said.clear()

        return hook

    handles = [router.register_forward_hook(hear(block)) for block, router in enumerate(found)]
    try:
        yield record
    finally:
        for handle in handles:
            handle.remove()
