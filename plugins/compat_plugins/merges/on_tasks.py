"""What merges have in common that look at each model at work on a task of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import Field

from compat_spec.components import MergeStudy, TaskName, TensorMerge
from compat_spec.errors import CompatError
from compat_spec.nn.per_tensor import OnePerModel

if TYPE_CHECKING:
    from torch import Tensor

    from compat_spec.nn.network import Network

V = TypeVar("V")


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

    def look_at(
        self, study: MergeStudy, model: int, network: Network, look: Callable[..., Iterable[tuple[Any, V]]], what: str
    ) -> Iterator[tuple[str, V]]:
        """What `look` finds of the parameters of a model on its task, by what its checkpoint calls them.

        Args:
            look: called with the network, its data, and `sequences`, `context`, `device` and `progress`; gives what it
                finds, parameter by parameter.
            what: it looks for, for the user who waits.
        """
        from compat_spec.nn.parameter_names import parameters_by_tensor

        def tell(done: int, total: int) -> None:
            study.progress(model * total + done, len(self.models) * total, f"{what} of {self.models[model]}")

        task = self.on if isinstance(self.on, TaskName) else self.on[model]
        tensors: dict[int, list[str]] = {}
        for tensor, parameter in parameters_by_tensor(network.module, study.tensors(model)).items():
            tensors.setdefault(id(parameter), []).append(tensor)
        found = look(
            network,
            study.encoded(task, self.split),
            sequences=self.sequences,
            context=self.context,
            device=study.device,
            progress=tell,
        )
        for parameter, value in found:
            for tensor in tensors.get(id(parameter), ()):
                yield tensor, value


def check_squares(what: str, squares: Tensor, tensor: str, model: str) -> None:
    """Refuse squares that are not finite or negative. Raises `CompatError`, naming tensor and model."""
    if not bool(squares.isfinite().all()):
        raise CompatError(f"the {what} of {tensor} of {model} is not finite: the model cannot compute on this task")
    if bool((squares < 0).any()):
        raise CompatError(f"the {what} of {tensor} of {model} is negative, which squares cannot be")
