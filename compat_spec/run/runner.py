"""Runs one step: finds what computes it, and turns what that writes into an artifact."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from compat_spec.components import Job, JobReport, Link
from compat_spec.nn.windows import noting_halved_batches
from compat_spec.plan import Step, StepKind
from compat_spec.run.examples import encode_task, make_examples, make_tokenizer
from compat_spec.run.measuring import compare, measure
from compat_spec.run.merging import merge_models
from compat_spec.run.provenance import Cost, versions
from compat_spec.run.training import make_source, train_model
from compat_spec.run.workspace import Workspace
from compat_spec.store import Store

Work = Callable[[Step, Workspace, str, Path], dict[str, Any]]
"""Computes a step on a device into an empty folder; returns facts for the results."""

WORK: Mapping[StepKind, Work] = {
    StepKind.TASK: make_examples,
    StepKind.TOKENIZER: make_tokenizer,
    StepKind.SOURCE: make_source,
    StepKind.ENCODE: encode_task,
    StepKind.TRAIN: train_model,
    StepKind.MERGE: merge_models,
    StepKind.MEASURE: measure,
    StepKind.COMPARE: compare,
}


class StepRunner:
    """The `JobRunner` of a store. A copy in another process has a workspace of its own there."""

    def __init__(self, store: Path, checkpoint_every: float) -> None:
        self._store = store
        self._checkpoint_every = checkpoint_every
        self._workspace: Workspace | None = None

    def __reduce__(self) -> tuple[type[StepRunner], tuple[Path, float]]:
        return StepRunner, (self._store, self._checkpoint_every)

    def __call__(self, job: Job, device: str, link: Link) -> JobReport:
        if self._workspace is None:
            self._workspace = Workspace(Store(self._store), link, self._checkpoint_every)
        self._workspace.link = link
        return self._run(Step.from_data(job.payload), self._workspace, device)

    def _run(self, step: Step, workspace: Workspace, device: str) -> JobReport:
        workspace.check_inputs(step)
        facts: dict[str, Any] = {}
        cost = Cost(device)
        writing = workspace.store.writing(step.fingerprint, step.kind.value, step.label, facts, step.content)
        with writing as folder, noting_halved_batches() as halved:
            facts |= WORK[step.kind](step, workspace, device, folder)
            facts |= cost.facts() | {"versions": versions([step])}
            if halved:  # the device had no memory for more
                facts["batch_tokens"] = halved[-1]
        workspace.checked.add(step.fingerprint)
        return JobReport(seconds=cost.seconds(), facts=facts)
