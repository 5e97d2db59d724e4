"""Sinks: where what a run finds is passed on to."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from compat_spec.components.component import Component


@dataclass(frozen=True, slots=True, kw_only=True)
class StartedRun:
    """A run as it begins. `spec` is the whole spec, as YAML; `models` has the role of each model and merge."""

    id: str
    experiment: str
    spec: str
    spec_path: str
    command: str
    seeds: tuple[int, ...]
    parameters: tuple[str, ...]
    """The names of the swept parameters."""
    models: Mapping[str, str]
    tasks: tuple[str, ...]
    versions: Mapping[str, str]
    commit: str | None
    host: str
    device: str
    executor: str
    started: datetime
    """With its time zone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedStep:
    """A step of the plan that ended, as the table `steps` has it; of one that is reused, `seconds` is None."""

    fingerprint: str
    kind: str
    label: str
    status: Literal["computed", "reused", "failed", "skipped"]
    seconds: float | None
    device: str | None
    error: str | None
    facts: Mapping[str, Any]

    def curves(self) -> dict[str, list[tuple[int, float]]]:
        """What a training recorded as it went (`loss=[…]`), by name: the training step, from 1, and the value there.

        A list with fewer entries than there were steps has means over stretches of equal length; each stands at the
        end of its stretch.
        """
        steps = self.facts.get("steps")
        if not isinstance(steps, int):
            return {}
        return {
            name: [(steps * (i + 1) // len(values), value) for i, value in enumerate(values)]
            for name, values in self.facts.items()
            if isinstance(values, list | tuple) and values and all(isinstance(value, int | float) for value in values)
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredScore:
    """A number about a model or merge on a task, with the columns of the view `all_scores`."""

    merge: str
    role: str
    task: str
    split: str
    metric: str
    quantity: str
    seed: int
    step: int | None
    """The training step at which the model, or the experts of the merge, stand."""
    parameters: Mapping[str, Any]
    """The swept parameters of this point."""
    value: float
    n: int | None
    block: int | None
    other_block: int | None
    expert: int | None
    token_class: str | None
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredSimilarity:
    """A number about a layer of model `a` and a layer of `b`, with the columns of the view `all_similarities`."""

    metric: str
    measure: str
    quantity: str
    task: str
    a: str
    b: str
    step_a: int | None
    step_b: int | None
    layer_a: int
    layer_b: int
    seed: int
    parameters: Mapping[str, Any]
    value: float
    se: float | None
    n: int | None
    fingerprint: str

    @property
    def step(self) -> int | None:
        """The training step of both, where they have the same."""
        return self.step_a if self.step_a == self.step_b else None


class Sink(Component):
    """Passes on what a run finds, as it finds it, to a service or a file of another tool.

    A run calls `check` before anything is computed. Then, in a thread of their own, one after the other: `begin`;
    as steps end, `step`, and after it `scores` or `similarities` when the step measured something; at last `end`, also
    when the run failed or was interrupted. `compat send` makes the same calls for a run of the past.

    The run never waits for a sink: the results are the truth, and what a sink gets is a copy. A sink that raises is
    left out from there on, and the user is told once. It changes no number, so it is in no fingerprint and in no spec.
    Its fields say where things go; passwords and keys belong where the tool itself looks for them.
    """

    namespace = "compat.sinks"

    def check(self) -> None:
        """Raises `CompatError` when it could not take a run: a library that is not installed, a folder not there."""

    @abstractmethod
    def begin(self, run: StartedRun) -> None: ...

    def step(self, step: EndedStep) -> None:
        """A step of the plan ended."""

    def scores(self, rows: Sequence[MeasuredScore]) -> None:
        """All scores that a step found."""

    def similarities(self, rows: Sequence[MeasuredSimilarity]) -> None:
        """All similarities that a step found: the layers of two models."""

    @abstractmethod
    def end(self, status: Literal["finished", "failed", "interrupted"], error: str | None) -> str | None:
        """Close what is open. Returns where the user can look at it: a URL, a folder, a command."""
