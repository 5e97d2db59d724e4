"""What a run tells while it goes on. Listeners (the terminal, a notebook) take these and return nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from compat_spec.plan import Step


@dataclass(frozen=True, slots=True)
class RunStarted:
    """How many steps there are, how many of them need no computing, and the work of the others (`Step.work`)."""

    total: int
    reused: int
    device: str
    work: int


@dataclass(frozen=True, slots=True)
class StepStarted:
    step: Step


@dataclass(frozen=True, slots=True)
class StepProgress:
    """How far the running step is, in its own units (training steps, batches)."""

    fingerprint: str
    done: int
    total: int
    note: str


@dataclass(frozen=True, slots=True)
class StepFinished:
    """`reused`: another run finished it while this one waited."""

    step: Step
    seconds: float
    reused: bool = False


@dataclass(frozen=True, slots=True)
class StepFailed:
    step: Step
    error: str


@dataclass(frozen=True, slots=True)
class StepRetried:
    """The step starts again, for a reason that it is not to blame for."""

    step: Step
    reason: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """Another run computes the step, and nothing else is left to do meanwhile."""

    step: Step


@dataclass(frozen=True, slots=True)
class Notice:
    """What the user should know, and what changes nothing: that a sink is left out, or where to look at what it has."""

    text: str


@dataclass(frozen=True, slots=True)
class Stopping:
    """The run was told to stop, and ends where nothing is lost."""


Event: TypeAlias = (
    RunStarted | StepStarted | StepProgress | StepFinished | StepFailed | StepRetried | Waiting | Notice | Stopping
)
Listener: TypeAlias = Callable[[Event], None]
