"""Routers: which experts a token goes to. They give probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compat_spec.errors import CompatError

Site = Literal["mlp", "attention"]
"""Which part of its block a router chooses experts of."""


class Handover:
    """Keeps a tensor of a forward pass for another block, or for the loss.

    A copy keeps nothing: it has no part in the pass, which may have been left in the middle.
    """

    kept: Tensor | None = None

    def take(self) -> Tensor:
        if self.kept is None:
            raise RuntimeError("a block whose router reads the input of the block before ran before that block")
        kept, self.kept = self.kept, None
        return kept

    def __deepcopy__(self, memo: dict[int, Any]) -> Handover:
        return Handover()


class Router(nn.Linear):
    """A linear router without bias: `softmax(W x)` over all experts, `[..., width] -> [..., experts]`.

    The weights are float32 and so is the softmax, whatever the activations are, under autocast too. They start Kaiming
    uniform (He et al., 2015, arXiv:1502.01852, with a=0): within ±sqrt(6 / width).

    Args:
        noise: add to each score, in training, a normal random number times `softplus(V x)`, where V is trained and
            starts at zero (noisy gating: Shazeer et al., 2017, arXiv:1701.06538, eq. 4).
        balance: the weight of the loss that asks for equal loads; see `imbalance`.
    """

    site: Site = "mlp"

    def __init__(self, width: int, experts: int, *, noise: bool = False, balance: float = 0.0) -> None:
        super().__init__(width, experts, bias=False, dtype=torch.float32)
        self.noise = nn.Parameter(torch.zeros_like(self.weight)) if noise else None
        self.balance = balance
        self._auxiliary = Handover()

    def reset_parameters(self) -> None:
        nn.init.kaiming_uniform_(self.weight, a=0)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(self.weight.dtype)
            scores = F.linear(x, self.weight)
            if self.noise is not None and self.training:
                scores = scores + torch.randn_like(scores) * F.softplus(F.linear(x, self.noise))
            probabilities = scores.softmax(-1)
        if self.balance and self.training and torch.is_grad_enabled():
            self._auxiliary.kept = self.balance * imbalance(probabilities)
        return probabilities

    def auxiliary_loss(self) -> Tensor | None:
        """What the last pass in training adds to the loss; it is given once."""
        loss, self._auxiliary.kept = self._auxiliary.kept, None
        return loss


def imbalance(probabilities: Tensor) -> Tensor:
    """`E * sum_e f_e P_e` of probabilities `[..., E]`: 1 for equal loads, E where one expert has it all.

    f is the share of tokens whose most probable expert is e, and P the mean probability of e; the gradient goes through
    P. Fedus et al., "Switch Transformers", 2021, arXiv:2101.03961, eq. 4 to 6.
    """
    rows = probabilities.flatten(0, -2)
    experts = rows.shape[-1]
    first = torch.zeros_like(rows).scatter_(-1, rows.detach().argmax(-1, keepdim=True), 1.0)
    return experts * (first.mean(0) * rows.mean(0)).sum()


class SharedRouter(Router):
    """The first block's router, whose choice the `Follower` of every other block repeats in the same forward pass."""

    def __init__(self, width: int, experts: int, *, noise: bool = False, balance: float = 0.0) -> None:
        super().__init__(width, experts, noise=noise, balance=balance)
        self._choice = Handover()

    def forward(self, x: Tensor) -> Tensor:
        self._choice.kept = choice = super().forward(x)
        return choice

    def choice(self, *, last: bool) -> Tensor:
        """What it said in this pass; the last to ask leaves nothing behind for the next pass."""
        choice = self._choice.kept
        if choice is None:
            raise RuntimeError("a block that follows the first block's choice ran before it")
        if last:
            self._choice.kept = None
        return choice


class Follower(nn.Module):
    """Stands for the router of a block that repeats the choice of the first: `[..., width] -> [..., experts]`."""

    site: Site = "mlp"

    def __init__(self, first: SharedRouter, *, last: bool) -> None:
        super().__init__()
        self.first = first
        self.out_features = first.out_features
        self._last = last

    def forward(self, x: Tensor) -> Tensor:
        return self.first.choice(last=self._last)


class PreviousRouter(Router):
    """A router of what the router of the block before was given; the first block's reads its own input.

    Which experts a block needs is known one block early, so that they can be fetched in time (Hwang et al., "Pre-gated
    MoE", 2023, arXiv:2308.12066).
    """

    before: Handover | None = None
    after: Handover | None = None

    def forward(self, x: Tensor) -> Tensor:
        given = x if self.before is None else self.before.take()
        if self.after is not None:
            self.after.kept = x
        return super().forward(given)


class SequenceRouter(Router):
    """One choice for a text: it reads the mean over the tokens so far, `[batch, seq, width]`.

    Routing by task, as in Kudugunta et al., 2021, arXiv:2110.03742, where the mean is over the whole text. A language
    model must not see what it has to predict: token t is routed by the mean over the first t tokens of its text. What
    stands to the left of a text as padding would count.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 3:
            raise ValueError(f"a router of sequences reads [batch, seq, width], and was given {list(x.shape)}")
        exact = x.to(self.weight.dtype)
        count = torch.arange(1, x.shape[1] + 1, device=x.device, dtype=exact.dtype)
        return super().forward(exact.cumsum(1) / count[:, None])


RouterKind = Literal["per_block", "shared", "previous", "sequence"]


def routers(
    kind: RouterKind,
    width: int,
    experts: int,
    blocks: int,
    *,
    site: Site = "mlp",
    noise: bool = False,
    balance: float = 0.0,
) -> list[Router | Follower]:
    """A router for each block.

    Args:
        kind: one `per_block`; one that is `shared`, whose choice at the first block serves all; `previous`, one per
            block that reads what the block before it read; `sequence`, one per block that chooses for texts.
        noise: see `Router`.
        balance: see `Router`.
    """
    make = {"per_block": Router, "shared": Router, "previous": PreviousRouter, "sequence": SequenceRouter}[kind]
    found: list[Router | Follower]
    if kind == "shared" and blocks > 1:
        first = SharedRouter(width, experts, noise=noise, balance=balance)
        found = [first, *(Follower(first, last=block == blocks - 1) for block in range(1, blocks))]
    else:
        found = [make(width, experts, noise=noise, balance=balance) for _ in range(blocks)]
    for one, following in pairwise(found):
        if isinstance(one, PreviousRouter) and isinstance(following, PreviousRouter):
            one.after = following.before = Handover()
    for one in found:
        one.site = site
    return found


def routers_of(module: nn.Module) -> Sequence[Router | Follower]:
    """What gives each block's probabilities, in the order of the blocks. Raises `CompatError` when there are none.

    Where both MLPs and attentions are routed, those of the MLPs.
    """
    found = [part for part in module.modules() if isinstance(part, Router | Follower)]
    if not found:
        raise CompatError(f"this {type(module).__name__} has no routers")
    return [router for router in found if router.site == "mlp"] or found
