"""The `regmean` merge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from compat_plugins.merges.on_tasks import OnTasks, check_squares
from compat_spec.components import MergeStudy
from compat_spec.nn.per_tensor import PerTensor, TensorPlace

if TYPE_CHECKING:
    from torch import Tensor


class RegMean(OnTasks):
    """Linear layers that answer most like those of the models, each on the inputs that it has on its task.

    A least-squares fit in closed form, from the Gram matrices of the inputs; where the inputs do not determine a
    weight, the fit that is nearest to the mean of the models. All that is no weight of a linear layer, or is shared
    with another layer (a head that is tied to the embeddings), is averaged.

    Jin, Ren, Preotiuc-Pietro, Cheng, "Dataless Knowledge Fusion by Merging Weights of Language Models", 2022,
    arXiv:2212.09849.
    """

    alpha: PerTensor[Annotated[float, Field(ge=0, le=1)]] = Field(
        default=0.9, description="The factor of the Gram matrices' entries off the diagonal; 1 leaves them as they are."
    )

    def study(self, study: MergeStudy) -> Mapping[str, Tensor]:
        return study.put_aside(self._grams(study))

    def _grams(self, study: MergeStudy) -> Iterator[tuple[str, Tensor]]:
        from compat_spec.nn.gram import input_grams

        for model, name in enumerate(self.models):
            grams = self.look_at(study, model, study.network(model), input_grams, "inputs of the layers")
            for tensor, gram in grams:
                check_squares("Gram matrix of the inputs", gram.matrix.diagonal(), tensor, name)
                yield _key(model, gram.axis, tensor), gram.matrix

    def combine(self, tensors: Sequence[Tensor], base: Tensor | None, *, at: TensorPlace) -> Tensor:
        from compat_spec.nn.averages import mean
        from compat_spec.nn.gram import InputGram, regression_mean

        for axis in (0, 1):
            keys = [_key(model, axis, at.name) for model in range(len(tensors))]
            if all(key in at.found for key in keys):
                grams = (InputGram(at.found[key], axis) for key in keys)
                return regression_mean(tensors, grams, at.value(self.alpha))
        return mean(tensors)


def _key(model: int, axis: int, tensor: str) -> str:
    return f"{model}:{axis}:{tensor}"
