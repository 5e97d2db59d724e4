"""Steps that measure: the scores of a network on a task."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

from compat_spec.components import Example, ModelMetric, Task
from compat_spec.errors import CompatError, InterruptedRun
from compat_spec.nn.data import EncodedSplit
from compat_spec.nn.evaluation import TokenScores, token_scores_together
from compat_spec.nn.network import Network
from compat_spec.plan import ComponentCall, Step
from compat_spec.run.calls import component_of
from compat_spec.run.examples import read_examples, read_tokens
from compat_spec.run.measured import SCORES
from compat_spec.run.workspace import Workspace
from compat_spec.store import ArtifactRef


class StepEvaluation:
    """The `Evaluation` of one step: its network and task, with costly things shared between the steps of a process."""

    def __init__(self, step: Step, workspace: Workspace, device: str) -> None:
        self.device = device
        self._step = step
        self._workspace = workspace

    @cached_property
    def network(self) -> Network:
        return self._workspace.networks.open(self._step.inputs["network"], self.device)

    @cached_property
    def task(self) -> Task:
        return component_of(ComponentCall("compat.tasks", **self._step.settings["task"]), Task)

    def examples(self, split: str) -> Sequence[Example]:
        return read_examples(self._workspace.store.path(self._step.inputs["task"]), split)

    def encoded(self, split: str) -> EncodedSplit:
        return read_tokens(self._workspace.store.path(self._step.inputs["tokens"]), split)

    def token_scores(self, split: str, tokens: int | None, context: int | None) -> TokenScores:
        alone: dict[str, Any] = {self._step.inputs["network"].fingerprint: {}}
        together = dict(self._step.settings.get("together", alone))
        try:
            return self._scores_among(together, split, tokens, context)
        except InterruptedRun:
            raise
        except CompatError:
            if len(together) == 1:
                raise
            # another one may not fit its networks, or all at once be too much for the memory
            return self._scores_among(alone, split, tokens, context)

    def _scores_among(
        self, together: Mapping[str, Any], split: str, tokens: int | None, context: int | None
    ) -> TokenScores:
        """The scores of this step's network, which is read beside others. `together` is as the plan has it."""
        own = self._step.inputs["network"]

        def make() -> list[TokenScores]:
            networks = self._workspace.networks
            return token_scores_together(
                self.network
                if len(together) == 1
                else networks.compose_together(own, list(together.values()), self.device),
                len(together),
                self.encoded(split),
                tokens=tokens,
                context=context,
                device=self.device,
                progress=self.progress,
            )

        keys = [
            (ArtifactRef(network), self._step.inputs["tokens"], split, tokens, context, self.device)
            for network in together
        ]
        mine = keys[list(together).index(own.fingerprint)]
        return self._workspace.token_scores.get_among(keys, mine, make)

    def progress(self, done: int, total: int, note: str = "") -> None:
        self._workspace.link.tell(self._step.fingerprint, done, total, note)
        self._workspace.stop_here()


def measure(step: Step, workspace: Workspace, device: str, folder: Path) -> dict[str, Any]:
    """Score a network on a task: `scores.json`."""
    metric = component_of(step.component, ModelMetric)
    scores = metric.measure(StepEvaluation(step, workspace, device))
    rows = [asdict(score) for score in scores]
    for row in rows:
        if not row["examples"]:
            del row["examples"]
    (folder / SCORES).write_text(json.dumps({"split": metric.split, "scores": rows}), "utf-8")
    return {}
