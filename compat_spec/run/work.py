"""The work of one step: finds what computes it, and turns what that writes into an artifact."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from compat_spec.components import JobReport
from compat_spec.nn.windows import noting_halved_batches
from compat_spec.plan import Step, StepKind
from compat_spec.run.comparing import compare
from compat_spec.run.examples import encode_task, make_examples, make_tokenizer
from compat_spec.run.measuring import measure
from compat_spec.run.merging import merge_models
from compat_spec.run.provenance import Cost, versions
from compat_spec.run.training import make_source, train_model
from compat_spec.run.workspace import Workspace

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


def run_step(step: Step, workspace: Workspace, device: str) -> JobReport:
    """Compute a step; its artifact is in the store afterwards."""
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
