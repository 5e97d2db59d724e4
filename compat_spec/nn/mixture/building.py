"""Networks whose every MLP becomes several experts' MLPs.

The result is a copy of the trunk (whose attention, embeddings and norms it uses) that shares its tensors and the
experts', all frozen. The networks that are given do not change.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from compat_spec.errors import CompatError
from compat_spec.nn.anatomy import frozen_copy
from compat_spec.nn.mixture.modules import Blend, Mixture
from compat_spec.nn.network import Network, check_same_vocabulary
from compat_spec.nn.routers import routers


def interpolate(
    networks: Sequence[Network], weights: Sequence[float | Sequence[float]], trunk: Network | None = None
) -> nn.Module:
    """Activation interpolation (Pari et al., 2024, arXiv:2411.02207): MLP outputs are added up with constant weights.

    Args:
        weights: for each network a number, or one number per block. They are not normalised.
        trunk: whose attention, embeddings and norms to use; by default the networks', which must be equal.

    Raises:
        CompatError: a list of weights is not as long as the network is deep, or the networks do not fit.
    """
    body = _trunk(networks, trunk)
    depth = len(body.anatomy)
    for weight in weights:
        if not isinstance(weight, float | int) and len(weight) != depth:
            raise CompatError(f"{len(weight)} weights are given, one per block, and the networks have {depth} blocks")
    per_block = [[w if isinstance(w, float | int) else w[block] for w in weights] for block in range(depth)]
    mlps = _frozen_mlps(networks)
    form = body.anatomy.layout.mlp_form
    blends = [Blend([own[block] for own in mlps], per_block[block], form) for block in range(depth)]
    return body.anatomy.with_mlps(blends).train(body.module.training)


def route(
    networks: Sequence[Network],
    *,
    router: Literal["per_block", "shared"] = "per_block",
    span: int = 1,
    top_k: int | None = None,
    trunk: Network | None = None,
) -> nn.Module:
    """A mixture of experts in every block (Pari et al., 2024, arXiv:2411.02207); only the routers can be trained.

    Experts of a block are in the order of `blocks_in_reach`, and for each of those blocks in the order of `networks`.
    The routers' start is drawn from torch's random numbers.

    Args:
        router: one `per_block`, or one `shared` by all, whose choice at the first block serves every block.
        span: how many blocks' MLPs each block may choose from (multi-layer routing).
        top_k: how many experts a token goes to; None is all.
        trunk: whose attention, embeddings and norms to use; by default the networks', which must be equal.

    Raises:
        CompatError: `span` is more than there are blocks, or the networks do not fit.
    """
    body = _trunk(networks, trunk)
    anatomy, depth = body.anatomy, len(body.anatomy)
    if span > depth:
        raise CompatError(f"span: {span} reaches for the MLPs of {span} blocks, and the networks have {depth}")
    experts = len(networks) * span
    if top_k is not None and top_k > experts:
        raise CompatError(f"top_k: {top_k} is more than the {experts} experts of a block")
    choosing = [part.to(body.device) for part in routers(router, anatomy.width, experts, depth)]
    mlps = _frozen_mlps(networks)
    form = anatomy.layout.mlp_form
    mixtures = [
        Mixture(
            [own[there] for there in blocks_in_reach(block, span, depth) for own in mlps], part, top_k or experts, form
        )
        for block, part in enumerate(choosing)
    ]
    return anatomy.with_mlps(mixtures).train(body.module.training)


def blocks_in_reach(block: int, span: int, depth: int) -> list[int]:
    """The blocks whose MLPs a block may choose from: its own, those above, and at the top those below, in turn."""
    above = list(range(block, min(block + span, depth)))
    missing = span - len(above)
    return above + [block - 1 - i for i in range(missing)]


def _frozen_mlps(networks: Sequence[Network]) -> list[list[nn.Module]]:
    """The MLP of every block of every network `[networks][blocks]`, sharing the networks' tensors."""
    return [[frozen_copy(network.anatomy.mlp(block)) for block in range(len(network.anatomy))] for network in networks]


def _trunk(networks: Sequence[Network], trunk: Network | None) -> Network:
    """The network whose attention, embeddings and norms serve all experts, after checking that it can."""
    body = networks[0] if trunk is None else trunk
    named = {f"expert {number}": network.tokenizer for number, network in enumerate(networks, 1)}
    check_same_vocabulary(named | ({"the trunk": trunk.tokenizer} if trunk else {}))
    for number, network in enumerate(networks, 1):
        if _shape(network) != _shape(body):
            raise CompatError(
                f"expert {number} has {_words(_shape(network))}, and {'the trunk' if trunk else 'expert 1'} "
                f"{_words(_shape(body))}: their MLPs cannot stand in for one another"
            )
    if trunk is None:
        _check_equal_outside_mlps(networks)
    return body


def _shape(network: Network) -> tuple[int, int, torch.dtype]:
    anatomy = network.anatomy
    return len(anatomy), anatomy.width, next(anatomy.mlp(0).parameters()).dtype


def _words(shape: tuple[int, int, torch.dtype]) -> str:
    depth, width, dtype = shape
    return f"{depth} blocks of width {width} in {str(dtype).removeprefix('torch.')}"


def _check_equal_outside_mlps(networks: Sequence[Network]) -> None:
    first, *others = (_outside_mlps(network) for network in networks)
    for number, other in enumerate(others, 2):
        for name in sorted(first.keys() | other.keys()):
            a, b = first.get(name), other.get(name)
            if a is None or b is None or a.shape != b.shape or a.dtype != b.dtype or not torch.equal(a, b):
                raise CompatError(
                    f"expert {number} differs from expert 1 outside of its MLPs, in {name}: say with `trunk`, as in "
                    "`trunk: base`, whose attention, embeddings and norms to use (or fine-tune with `update: mlp`)"
                )


def _outside_mlps(network: Network) -> dict[str, Tensor]:
    anatomy = network.anatomy
    inside = {id(p) for block in range(len(anatomy)) for p in anatomy.mlp(block).parameters()}
    return {name: p for name, p in network.module.named_parameters() if id(p) not in inside}
