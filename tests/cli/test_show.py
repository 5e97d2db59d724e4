"""`compat show`: all that is known of one run."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from compat_spec.cli import show
from compat_spec.results import Results, ResultsError, StepRow, open_results
from tests.results.made_up import record, score, start

app = typer.Typer()
app.command()(show.show)


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return open_results(tmp_path / "results.db", create=True)


def shown(results: Results, *arguments: str) -> str:
    result = CliRunner().invoke(app, ["--results", results.name, *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_a_run_is_shown_from_its_spec_to_its_scores(results: Results) -> None:
    run = record(results, [score("average", 3.25), score("blend", 2.5, alpha=0.5)], parameters=["alpha"])
    lines = [" ".join(line.split()) for line in shown(results, run[:6]).splitlines()]
    for line in (
        f"routing, run {run}: finished",
        "spec specs/routing.yaml, commit abc123",
        "command compat run specs/routing.yaml",
        "with python 3.11.2, torch 2.13.0",
        "sweeps alpha",
        "steps 1 computed",
        "math word_problems 20 train, 5 test",
        "base base causal_lm",
        "math expert from base",
        "average merge linear of math, code",
        "average merge 3.250",
    ):
        assert line in lines
    assert lines.index("blend merge 2.500") < lines.index("average merge 3.250")


def test_a_run_is_named_by_id_experiment_or_last(results: Results) -> None:
    first, second = record(results, [], "layers"), record(results, [], "routing")
    assert f"run {second}:" in shown(results)
    assert f"run {second}:" in shown(results, "last")
    assert f"run {first}:" in shown(results, "layers")
    assert f"run {first}:" in shown(results, first)
    with pytest.raises(ResultsError, match="no run 'rooting'"):
        shown(results, "rooting")


def test_failed_steps_are_shown_with_their_error(results: Results) -> None:
    writer = start(results)
    writer.step(
        StepRow(fingerprint="0", kind="merge", label="average of seed 1", status="failed", error="shapes differ")
    )
    writer.step(StepRow(fingerprint="1", kind="measure", label="loss of average", status="skipped"))
    writer.finish("failed", "1 step failed")
    text = shown(results)
    assert "average of seed 1: shapes differ" in text
    assert "1 computed, 1 failed, 1 skipped" in text
    assert "1 step failed" in text


def test_steps_are_listed_on_demand(results: Results) -> None:
    writer = start(results)
    writer.step(StepRow(fingerprint="a" * 64, kind="train", label="train math", status="reused", peak_bytes=3_400_000))
    text = shown(results, "--steps")
    assert "train math" in text
    assert "aaaaaaaaaaaa " in text
    assert "3.4 MB" in text
    assert "1.5 s" in text
    assert "train math" not in shown(results)


def test_the_spec_comes_out_as_it_went_in(results: Results) -> None:
    spec = "version: 1\nname: [bold]x[/bold]\n" + "# " + "long " * 100 + "\n"
    start(results, spec_text=spec)
    assert shown(results, "--spec") == spec
