"""What merges have in common that look at each model at work on a task of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from compat_spec.components import MergeStudy, TaskName, TensorMerge
from compat_spec.errors import CompatError
from compat_spec.nn.per_tensor import OnePerModel

if TYPE_CHECKING:
    from torch import Tensor

    from compat_spec.nn.data import EncodedSplit


class OnTasks(TensorMerge):
    """A merge that reads some sequences with each model."""

    on: Annotated[TaskName | tuple[TaskName, ...], OnePerModel()] = Field(
        description="The task to look at the models on: one for all, or a list with one per model."
    )
    split: str = Field(default="train", description="The split of the task to read.")
    sequences: int = Field(default=256, ge=1, description="How many sequences each model reads, spread over the split.")
    context: int | None = Field(
        default=None, ge=2, description="The longest sequence to read; by default what the network accepts, to 1,024."
    )

    def data(self, study: MergeStudy, model: int) -> EncodedSplit:
        """What one of the models is looked at on."""
        return study.encoded(self.on if isinstance(self.on, TaskName) else self.on[model], self.split)


def check_found(what: str, found: Mapping[str, Tensor], model: str) -> None:
    """Refuse squares, by tensor, that are not finite or negative. Raises `CompatError`, naming tensor and model."""
    for name, squares in found.items():
        if not bool(squares.isfinite().all()):
            raise CompatError(f"the {what} of {name} of {model} is not finite: the model cannot compute on this task")
        if bool((squares < 0).any()):
            raise CompatError(f"the {what} of {name} of {model} is negative, which squares cannot be")
