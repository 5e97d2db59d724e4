"""The merge `consensus`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, FiniteFloat, model_validator

from compat_spec.components import ModelName, TensorMerge
from compat_spec.nn.per_tensor import PerModel, PerTensor, TensorPlace

if TYPE_CHECKING:
    from torch import Tensor


class Consensus(TensorMerge):
    """Adds the sum of the models' changes to their base, but only in those entries that matter to several models.

    An entry matters to a model when its own change there is at least `selective` times as large as what the sum differs
    from it by. Wang et al., "Localizing Task Information for Improved Model Merging and Compression", 2024,
    arXiv:2405.07813: TALL-masks and Consensus Merging.
    """

    unit = "entry"

    base: ModelName = Field(description="The model that the others were fine-tuned from.")
    selective: PerModel[Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(
        default=0.4,
        description="The lambda of the masks: how strict it is about what matters to a model, one number for all or "
        "one per model; with 0 everything does.",
        examples=[[0.2, 0.6]],
    )
    agreement: int = Field(default=2, ge=1, description="To how many models an entry must matter to be changed at all.")
    scale: PerTensor[FiniteFloat] = Field(
        default=1.0, description="What the sum of the changes is multiplied with before it is added to the base."
    )

    @model_validator(mode="after")
    def _enough_can_agree(self) -> Consensus:
        if self.agreement > len(self.models):
            raise ValueError(
                f"{self.agreement} models cannot agree where there are {len(self.models)}: lower agreement"
            )
        return self

    def combine(self, tensors: Sequence[Tensor], base: Tensor | None, *, at: TensorPlace) -> Tensor:
        from compat_spec.nn.task_vectors import task_vector

        assert base is not None  # there is one wherever the class has a field of this name
        changes = [task_vector(tensor, base) for tensor in tensors]
        total = sum(changes[1:], start=changes[0])
        strictness = at.values(self.selective, len(tensors))
        matters = [
            change.abs() >= strict * (total - change).abs() for change, strict in zip(changes, strictness, strict=True)
        ]
        agree = sum((mask.int() for mask in matters[1:]), start=matters[0].int())
        return base + at.value(self.scale) * total * (agree >= self.agreement)
