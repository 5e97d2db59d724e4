"""What a run writes into the results, and what can be read back of a run, as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias

StepStatus: TypeAlias = Literal["computed", "reused", "failed", "skipped"]
FinalStatus: TypeAlias = Literal["finished", "failed", "interrupted"]
RunStatus: TypeAlias = Literal["running", "finished", "failed", "interrupted", "died"]
"""`died`: the run still says that it is running, but its process is gone."""

Role: TypeAlias = str
"""`base`, `expert`, `fine-tuned` or `merge`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRow:
    """A model or merge of the spec."""

    name: str
    role: Role
    use: str | None = None
    parent: str | None = None
    experts: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRow:
    """A task of the spec. `fingerprint` is that of the step which makes its examples."""

    name: str
    use: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    fingerprint: str | None = None
    examples: Mapping[str, int] = field(default_factory=dict)
    """How many examples each split has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """What is known of a run before its first step.

    `parameters` are the names of the swept parameters, each of which becomes a column of the views. Scores and
    similarities may speak only of `models` and `tasks` that are listed here.
    """

    experiment: str
    spec_text: str
    spec_path: str
    command: str
    versions: Mapping[str, str]
    commit: str | None
    host: str
    device: str
    executor: str
    parameters: tuple[str, ...]
    models: Sequence[ModelRow]
    tasks: Sequence[TaskRow]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRow:
    """How a step of a run went. `started` carries its time zone.

    Of a step that is reused, `started`, `host`, `device` and the memory are those of the run that computed it, and what
    it cost is in its `facts`: this run spent no `seconds` on it.
    """

    fingerprint: str
    kind: str
    label: str
    status: StepStatus
    seconds: float | None = None
    cpu_seconds: float | None = None
    host: str | None = None
    device: str | None = None
    started: datetime | None = None
    error: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    peak_bytes: int | None = None
    """The largest size of the process that computed it."""
    gpu_peak_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRow:
    """One number about one model or merge on one task; `fingerprint` names the step that found it."""

    fingerprint: str
    metric: str
    quantity: str
    task: str
    split: str
    model: str
    training_step: int | None
    seed: int
    value: float
    n: int | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    block: int | None = None
    other_block: int | None = None
    expert: int | None = None
    token_class: str | None = None
    examples: Sequence[tuple[int, float, float]] = ()
    """The examples of which it is the weighted mean: the place in the split, the value and the weight of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimilarityRow:
    """One number about a layer of one model and a layer of another; `measure` is the `use:` of the metric."""

    fingerprint: str
    metric: str
    measure: str
    quantity: str
    task: str
    model_a: str
    model_b: str
    step_a: int | None
    step_b: int | None
    layer_a: int
    layer_b: int
    seed: int
    value: float
    se: float | None = None
    n: int | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundScore:
    """A number about a whole model or merge on a task, as the results know it; `key` asks for its examples."""

    key: int
    metric: str
    quantity: str
    task: str
    split: str
    model: str
    training_step: int | None
    parameters: Mapping[str, Any]
    seed: int
    value: float
    """NaN where the metric found no number."""
    n: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run as the results know it. Times are in UTC and carry their time zone."""

    id: str
    experiment: str
    status: RunStatus
    started: datetime
    finished: datetime | None
    error: str | None
    spec_text: str
    spec_path: str
    command: str
    versions: Mapping[str, str]
    commit: str | None
    host: str
    device: str
    executor: str
    parameters: tuple[str, ...]
    steps: Mapping[str, int]
    """How many steps have each status."""

    @property
    def seconds(self) -> float | None:
        """How long it took; None while it runs, or when it died."""
        return (self.finished - self.started).total_seconds() if self.finished else None


@dataclass(frozen=True, slots=True)
class Table:
    """The answer to a query."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
