"""Checks of sinks: a made-up run is passed on to them, in an empty folder, in a thread, as a run does it."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from compat_spec.components import EndedStep, MeasuredScore, MeasuredSimilarity, Sink, StartedRun
from compat_spec.errors import CompatError
from compat_spec.testing.checks import Checks, NotChecked, demand
from compat_spec.testing.empty_folder import in_empty_folder
from compat_spec.testing.subject import Subject

check = Checks(Sink)

RUN = StartedRun(
    id="0123abcd",
    experiment="kit",
    spec="name: kit\nseeds: [0]\n",
    spec_path="kit.yaml",
    command="compat run kit.yaml",
    seeds=(0,),
    parameters=("alpha", "layers"),
    models={"base": "base", "math": "expert", "code": "expert", "blend": "merge"},
    tasks=("program",),
    versions={"python": "3.11.0"},
    commit=None,
    host="here",
    device="cpu",
    executor="inline",
    started=datetime(2025, 1, 1, tzinfo=UTC),
)


def _step(kind: str, number: int, **facts: Any) -> EndedStep:
    return EndedStep(
        fingerprint=f"{number:064x}",
        kind=kind,
        label=f"{kind} {number}",
        status="computed",
        seconds=1.0,
        device="cpu",
        error=None,
        facts=facts,
    )


def _score(value: float, **about: Any) -> MeasuredScore:
    known: dict[str, Any] = {
        "merge": "blend",
        "role": "merge",
        "task": "program",
        "split": "test",
        "metric": "loss",
        "quantity": "loss",
        "seed": 0,
        "step": None,
        "parameters": {},
        "n": 100,
        "block": None,
        "other_block": None,
        "expert": None,
        "token_class": None,
        "fingerprint": f"{2:064x}",
    }
    return MeasuredScore(value=value, **{**known, **about})


def _similarity(a: int, b: int, value: float) -> MeasuredSimilarity:
    return MeasuredSimilarity(
        metric="cka",
        measure="cka",
        quantity="cka",
        task="program",
        a="math",
        b="code",
        step_a=10,
        step_b=10,
        layer_a=a,
        layer_b=b,
        seed=0,
        parameters={},
        value=value,
        se=None,
        n=64,
        fingerprint=f"{3:064x}",
    )


def _steps() -> list[EndedStep]:
    failed = EndedStep(
        fingerprint=f"{4:064x}",
        kind="merge",
        label="merge other",
        status="failed",
        seconds=None,
        device=None,
        error="the loss became nan",
        facts={},
    )
    return [_step("train", 1, steps=4, loss=[3.0, 2.0]), _step("measure", 2), _step("compare", 3), failed]


def _scores() -> list[MeasuredScore]:
    swept = {"alpha": 0.5, "layers": [0, 1]}
    return [
        _score(2.5, step=10, parameters=swept),
        _score(2.25, step=20, parameters=swept),
        _score(math.nan, merge="math", role="expert"),
        _score(0.25, metric="load", quantity="load", block=1, expert=0),
    ]


def _similarities() -> list[MeasuredSimilarity]:
    return [_similarity(a, b, 1.0 - 0.25 * abs(a - b)) for a in range(2) for b in range(2)]


@dataclass(frozen=True)
class Scenario:
    """What came of passing on a made-up run."""

    said: Any
    given: Sequence[Any]
    as_it_was: Sequence[Any]


def _usable(subject: Subject) -> Sink:
    sink: Sink = subject.make()
    try:
        sink.check()
    except CompatError as error:
        raise NotChecked(f"check() says that it cannot take a run here: {error}") from error
    return sink


def _pass_on(subject: Subject) -> Scenario:
    steps, scores, similarities = _steps(), _scores(), _similarities()
    given = [steps, scores, similarities]
    as_it_was = copy.deepcopy(given)

    def calls(sink: Sink) -> Any:
        sink.begin(RUN)
        for step in steps:
            sink.step(step)
            if step.kind == "measure":
                sink.scores(scores)
            if step.kind == "compare":
                sink.similarities(similarities)
        return sink.end("failed", "a step failed")

    return Scenario(_elsewhere(subject, calls), given, as_it_was)


def _elsewhere(subject: Subject, calls: Any) -> Any:
    """Make the calls in a thread, as a run does, while the working folder is one that is empty and goes away."""
    with in_empty_folder():
        sink = _usable(subject)
        with ThreadPoolExecutor(max_workers=1) as thread:
            return thread.submit(calls, sink).result()


def _scenario(subject: Subject) -> Scenario:
    return subject.once("a run", lambda: _pass_on(subject))


@check
def takes_a_run(subject: Subject) -> None:
    """It takes a run with all kinds of rows, in a thread that is not the main one."""
    _scenario(subject)


@check
def says_where_to_look(subject: Subject) -> None:
    """`end` returns a text for the user, or None."""
    said = _scenario(subject).said
    demand(said is None or isinstance(said, str), f"end() returned {said!r}, and has to return a text, or None.")


@check
def leaves_rows_alone(subject: Subject) -> None:
    """It changes nothing of what it is given: other sinks get the same rows."""
    found = _scenario(subject)
    demand(repr(found.given) == repr(found.as_it_was), "The rows are others after it had them: copy what you change.")


@check
def takes_a_run_that_found_nothing(subject: Subject) -> None:
    """A run that is interrupted before its first step ends well."""

    def calls(sink: Sink) -> None:
        sink.begin(RUN)
        sink.end("interrupted", None)

    _elsewhere(subject, calls)
