"""The `residual_routing` merge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from compat_spec.components import ModelName, ModuleMerge

if TYPE_CHECKING:
    from torch import nn

    from compat_spec.nn.network import Network


class ResidualRouting(ModuleMerge):
    """Adds to a base's MLPs the low-rank differences of experts from it, weighed by a trained router in every block.

    Each linear layer of an MLP is `W + sum_e p_e D_e`, where `D_e` is `W_e - W` cut off to its largest `rank` singular
    values, and p the router's probabilities. Twin-Merging: Lu et al., 2024, arXiv:2406.15479; weights per token and
    block as in X-LoRA: Buehler & Buehler, 2024, arXiv:2402.07148. In contrast to `routing`, experts meet before the
    activation, and cost little beside the base.
    """

    training: ClassVar[Literal["needed", "possible", "none"]] = "needed"
    routed: ClassVar[bool] = True

    base: ModelName = Field(
        description="What the experts are differences from. Its attention, embeddings and norms are used."
    )
    rank: int = Field(
        ge=1,
        description="The rank of each difference, at most the models' width; that of a narrower layer is its width.",
        examples=[16],
    )
    router: Literal["per_block", "shared", "previous"] = Field(
        default="per_block",
        description="A router in each block; one that is shared: its choice at the first block serves all blocks; or "
        "in each block one that reads what the block before it read.",
    )
    balance: float = Field(
        default=0.0,
        ge=0,
        allow_inf_nan=False,
        description="The weight of a loss for equal loads, added in training for each router; 0.01 is usual.",
    )

    @property
    def trunk(self) -> ModelName:
        """The engine hands over the model that this names."""
        return self.base

    def misfit(self, architecture: Mapping[str, Any]) -> str | None:
        width = architecture.get("hidden_size")
        if width is None or self.rank <= width:
            return None
        return f"rank: {self.rank} is more than the {width} that the width of the models allows"

    def uses_seed(self) -> bool:
        return True

    def build(self, networks: Sequence[Network], trunk: Network | None) -> nn.Module:
        from compat_spec.nn.mixture import route_residuals

        assert trunk is not None
        return route_residuals(networks, trunk, rank=self.rank, router=self.router, balance=self.balance)
