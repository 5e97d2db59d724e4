"""Which experts a token goes to, and with which weights, once a router has given it probabilities."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

NOTHING_TO_LEARN = "normalize with top_k: 1 makes every weight 1, and routers learn nothing; take top_k: 2 or more"


@dataclass(frozen=True)
class Choice:
    """How probabilities become weights.

    Attributes:
        top_k: how many of the most probable experts a token goes to; None is all.
        normalize: whether the probabilities that are kept are divided by their sum (Jiang et al., "Mixtral of
            Experts", 2024, arXiv:2401.04088), which for these experts alone is the softmax.
        capacity: instead of `top_k`, experts choose tokens, each about `capacity / experts` of all: see
            `chosen_by_experts`.
    """

    top_k: int | None = None
    normalize: bool = False
    capacity: float | None = None

    def __post_init__(self) -> None:
        if self.capacity is not None and (self.top_k is not None or self.normalize):
            raise ValueError("with a capacity, experts choose tokens: top_k and normalize are for tokens that choose")
        if self.normalize and self.top_k == 1:
            raise ValueError(NOTHING_TO_LEARN)

    def weights(self, probabilities: Tensor) -> tuple[Tensor, Sequence[Tensor] | None]:
        """The weights `[tokens, experts]`, and the tokens that each expert is given, int64; None is all tokens.

        Args:
            probabilities: `[tokens, experts]`, or `[batch, seq, experts]`, which `capacity` needs.
        """
        experts = probabilities.shape[-1]
        if self.capacity is not None:
            chosen = chosen_by_experts(probabilities, self.capacity).flatten(0, -2)
            weights = probabilities.flatten(0, -2) * chosen
            expert, token = chosen.T.nonzero().unbind(-1)
            return weights, _split(token, expert, experts)
        weights = probabilities.flatten(0, -2)
        if self.top_k is None or self.top_k == experts:
            return weights, None
        weights, places = keep_top(weights, self.top_k)
        if self.normalize:
            weights = weights / weights.sum(-1, keepdim=True)
        order = places.flatten().argsort(stable=True)
        return weights, _split(order // self.top_k, places.flatten(), experts)


def keep_top(probabilities: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The `k` largest of each row `[tokens, experts]`, the others zero, and their places `[tokens, k]`."""
    values, places = probabilities.topk(k, dim=-1)
    return torch.zeros_like(probabilities).scatter(-1, places, values), places


def chosen_by_experts(probabilities: Tensor, capacity: float) -> Tensor:
    """Expert choice that does not look ahead: whether each expert takes each token `[batch, seq, experts]`, bool.

    In expert choice (Zhou et al., 2022, arXiv:2202.09368) an expert takes the `capacity * n / experts` tokens, of n,
    that give it the largest probabilities; a token may go to no expert or to all. Taken over whole sequences, a token's
    choice would depend on those that follow it, and a language model would be told of what it has to predict. Here the
    rule is applied to each prefix: an expert takes token t if it is among its `ceil(capacity * t / experts)` most
    probable ones of the first t tokens. The last token is treated as over the whole sequence. Of equals, the earlier
    goes first.
    """
    seq, experts = probabilities.shape[-2:]
    scores = probabilities.detach().transpose(-1, -2)  # [batch, experts, seq]
    before = torch.ones(seq, seq, dtype=torch.bool, device=scores.device).tril(-1)
    # how many of the tokens before go first [batch, experts, seq]
    rank = torch.stack([((one[..., None, :] >= one[..., None]) & before).sum(-1) for one in scores.unbind(-2)], dim=-2)
    share = min(capacity / experts, 1.0)
    # float64 on the host, so that a share like 1/3 gives the same count everywhere
    room = torch.tensor([math.ceil(share * t - 1e-9) for t in range(1, seq + 1)], device=scores.device)
    return (rank < room).transpose(-1, -2)


def _split(tokens: Tensor, experts_of: Tensor, experts: int) -> Sequence[Tensor]:
    """Tokens in the order of their experts, cut where the expert changes. On a GPU, the host waits for the counts."""
    return torch.split(tokens, torch.bincount(experts_of, minlength=experts).tolist())
