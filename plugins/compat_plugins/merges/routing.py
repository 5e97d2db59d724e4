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

    Variants: `router: previous` (Hwang et al., 2023, arXiv:2308.12066) and `sequence` (Kudugunta et al., 2021,
    arXiv:2110.03742), `normalize` (Jiang et al., 2024, arXiv:2401.04088), `noise` (Shazeer et al., 2017,
    arXiv:1701.06538), `balance` (Fedus et al., 2021, arXiv:2101.03961), `capacity` (Zhou et al., 2022,
    arXiv:2202.09368). No choice depends on tokens that follow, so that losses are those of a language model: where the
    source's does (`sequence`, `capacity`), the same rule is applied to the text so far. docs/routing.md has them all.
    """

    training: ClassVar[Literal["needed", "possible", "none"]] = "needed"
    routed: ClassVar[bool] = True
    version: ClassVar[str] = "2"

    router: Literal["per_block", "shared", "previous", "sequence"] = Field(
        default="per_block",
        description="A router in each block; one that is shared: its choice at the first block serves all blocks; in "
        "each block one that reads what the block before it read (previous), or the mean over the text so far "
        "(sequence).",
    )
    experts: Literal["mlp", "attention", "both"] = Field(
        default="mlp",
        description="What is mixed: the models' MLPs, their attentions, or both, each with routers of their own.",
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
        description="How many experts a token goes to, all by default; their probabilities stay as they are, unless "
        "`normalize` is set.",
    )
    normalize: bool = Field(
        default=False, description="Whether the probabilities of the `top_k` experts are divided by their sum."
    )
    noise: bool = Field(
        default=False,
        description="In training, noise of a trained size on the routers' scores, so that other experts among the "
        "`top_k` are tried.",
    )
    balance: float = Field(
        default=0.0,
        ge=0,
        allow_inf_nan=False,
        description="The weight of a loss for equal loads, added in training for each router; 0.01 is usual.",
    )
    capacity: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="Experts choose tokens: each takes about capacity / experts of those of a text, at every point of "
        "it those so far to which its router gives it the largest probabilities.",
    )
    trunk: ModelName | None = Field(
        default=None,
        description="Whose other parts to use, such as embeddings and norms; not needed when the models differ in what "
        "is mixed only.",
    )

    @model_validator(mode="after")
    def _experts_or_tokens_choose(self) -> Routing:
        if self.capacity is None:
            return self
        for name in ("top_k", "normalize", "noise", "balance"):
            if getattr(self, name):
                raise ValueError(f"with capacity the experts choose tokens: leave out {name}")
        if self.router == "sequence":
            raise ValueError("with capacity each token is chosen by itself: router cannot be sequence")
        if self.capacity > self._experts():
            raise ValueError(
                f"capacity: {self.capacity:g} is more than the {self._experts()} experts: all take all then"
            )
        return self

    @model_validator(mode="after")
    def _top_k_fits(self) -> Routing:
        experts = self._experts()
        if self.top_k is not None and self.top_k > experts:
            raise ValueError(f"top_k: {self.top_k} is more than the {experts} experts (models times span)")
        if self.normalize and self.top_k == 1:
            raise ValueError("normalize with top_k: 1 makes every weight 1, and routers learn nothing; take 2 or more")
        if self.noise and (self.top_k is None or self.top_k == experts):
            raise ValueError(f"noise is on the choice of experts: give a top_k that is less than the {experts} experts")
        return self

    @model_validator(mode="after")
    def _attentions_stay_in_their_block(self) -> Routing:
        if self.experts != "mlp" and self.span > 1:
            raise ValueError(f"span: {self.span} is for MLPs: leave it out with experts: {self.experts}")
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

        return route(
            networks,
            router=self.router,
            span=self.span,
            top_k=self.top_k,
            normalize=self.normalize,
            capacity=self.capacity,
            noise=self.noise,
            balance=self.balance,
            parts=self.experts,
            trunk=trunk,
        )

    def _experts(self) -> int:
        return len(self.models) * self.span
