"""What a merge is given to look at before it merges: its models at work, their tensors, the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from compat_spec.components import TaskName
from compat_spec.nn.data import EncodedSplit
from compat_spec.nn.merging import Model
from compat_spec.nn.network import Network
from compat_spec.plan import Step
from compat_spec.run.examples import read_tokens
from compat_spec.run.workspace import Workspace


class StepStudy:
    """The `MergeStudy` of one step.

    Attributes:
        facts: what the merge recorded.
    """

    def __init__(
        self, step: Step, workspace: Workspace, device: str, models: Sequence[Model], base: Model | None
    ) -> None:
        self.seed = step.seed or 0
        self.device = device
        self._step = step
        self._workspace = workspace
        self._models = models
        self._base = base
        self.facts: dict[str, Any] = {}

    def network(self, model: int) -> Network:
        return self._workspace.networks.open(self._step.inputs[f"expert:{model}"], self.device)

    def copy(self, model: int) -> Network:
        return self._workspace.networks.fresh(self._step.inputs[f"expert:{model}"], self.device)

    def tensors(self, model: int | None) -> Mapping[str, Tensor]:
        if model is not None:
            return self._models[model].tensors
        assert self._base is not None, "this merge has no base"
        return self._base.tensors

    def encoded(self, task: TaskName, split: str) -> EncodedSplit:
        return read_tokens(self._workspace.store.path(self._step.inputs[f"tokens:{task}"]), split)

    def progress(self, done: int, total: int, note: str = "") -> None:
        self._workspace.link.tell(self._step.fingerprint, done, total, note)
        self._workspace.stop_here()

    def record(self, **facts: float | int | str | Sequence[Any]) -> None:
        self.facts.update(facts)
