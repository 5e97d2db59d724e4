"""Experts as low-rank differences from one base MLP, added up by a router inside of each of its linear layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from compat_spec.errors import CompatError
from compat_spec.nn.anatomy import frozen_copy
from compat_spec.nn.mixture.fitting import trunk_of
from compat_spec.nn.mixture.weighing import Mlp, mlp_of
from compat_spec.nn.network import Network
from compat_spec.nn.routers import routers


class ResidualLinear(nn.Module):
    """`(W + sum_e p_e B_e A_e) x + b + sum_e p_e (b_e - b)`, `[..., in] -> [..., out]`.

    `B_e A_e` is the best approximation of `W_e - W` of its rank, by the singular value decomposition. One large product
    is for the base, and two small ones for all experts together. Nothing of it is trained.

    Args:
        base: a linear layer.
        experts: others of its shape.
        rank: of each difference; never more than the layer's smaller side.
    """

    def __init__(self, base: nn.Module, experts: Sequence[nn.Module], rank: int) -> None:
        super().__init__()
        self.base = frozen_copy(base)
        matrix = _matrix(base)
        self.rank = min(rank, *matrix.shape)
        factors = [_factors(_matrix(expert), matrix, self.rank) for expert in experts]
        self.register_buffer("reduce", torch.cat([a for a, _ in factors], dim=1).to(matrix.dtype), persistent=False)
        self.register_buffer("expand", torch.cat([b for _, b in factors]).to(matrix.dtype), persistent=False)
        own, *others = (_bias(layer) for layer in (base, *experts))
        none = matrix.new_zeros(matrix.shape[1])  # what a layer without a bias adds
        shifts = torch.stack([none if bias is None else bias for bias in others]) - (none if own is None else own)
        without = own is None and all(bias is None for bias in others)
        self.register_buffer("shifts", None if without else shifts, persistent=False)
        self.reduce: Tensor  # [in, experts * rank]
        self.expand: Tensor  # [experts * rank, out]
        self.shifts: Tensor | None  # [experts, out]

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """`x [..., in]`, `weights [..., experts]`."""
        small = x @ self.reduce  # [..., experts * rank]
        each = weights.to(small.dtype).repeat_interleave(self.rank, dim=-1)  # [..., experts * rank]
        output: Tensor = self.base(x) + (small * each) @ self.expand
        return output if self.shifts is None else output + weights.to(output.dtype) @ self.shifts.to(output.dtype)


class ResidualMixture(nn.Module):
    """An MLP whose linear layers are `ResidualLinear`, with one router's probabilities, `[..., width] -> [..., width]`.

    In contrast to a `Mixture`, experts meet before the activation: their layers are added up, and not their outputs.
    """

    def __init__(self, base: Mlp, experts: Sequence[Mlp], router: nn.Module, rank: int) -> None:
        super().__init__()
        self.router = router
        self.entries = nn.ModuleList(
            ResidualLinear(entry, [expert.entries[place] for expert in experts], rank)
            for place, entry in enumerate(base.entries)
        )
        self.act = base.act
        self.down = ResidualLinear(base.down, [expert.down for expert in experts], rank)
        self.dropout = base.dropout

    def forward(self, x: Tensor) -> Tensor:
        weights = self.router(x)  # [..., experts]
        first, *gated = (entry(x, weights) for entry in self.entries)
        inside = self.act.value(first)
        output: Tensor = self.down(inside * gated[0] if gated else inside, weights)
        return output if self.dropout is None else self.dropout(output)


def route_residuals(
    networks: Sequence[Network],
    base: Network,
    *,
    rank: int,
    router: Literal["per_block", "shared", "previous"] = "per_block",
    balance: float = 0.0,
) -> nn.Module:
    """The base, with low-rank differences of experts' MLPs from its own, mixed by routers; only these can be trained.

    The differences are cut off as in Twin-Merging (Lu et al., 2024, arXiv:2406.15479), and weighed per token and block
    as in X-LoRA (Buehler & Buehler, 2024, arXiv:2402.07148). Attention, embeddings and norms are the base's.

    Args:
        rank: of the difference of each linear layer; more than its smaller side counts as that.
        router: see `route`.
        balance: see `route`.

    Raises:
        CompatError: the networks do not fit, or nothing says what their MLPs compute.
    """
    trunk_of(networks, base, "mlp")
    anatomy, depth = base.anatomy, len(base.anatomy)
    made = routers(router, anatomy.width, len(networks), depth, balance=balance)
    mixtures = [
        ResidualMixture(
            _known(base, block), [_known(network, block) for network in networks], one.to(base.device), rank
        )
        for block, one in enumerate(made)
    ]
    return anatomy.with_mlps(mixtures).train(base.module.training)


def _known(network: Network, block: int) -> Mlp:
    known = mlp_of(network.anatomy.mlp(block), network.anatomy.layout.mlp_form)
    if known is None:
        raise CompatError(
            f"what the MLPs of a {type(network.module).__name__} compute is not known, and their layers cannot be told "
            "apart: a package that registers its Layout can say it by `mlp_form`"
        )
    return known


def _factors(expert: Tensor, base: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """`[in, rank]` and `[rank, out]`, whose product is nearest to `expert - base`."""
    if expert.shape != base.shape:
        raise CompatError(
            f"a layer of an expert is {list(expert.shape)}, and the base's {list(base.shape)}: they have no difference"
        )
    exact = torch.promote_types(base.dtype, torch.float32)
    left, values, right = torch.linalg.svd(expert.to(exact) - base.to(exact), full_matrices=False)
    return left[:, :rank] * values[:rank], right[:rank]


def _matrix(layer: nn.Module) -> Tensor:
    """`[in, out]`."""
    weight = layer.get_parameter("weight").detach()
    return weight if isinstance(layer, Conv1D) else weight.T


def _bias(layer: nn.Module) -> Tensor | None:
    bias = layer.bias
    return bias.detach() if isinstance(bias, Tensor) else None
