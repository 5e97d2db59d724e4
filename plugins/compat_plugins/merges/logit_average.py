"""The `logit_average` merge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from compat_spec.components import ModuleMerge

if TYPE_CHECKING:
    from torch import nn

    from compat_spec.nn.network import Network


class LogitAverage(ModuleMerge):
    """Runs the models side by side and averages their predictions of the next token.

    The average of probabilities is the linear opinion pool, that of logits the logarithmic one: Genest and Zidek,
    "Combining Probability Distributions: A Critique and an Annotated Bibliography", 1986.
    """

    compares: ClassVar[frozenset[str] | None] = frozenset({"tokenizer", "vocab_size", "vocabulary"})
    training: ClassVar[Literal["needed", "possible", "none"]] = "none"

    space: Literal["probabilities", "logits"] = Field(default="probabilities", description="What is averaged.")
    weight: tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...] | None = Field(
        default=None,
        description="One per model, divided by their sum; equal weights by default.",
        examples=[[0.7, 0.3]],
    )

    @model_validator(mode="after")
    def _weights_fit(self) -> LogitAverage:
        if self.weight is None:
            return self
        if len(self.weight) != len(self.models):
            raise ValueError(f"{len(self.weight)} weights for {len(self.models)} models; give one per model")
        if sum(self.weight) == 0:
            raise ValueError("all weights are zero; at least one model must count")
        return self

    def build(self, networks: Sequence[Network], trunk: Network | None) -> nn.Module:
        from compat_spec.nn.ensemble import Ensemble

        return Ensemble(networks, self.weight or (1.0,) * len(networks), self.space)
