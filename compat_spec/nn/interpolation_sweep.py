"""Several interpolations of the same experts as one module: what they have in common is computed once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from compat_spec.nn.anatomy import MlpForm
from compat_spec.nn.mixture.building import frozen_mlps, weights_by_block
from compat_spec.nn.mixture.fitting import trunk_of
from compat_spec.nn.mixture.modules import Experts
from compat_spec.nn.network import Network


class SweepBlend(nn.Module):
    """`Blend` of several merges at once: `[merges * batch, ..., width]` to the same, those of the first merge first.

    Args:
        weights: the weight of each expert in each merge `[merges][experts]`.
        alike: whether what comes in is the same for all merges, so that each expert has to see it once only.
        form: what the MLPs compute, when that is known.
    """

    def __init__(
        self, experts: Sequence[nn.Module], weights: Sequence[Sequence[float]], *, alike: bool, form: MlpForm | None
    ) -> None:
        super().__init__()
        self.experts = nn.ModuleList(Experts([expert], form) for expert in experts)
        self.weights = weights
        self.alike = alike

    def forward(self, x: Tensor) -> Tensor:
        each = x.view(len(self.weights), -1, *x.shape[1:])  # [merges, batch, ..., width]
        total = torch.zeros_like(each, dtype=torch.promote_types(x.dtype, torch.float32))
        for number, expert in enumerate(self.experts):
            assert isinstance(expert, Experts)
            # an expert without weight in a merge does not see what that merge computes
            users = [merge for merge, own in enumerate(self.weights) if own[number] != 0]
            if not users:
                continue
            given = each[:1] if self.alike else each[users]
            output = expert.add_up(given.flatten(0, -2), [1.0]).view(given.shape).expand(len(users), *each.shape[1:])
            for merge, own in zip(users, output, strict=True):
                total[merge].add_(own, alpha=self.weights[merge][number])
        return total.to(x.dtype).view(x.shape)


def interpolate_together(
    networks: Sequence[Network], weights: Sequence[Sequence[float | Sequence[float]]], trunk: Network | None = None
) -> nn.Module:
    """`interpolate` for several lists of weights at once.

    Blocks up to the first in which the merges differ are computed once; in that one, each expert's MLP is.

    Args:
        weights: for each merge, what `interpolate` takes.

    Returns: a module that for `input_ids [batch, seq]` gives logits `[merges * batch, seq, vocabulary]`, those of the
    first merge first.

    Raises what `interpolate` raises for any of them.
    """
    body = trunk_of(networks, trunk, "mlp")
    depth, merges = len(body.anatomy), len(weights)
    by_merge = [weights_by_block(own, len(networks), depth) for own in weights]
    by_block = [[own[block] for own in by_merge] for block in range(depth)]
    parting = next((block for block, own in enumerate(by_block) if own != [own[0]] * merges), depth - 1)
    mlps = frozen_mlps(networks)
    blends = [
        SweepBlend(
            [own[block] for own in mlps],
            by_block[block][:1] if block < parting else by_block[block],
            alike=block <= parting,
            form=body.anatomy.layout.mlp_form,
        )
        for block in range(depth)
    ]
    module = body.anatomy.with_mlps(blends)
    blocks = Network(module, body.tokenizer).anatomy.blocks
    for block in range(parting, depth):
        blocks[block].register_forward_pre_hook(_repeated(merges, first=block == parting), with_kwargs=True)
    return module.train(body.module.training)


def _repeated(times: int, *, first: bool) -> Any:
    """A hook that gives a block the masks and positions of each text once for each merge.

    Args:
        first: whether what the block reads comes once for all merges, and is repeated, too.
    """

    def repeat(value: Any, batch: int) -> Any:
        if isinstance(value, tuple):
            return tuple(repeat(one, batch) for one in value)
        # what is the same for all texts has no place for each
        of_each = isinstance(value, Tensor) and value.ndim > 1 and len(value) == batch > 1
        return torch.cat([value] * times) if of_each else value

    def hook(_: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        hidden, *others = given or (named["hidden_states"],)
        batch = len(hidden) if first else len(hidden) // times
        every = torch.cat([hidden] * times) if first else hidden
        named = {name: repeat(value, batch) for name, value in named.items() if given or name != "hidden_states"}
        return (every, *repeat(tuple(others), batch)), named

    return hook
