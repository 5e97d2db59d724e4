"""The `routing` merge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from compat_spec.components import ModelName, ModuleMerge

if TYPE_CHECKING:
    from torch import nn

    from compat_spec.nn.network import Network


class Routing(ModuleMerge):
    """Mixes the models' MLPs token by token: a trained router in every block weighs the experts' outputs.

    A router is linear without bias; the output is the sum of `softmax probability × expert(x)`. The experts stay
    frozen. Pari et al., "Collective Model Intelligence Requires Compatible Specialization", 2024, arXiv:2411.02207.
    """

    training: ClassVar[Literal["needed", "possible", "none"]] = "needed"
    routed: ClassVar[bool] = True

    router: Literal["per_block", "shared"] = Field(
        default="per_block",
        description="A router in each block, or one that is shared: its choice at the first block serves all blocks.",
    )
    span: int = Field(
        default=1,
        ge=1,
        description="How many blocks' MLPs a block may choose from: its own and those above it; at the top of the "
        "network, those below.",
    )
    top_k: int | None = Field(
        default=None,
        ge=1,
        description="How many experts a token goes to, all by default; their probabilities are not normalized again.",
    )
    trunk: ModelName | None = Field(
        default=None,
        description="Whose attention, embeddings and norms to use; not needed when the models differ in MLPs only.",
    )

    @model_validator(mode="after")
    def _top_k_fits(self) -> Routing:
        experts = len(self.models) * self.span
        if self.top_k is not None and self.top_k > experts:
            raise ValueError(f"top_k: {self.top_k} is more than the {experts} experts (models times span)")
        return self

    def misfit(self, architecture: Mapping[str, Any]) -> str | None:
        depth = architecture.get("num_hidden_layers")
        if depth is None or self.span <= depth:
            return None
        return f"span: {self.span} reaches for the MLPs of {self.span} blocks, and the models have {depth}"

    def uses_seed(self) -> bool:
        return True

    def build(self, networks: Sequence[Network], trunk: Network | None) -> nn.Module:
        from compat_spec.nn.mixture import route

        return route(networks, router=self.router, span=self.span, top_k=self.top_k, trunk=trunk)
