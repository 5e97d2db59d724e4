"""Runs one step: finds what computes it, and turns what that writes into an artifact."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from compat_spec.components import Job, JobReport, Link
from compat_spec.plan import Step, StepKind
from compat_spec.run.devices import peak_memory, reset_peak_memory
from compat_spec.run.examples import encode_task, make_examples, make_tokenizer
from compat_spec.run.measuring import compare, measure
from compat_spec.run.merging import merge_models
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

    def __init__(self, store: Store, checkpoint_every: float) -> None:
        self._store = store
        self._checkpoint_every = checkpoint_every
        self._workspace: Workspace | None = None

    def __reduce__(self) -> tuple[type[StepRunner], tuple[Store, float]]:
        return StepRunner, (self._store, self._checkpoint_every)

    @property
    def anywhere(self) -> bool:
        return self._store.anywhere

    def __call__(self, job: Job, device: str, link: Link) -> JobReport:
        if self._workspace is None:
            self._workspace = Workspace(self._store, link, self._checkpoint_every)
        self._workspace.link = link
        return self._run(Step.from_data(job.payload), self._workspace, device)

    def _run(self, step: Step, workspace: Workspace, device: str) -> JobReport:
        workspace.check_inputs(step)
        facts: dict[str, Any] = {}
        reset_peak_memory(device)
        started, cpu_started = time.monotonic(), time.process_time()
        with workspace.store.writing(step.fingerprint, step.kind.value, step.label, facts) as folder:
            facts |= WORK[step.kind](step, workspace, device, folder)
            facts |= {"cpu_seconds": round(time.process_time() - cpu_started, 3), "peak_bytes": peak_memory(device)}
        workspace.checked.add(step.fingerprint)
        return JobReport(seconds=time.monotonic() - started, device=device, facts=facts)
