"""What stands in the place of an MLP: experts, added up with constant weights or with a router's probabilities."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache

from compat_spec.nn.anatomy import MlpForm
from compat_spec.nn.mixture.choosing import Choice
from compat_spec.nn.mixture.weighing import mlp_of, weighted_sum


class Experts(nn.ModuleList):
    """MLPs whose outputs are added up with weights, `[tokens, width] -> [tokens, width]`.

    Experts of a known form that are frozen run together, without a gradient of their weights. Others are called one by
    one. Dropout inside of the experts, where they have it, is that of the first expert and is done once, to the sum.

    Args:
        form: what the MLPs compute, when that is known.
    """

    def __init__(self, experts: Iterable[nn.Module], form: MlpForm | None = None) -> None:
        super().__init__(experts)
        found = [mlp_of(expert, form) for expert in self]
        self._known = [mlp for mlp in found if mlp is not None]

    def add_up(self, x: Tensor, weights: Tensor | Sequence[float], rows: Sequence[Tensor] | None = None) -> Tensor:
        """`sum_e w_e expert_e(x)` for `x [tokens, width]`.

        Args:
            weights: `[tokens, experts]`, or a number for each expert.
            rows: the tokens that each expert is given, int64; its weights of others count as zero. None is all.
        """
        if len(self._known) < len(self) or any(parameter.requires_grad for parameter in self.parameters()):
            return self._one_by_one(x, weights, rows)
        total = weighted_sum(x, self._known, weights, rows, keep_casts=self.training)
        dropout = self._known[0].dropout
        return total if dropout is None else dropout(total)

    def train(self, mode: bool = True) -> Experts:
        if not mode:
            for mlp in self._known:
                mlp.forget()
        return super().train(mode)

    def _one_by_one(self, x: Tensor, weights: Tensor | Sequence[float], rows: Sequence[Tensor] | None) -> Tensor:
        total: Tensor | None = None
        for number, expert in enumerate(self):
            given = x if rows is None else x[rows[number]]
            output = expert(given)  # [its tokens, width]
            if isinstance(weights, Tensor):
                own = weights[:, number] if rows is None else weights[rows[number], number]
                output = output * own.unsqueeze(-1).to(output.dtype)
            else:
                output = output * weights[number]
            if rows is not None:
                output = output.new_zeros(x.shape).index_add(0, rows[number], output)
            total = output if total is None else total + output
        assert total is not None
        return total


class Blend(nn.Module):
    """`sum_e weight_e expert_e(x)` with constant weights, `[..., width] -> [..., width]`."""

    def __init__(self, experts: Sequence[nn.Module], weights: Sequence[float], form: MlpForm | None = None) -> None:
        super().__init__()
        kept = [(expert, weight) for expert, weight in zip(experts, weights, strict=True) if weight != 0]
        self.experts = Experts((expert for expert, _ in kept), form)
        self.weights = [weight for _, weight in kept]

    def forward(self, x: Tensor) -> Tensor:
        if not self.weights:
            return torch.zeros_like(x)
        if len(self.weights) == 1:  # to the bit what the expert says, in the way in which it says it
            output: Tensor = self.experts[0](x) * self.weights[0]
            return output
        return self.experts.add_up(x.flatten(0, -2), self.weights).view(x.shape)


class Mixture(nn.Module):
    """`sum_e w_e(x) expert_e(x)` with the weights that a router's probabilities give, `[..., width] -> [..., width]`.

    Args:
        router: `[..., width] -> [..., experts]`, probabilities of all experts.
        choice: what becomes of the probabilities.
        texts: what tells batch and seq, where the model hands over tokens without them and they are needed.
    """

    def __init__(
        self,
        experts: Sequence[nn.Module],
        router: nn.Module,
        choice: Choice,
        form: MlpForm | None = None,
        texts: TextShape | None = None,
    ) -> None:
        super().__init__()
        self.router = router
        self.experts = Experts(experts, form)
        self.choice = choice
        self.texts = texts

    def forward(self, x: Tensor) -> Tensor:
        read = x if self.texts is None else x.view(*self.texts.now, -1)
        weights, rows = self.choice.weights(self.router(read))
        return self.experts.add_up(x.flatten(0, -2), weights, rows).view(x.shape)


class TextShape:
    """The batch and length of what a block is given, for an MLP that is handed `[batch * seq, width]` (as opt's is).

    To be called before a block's forward pass, as a hook. It is for routers that read a text from its beginning, and
    refuses to be given a rest of one, whose beginning is there as keys and values only.
    """

    now: tuple[int, int]

    def __call__(self, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if any(isinstance(given, Cache) for given in (*args, *kwargs.values())):
            raise ValueError(
                "routers that read whole texts cannot use cached keys: call the model with use_cache=False"
            )
        hidden = args[0] if args else kwargs["hidden_states"]
        self.now = (hidden.shape[0], hidden.shape[1])
