"""What a merge is given to look at before it merges: its models at work, their tensors, the data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from compat_spec.components import TaskName
from compat_spec.errors import CompatError
from compat_spec.nn.aside import TensorsAside
from compat_spec.nn.data import EncodedSplit
from compat_spec.nn.merging import TensorMerging
from compat_spec.nn.weights import Weights
from compat_spec.plan import Step

if TYPE_CHECKING:
    from compat_spec.nn.network import Network
    from compat_spec.run.workspace import Workspace


Progress = Callable[[int, int, str], None]


class TensorStudy:
    """The `MergeStudy` of a merge that looks at tensors alone.

    Args:
        places: where the models lie, by the names in the merge's `models`.
        folder: where there is room for what is put aside.

    Attributes:
        facts: what the merge recorded.
    """

    def __init__(
        self,
        merging: TensorMerging,
        places: Mapping[str, Weights],
        folder: Path,
        *,
        seed: int,
        device: str,
        progress: Progress,
    ) -> None:
        self._places = places
        self._folder = folder
        self.seed = seed
        self.device = device
        self.facts: dict[str, Any] = {}
        self._merging = merging
        self._progress = progress

    def config(self, model: int) -> Any:
        from transformers import AutoConfig  # it takes seconds

        name = self._merging.models[model].name
        try:
            return AutoConfig.from_pretrained(self._places[name].place)
        except (OSError, ValueError, KeyError) as error:
            raise CompatError(f"{name} has no config that transformers knows: {error}") from error

    def network(self, model: int) -> Network:
        raise CompatError(f"{self._merging.models[model].name} cannot be run here: only its tensors are open")

    def copy(self, model: int) -> Network:
        return self.network(model)

    def tensors(self, model: int | None) -> Mapping[str, Tensor]:
        if model is not None:
            return self._merging.models[model].tensors
        assert self._merging.base is not None, "this merge has no base"
        return self._merging.base.tensors

    def encoded(self, task: TaskName, split: str) -> EncodedSplit:
        raise CompatError(f"the task {task} cannot be read here: only tensors are open")

    def put_aside(self, tensors: Iterable[tuple[str, Tensor]]) -> TensorsAside:
        return TensorsAside(self._folder, tensors)

    def progress(self, done: int, total: int, note: str = "") -> None:
        self._progress(done, total, note)

    def record(self, **facts: float | int | str | Sequence[Any]) -> None:
        self.facts.update(facts)


class StepStudy(TensorStudy):
    """The `MergeStudy` of a step, which has networks and data."""

    def __init__(
        self,
        step: Step,
        workspace: Workspace,
        device: str,
        merging: TensorMerging,
        places: Mapping[str, Weights],
        folder: Path,
        progress: Progress,
    ) -> None:
        super().__init__(merging, places, folder, seed=step.seed or 0, device=device, progress=progress)
        self._step = step
        self._workspace = workspace

    def network(self, model: int) -> Network:
        return self._workspace.networks.open(self._step.inputs[f"expert:{model}"], self.device)

    def copy(self, model: int) -> Network:
        return self._workspace.networks.fresh(self._step.inputs[f"expert:{model}"], self.device)

    def encoded(self, task: TaskName, split: str) -> EncodedSplit:
        from compat_spec.run.examples import read_tokens

        return read_tokens(self._workspace.store.path(self._step.inputs[f"tokens:{task}"]), split)
