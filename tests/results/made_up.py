"""Made-up runs for the tests of results."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

import pytest

from compat_spec.results import ModelRow, Results, RunInfo, RunWriter, ScoreRow, SimilarityRow, StepRow, TaskRow

MEASURED = "f" * 64

on_both = pytest.mark.parametrize(
    "results", ["sqlite", pytest.param("postgresql", marks=pytest.mark.xdist_group("postgresql"))], indirect=True
)
"""For tests whose `results` are first SQLite's, then PostgreSQL's."""

MODELS = (
    ModelRow(name="base", role="base", use="causal_lm"),
    ModelRow(name="math", role="expert", parent="base"),
    ModelRow(name="code", role="expert", parent="base"),
    ModelRow(name="average", role="merge", use="linear", experts=("math", "code")),
    ModelRow(name="blend", role="merge", use="activation_interpolation", experts=("math", "code")),
)
TASKS = (
    TaskRow(name="math", use="word_problems", parameters={"train": 20}, examples={"train": 20, "test": 5}),
    TaskRow(name="program", use="program_problems"),
)


def info(experiment: str = "routing", *, parameters: Sequence[str] = (), **others: Any) -> RunInfo:
    known: dict[str, Any] = {
        "spec_text": "version: 1\nname: routing\n",
        "spec_path": "specs/routing.yaml",
        "command": "compat run specs/routing.yaml",
        "versions": {"python": "3.11.2", "torch": "2.13.0"},
        "commit": "abc123",
        "host": socket.gethostname(),
        "device": "cpu",
        "executor": "inline",
        "models": MODELS,
        "tasks": TASKS,
    }
    return RunInfo(experiment=experiment, parameters=tuple(parameters), **(known | others))


def score(model: str, value: float, *, seed: int = 0, step: int | None = None, **others: Any) -> ScoreRow:
    """A loss on `program`, unless said otherwise; other keywords are swept parameters."""
    known: dict[str, Any] = {"fingerprint": MEASURED, "quantity": "loss", "task": "program", "split": "test"}
    known |= {key: others.pop(key) for key in list(others) if key in ScoreRow.__dataclass_fields__}
    known.setdefault("metric", known["quantity"])
    known.setdefault("parameters", others)
    return ScoreRow(model=model, value=value, seed=seed, training_step=step, **known)


def similarity(layer_a: int, layer_b: int, value: float, *, steps: tuple[int, int], seed: int = 0) -> SimilarityRow:
    return SimilarityRow(
        fingerprint=MEASURED,
        metric="cka",
        measure="cka",
        quantity="cka",
        task="program",
        model_a="math",
        model_b="code",
        step_a=steps[0],
        step_b=steps[1],
        layer_a=layer_a,
        layer_b=layer_b,
        seed=seed,
        value=value,
        n=1024,
    )


def start(results: Results, *arguments: Any, **keywords: Any) -> RunWriter:
    """A run with one step, `MEASURED`."""
    writer = results.start_run(info(*arguments, **keywords))
    writer.step(
        StepRow(
            fingerprint=MEASURED,
            kind="measure",
            label="loss of average",
            status="computed",
            seconds=1.5,
            peak_bytes=10**6,
        )
    )
    return writer


def record(results: Results, scores: Sequence[ScoreRow], *arguments: Any, status: Any = "finished", **kw: Any) -> str:
    """A whole run with these scores; its id."""
    writer = start(results, *arguments, **kw)
    writer.scores(scores)
    writer.finish(status)
    return writer.id
