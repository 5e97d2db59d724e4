"""docs/sinks.md says what is so."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from compat_spec import registry
from compat_spec.cli.main import app
from compat_spec.components import Sink
from compat_spec.testing import run_checks
from tests.run.experiments import Workplace

PAGE = (Path(__file__).parents[2] / "docs" / "sinks.md").read_text("utf-8")
COMMANDS = re.findall(r"^\$ (compat .*)$", PAGE, re.MULTILINE)
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def here(done: Workplace, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    """Where the experiment was run, and where every tool writes files, quickly."""
    monkeypatch.chdir(done.folder)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (done.folder / "mlruns").as_uri())
    return done


def as_here(text: str) -> str:
    return text.replace("specs/quickstart.yaml", "tiny.yaml").replace("quickstart", "tiny")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_page_works(here: Workplace, command: str) -> None:
    result = CliRunner().invoke(app, shlex.split(as_here(command))[1:], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "failed" not in result.output
    for name in re.findall(r"--sink (?:'\{use: )?(\w+)", command):
        assert f"{name}: " in result.output


def test_the_run_in_python_works(here: Workplace) -> None:
    exec(as_here(BLOCKS[0]), {})
    assert list((here.folder / "logs").glob("tiny-*/average seed=0"))


def test_the_sink_of_the_page_keeps_its_contract_and_writes_lines(here: Workplace) -> None:
    names: dict[str, Any] = {"__name__": "my_lines"}
    exec(BLOCKS[1], names)
    lines = names["Lines"]
    skip = dict.fromkeys(("is_cheap_to_import", "survives_a_round_trip"), "it has no module of its own here")
    assert {outcome.status for outcome in run_checks(lines, skip=skip)} == {"passed", "skipped"}
    run = here.run(sinks=[lines(file=str(here.folder / "scores.jsonl"))])
    written = [json.loads(line) for line in (here.folder / "scores.jsonl").read_text("utf-8").splitlines()]
    assert {row["run"] for row in written} == {run.run_id}
    assert len(written) == here.rows("SELECT count(*) FROM all_scores WHERE run = ?", run.run_id)[0][0]


def test_every_sink_is_named() -> None:
    for name in registry.names(Sink.namespace):
        assert name in PAGE
