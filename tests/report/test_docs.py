"""docs/report.md says what is so: its commands and its Python run as they stand, and it names every kind of chart."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path

import pytest
from typer.testing import CliRunner

from compat_spec.cli.main import app
from compat_spec.report.figures.figure import Figure
from compat_spec.results import open_results
from tests.results.made_up import record, score

PAGE = (Path(__file__).parents[2] / "docs" / "report.md").read_text("utf-8")
COMMANDS = [line[2:].partition("#")[0] for line in PAGE.splitlines() if line.startswith("$ compat")]
CODE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with results of a run of `routing`."""
    record(open_results(tmp_path / "results.db", create=True), [score("average", 3.25), score("base", 3.5)])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_its_commands_run(here: Path) -> None:
    for command in COMMANDS:
        done = CliRunner().invoke(app, shlex.split(command)[1:], catch_exceptions=False)
        assert done.exit_code == 0, command
    written = {path.relative_to(here).as_posix() for path in here.rglob("*.*")}
    assert written >= {"report.html", "routing.html", "loss.pdf", "plots/loss-program.svg"}


def test_its_python_runs(here: Path) -> None:
    for block in CODE:
        exec(block, {})


def test_it_names_every_kind_of_chart(drawn: Mapping[str, Figure]) -> None:
    for name in drawn:
        kind = name.partition("-pro-gram")[0]
        words = re.split(r"[-]", kind)
        assert words[0] in PAGE
        assert words[-1] in PAGE or words[0] in ("sweep", "layers", "loss")
