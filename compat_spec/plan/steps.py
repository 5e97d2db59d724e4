"""What a plan consists of: steps, and the measurements that some of them give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any

from compat_spec.components import Component
from compat_spec.store import ArtifactRef

SMALL_STEP = 6_000
"""What a step that trains nothing costs, on the scale of `Step.work`."""


class StepKind(StrEnum):
    """What a step makes, in the order in which an experiment needs it."""

    TASK = "task"
    TOKENIZER = "tokenizer"
    SOURCE = "source"
    ENCODE = "encode"
    TRAIN = "train"
    MERGE = "merge"
    MEASURE = "measure"
    COMPARE = "compare"


@dataclass(frozen=True, slots=True)
class ComponentCall:
    """A component with its parameters, as data: `namespace` and `use` find the class again in another process."""

    namespace: str
    use: str
    params: Mapping[str, Any]

    @classmethod
    def of(cls, use: str, component: Component) -> ComponentCall:
        return cls(component.namespace, use, component.model_dump(mode="json"))


@dataclass(frozen=True, slots=True)
class Step:
    """A pure function of its component, seed and inputs; the result is the artifact `fingerprint`.

    Attributes:
        inputs: artifacts by role: `parent`, `tokenizer`, `network`, `a`, `b`, `expert:0`, `model:NAME`, `task:NAME`,
            `tokens:NAME`.
        component: what computes it; None for steps of the engine's own (encoding).
        trainer: what trains the routers of a merge.
        settings: what else it has to know. What changes the result is in `content`, too.
        tokens: how many tokens it trains on, when that is known.
        content: what the fingerprint is the hash of, kept with the artifact so that a later change can be explained.
    """

    fingerprint: str
    kind: StepKind
    label: str
    inputs: Mapping[str, ArtifactRef]
    component: ComponentCall | None = None
    trainer: ComponentCall | None = None
    seed: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    tokens: int | None = None
    content: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def use(self) -> str:
        return self.component.use if self.component else ""

    @property
    def work(self) -> int:
        """A rough measure of its cost, in tokens that pass through a network: backward counts twice."""
        return 3 * self.tokens if self.tokens else SMALL_STEP

    def needs(self) -> set[str]:
        """The fingerprints of the steps that must be done before."""
        return {ref.fingerprint for ref in self.inputs.values()}

    def to_data(self) -> dict[str, Any]:
        """As JSON-able data, to cross a process or a network."""
        parts = {name: asdict(call) if (call := getattr(self, name)) else None for name in ("component", "trainer")}
        inputs = {role: asdict(ref) for role, ref in self.inputs.items()}
        return {one.name: getattr(self, one.name) for one in fields(self)} | parts | {"inputs": inputs}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Step:
        calls = {part: ComponentCall(**data[part]) for part in ("component", "trainer") if data[part] is not None}
        inputs = {role: ArtifactRef(**ref) for role, ref in data["inputs"].items()}
        return cls(**{**data, **calls, "inputs": inputs, "kind": StepKind(data["kind"])})


@dataclass(frozen=True, slots=True)
class Measurement:
    """What the rows that a step gives are about. One step may serve several: seeds that it does not depend on."""

    fingerprint: str
    metric: str
    use: str
    quantity: str
    task: str
    seed: int
    parameters: Mapping[str, Any]
    model: str | None = None
    training_step: int | None = None
    between: tuple[str, str] | None = None
    training_steps: tuple[int | None, int | None] = (None, None)


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model or merge of the spec, for the results. `role` is base, expert, fine-tuned or merge."""

    name: str
    role: str
    use: str | None
    parent: str | None
    experts: tuple[str, ...]
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TaskInfo:
    """A task of the spec, for the results, and the step that makes its examples."""

    name: str
    use: str
    parameters: Mapping[str, Any]
    fingerprint: str


@dataclass(frozen=True)
class Plan:
    """An experiment as a graph of steps.

    Attributes:
        steps: by fingerprint; a step comes after everything that it needs.
        measurements: by the fingerprint of the step that makes them.
        parameters: the names of the swept parameters, as columns of the results.
    """

    experiment: str
    spec_text: str
    spec_path: str
    steps: Mapping[str, Step]
    measurements: Mapping[str, tuple[Measurement, ...]]
    models: tuple[ModelInfo, ...]
    tasks: tuple[TaskInfo, ...]
    parameters: tuple[str, ...]

    def results(self) -> list[str]:
        """The steps whose results nothing else uses: what the run is for."""
        used = {fingerprint for step in self.steps.values() for fingerprint in step.needs()}
        return [fingerprint for fingerprint in self.steps if fingerprint not in used]
