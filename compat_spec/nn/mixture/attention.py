"""Attentions as experts: several read the same input, and their outputs are added up by a router."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from compat_spec.nn.mixture.choosing import Choice

_CACHES = ("past_key_values", "past_key_value", "layer_past")


class AttentionMixture(nn.Module):
    """`sum_e w_e(x) attention_e(x)`, called as the block calls its attention, with the same masks and positions.

    Every expert attends to all tokens, whatever the weights: a token that does not go to an expert is still read by it.
    What an attention gives besides its output (its weights) is that of the first. Keys and values cannot be cached: the
    experts would write theirs to one place.
    """

    def __init__(self, experts: Sequence[nn.Module], router: nn.Module, choice: Choice) -> None:
        super().__init__()
        self.router = router
        self.experts = nn.ModuleList(experts)
        self.choice = choice

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if any(kwargs.get(name) is not None for name in _CACHES):
            raise ValueError("routed attentions cannot cache keys and values: call the model with use_cache=False")
        x: Tensor = args[0] if args else kwargs["hidden_states"]  # [batch, seq, width]
        weights, _ = self.choice.weights(self.router(x))
        weights = weights.view(*x.shape[:-1], -1)
        found = [expert(*args, **kwargs) for expert in self.experts]
        total: Tensor | None = None
        for number, one in enumerate(found):
            output = one[0] if isinstance(one, tuple) else one
            output = output * weights[..., number, None].to(output.dtype)
            total = output if total is None else total + output
        return (total, *found[0][1:]) if isinstance(found[0], tuple) else total
