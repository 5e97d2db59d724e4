"""The `activation_interpolation` merge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, FiniteFloat, model_validator

from compat_spec.components import ModelName, ModuleMerge

if TYPE_CHECKING:
    from torch import nn

    from compat_spec.nn.network import Network

_Share = Annotated[float, Field(ge=0, le=1)]


class ActivationInterpolation(ModuleMerge):
    """Adds up the outputs of the models' MLPs in every block, with constant weights.

    Pari et al., "Collective Model Intelligence Requires Compatible Specialization", 2024, arXiv:2411.02207.
    """

    training: ClassVar[Literal["needed", "possible", "none"]] = "none"
    sweeps: ClassVar[bool] = True

    alpha: _Share | tuple[_Share, ...] | None = Field(
        default=None,
        description="For two models: the weight of the first; the second has 1 - alpha. A number, or a list with one "
        "per block. 0.5 by default.",
    )
    weight: tuple[FiniteFloat | tuple[FiniteFloat, ...], ...] | None = Field(
        default=None,
        description="For any number of models: the weight of each, a number or a list with one per block; they are not "
        "normalized. Equal weights that add up to 1 by default.",
    )
    trunk: ModelName | None = Field(
        default=None,
        description="Whose attention, embeddings and norms to use; not needed when the models differ in MLPs only.",
    )

    @model_validator(mode="after")
    def _one_way_to_weigh(self) -> ActivationInterpolation:
        if self.alpha is not None and self.weight is not None:
            raise ValueError("give alpha or weight, not both")
        if self.alpha is not None and len(self.models) != 2:
            raise ValueError(f"alpha is for two models, and there are {len(self.models)}; give weight instead")
        if self.weight is not None and len(self.weight) != len(self.models):
            raise ValueError(f"{len(self.weight)} weights for {len(self.models)} models; give one per model")
        return self

    def misfit(self, architecture: Mapping[str, Any]) -> str | None:
        depth = architecture.get("num_hidden_layers")
        lists = [given for given in self._weights() if isinstance(given, Sequence)]
        wrong = next((given for given in lists if depth not in (None, len(given))), None)
        if wrong is None:
            return None
        return f"{len(wrong)} weights are given, one per block, and the models have {depth} blocks"

    def build(self, networks: Sequence[Network], trunk: Network | None) -> nn.Module:
        from compat_spec.nn.mixture import interpolate

        return interpolate(networks, self._weights(), trunk)

    @classmethod
    def build_together(cls, merges: Sequence[Self], networks: Sequence[Network], trunk: Network | None) -> nn.Module:
        from compat_spec.nn.interpolation_sweep import interpolate_together

        return interpolate_together(networks, [merge._weights() for merge in merges], trunk)

    def _weights(self) -> Sequence[float | Sequence[float]]:
        if self.weight is not None:
            return self.weight
        if self.alpha is None:
            return [1 / len(self.models)] * len(self.models)
        if isinstance(self.alpha, tuple):
            return self.alpha, [1 - share for share in self.alpha]
        return self.alpha, 1 - self.alpha
