"""A made-up run to pass on: a training, scores at two steps and two values of a sweep, and similarities."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from compat_spec.components import Sink
from compat_spec.results import StepRow, open_results
from compat_spec.run.sending import send_run
from tests.results.made_up import score, similarity, start

SECRET = "open-sesame"
SPEC = "name: routing\nseeds: [0, 1]\nmetrics:\n  loss: {use: cross_entropy, on: program}\n"


@pytest.fixture
def send(tmp_path: Path) -> Callable[[Sink], tuple[str, str | None]]:
    """Passes the run on; gives its id, and what the sink said at the end."""
    results = open_results(tmp_path / "results.db", create=True)
    command = f"compat run s.yaml --results postgresql://me:{SECRET}@server/x"
    writer = start(results, parameters=["alpha", "layers"], spec_text=SPEC, command=command)
    facts = {"steps": 4, "loss": [3.0, 2.5], "tokens_per_second": 9}
    training = StepRow(fingerprint="t" * 64, kind="train", label="train math", status="computed", facts=facts)
    writer.steps([training])
    writer.scores(
        [
            score("blend", 3.0 + alpha + 0.1 * seed - step / 100, seed=seed, step=step, alpha=alpha, layers=[1, 2])
            for seed in (0, 1)
            for alpha in (0.0, 0.5)
            for step in (10, 20)
        ]
    )
    writer.scores([score("average", float("nan")), score("average", 0.25, quantity="accuracy", n=40)])
    loads = [score("blend", 0.25, quantity="load", block=1, expert=expert) for expert in (0, 1)]
    writer.scores([*loads, score("blend", 1.0, quantity="agreement", metric="load", block=0, other_block=1)])
    layers = [(0, 0, 1.0), (0, 1, 0.5), (1, 0, 0.25), (1, 1, 0.5)]
    writer.similarities([similarity(a, b, value, steps=(step, step)) for a, b, value in layers for step in (10, 20)])
    writer.finish("failed", "train code: the loss became nan")
    run = results.run(writer.id)

    def pass_on(sink: Sink) -> tuple[str, str | None]:
        return run.id, send_run(results, run, sink)

    return pass_on
