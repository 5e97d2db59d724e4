"""The `fisher` merge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, FiniteFloat, model_validator

from compat_plugins.merges.on_tasks import OnTasks, check_squares
from compat_plugins.merges.weights import check_sum, shares
from compat_spec.components import MergeStudy
from compat_spec.nn.per_tensor import PerModel, TensorPlace

if TYPE_CHECKING:
    from torch import Tensor


class Fisher(OnTasks):
    """The average of the models, each parameter weighted by how sharply a model's task determines it.

    That is the diagonal of the empirical Fisher information: the mean over sequences of the squared gradient of the
    log-likelihood of a sequence's scored tokens. Tensors that are no parameters are averaged by the weights alone.

    Matena and Raffel, "Merging Models with Fisher-Weighted Averaging", 2021, arXiv:2111.09832.
    """

    unit = "entry"

    weight: PerModel[Annotated[FiniteFloat, Field(ge=0)]] = Field(
        default=1.0, description="How much each model counts: one number for all, or one per model."
    )
    floor: Annotated[FiniteFloat, Field(gt=0)] = Field(
        default=1e-6,
        description="The least Fisher information: where all have less, the weights alone decide.",
    )

    @model_validator(mode="after")
    def _weights_fit(self) -> Fisher:
        check_sum(self.weight)
        return self

    def study(self, study: MergeStudy) -> Mapping[str, Tensor]:
        return study.put_aside(self._fishers(study))

    def _fishers(self, study: MergeStudy) -> Iterator[tuple[str, Tensor]]:
        from compat_spec.nn.fisher import diagonal_fisher

        what = "Fisher information"
        for model, name in enumerate(self.models):
            for tensor, fisher in self.look_at(study, model, study.copy(model), diagonal_fisher, what):
                check_squares(what, fisher, tensor, name)
                yield _key(model, tensor), fisher

    def combine(self, tensors: Sequence[Tensor], base: Tensor | None, *, at: TensorPlace) -> Tensor:
        from compat_spec.nn.aside import read_piece
        from compat_spec.nn.averages import weighted_average

        weights = shares(at.values(self.weight, len(tensors)), at)
        keys = [_key(model, at.name) for model in range(len(tensors))]
        if keys[0] not in at.found:
            return weighted_average(tensors, weights)
        first = tensors[0]
        here = at.start, at.start + first.numel()
        fishers = [
            weight * read_piece(at.found, key, *here).to(first).clamp(min=self.floor)
            for weight, key in zip(weights, keys, strict=True)
        ]
        total = sum(fishers[1:], fishers[0])
        # as the first plus differences from it, so that equal tensors come out exactly
        average = first.clone()
        for tensor, fisher in zip(tensors[1:], fishers[1:], strict=True):
            average.addcmul_(tensor - first, fisher / total)
        return average


def _key(model: int, tensor: str) -> str:
    return f"{model}:{tensor}"
