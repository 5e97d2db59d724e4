"""docs/export.md says what is so: its commands write what its Python reads."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from compat_spec.cli.main import app
from compat_spec.errors import CompatError
from compat_spec.results import open_results
from tests.results.made_up import record, score, similarity, start

PAGE = (Path(__file__).parents[2] / "docs" / "export.md").read_text("utf-8")
COMMANDS = [shlex.split(line[2:], comments=True) for line in PAGE.splitlines() if line.startswith("$ compat")]
CODE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def run(arguments: list[str]) -> str:
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    results = open_results(tmp_path / "results.db", create=True)
    writer = start(results, parameters=["alpha"])
    writer.scores([score("blend", 3.0 - step, seed=s, step=step, alpha=0.5) for s in (0, 1) for step in (80, 160)])
    writer.similarities([similarity(0, 0, 1.0, steps=(160, 160))])
    writer.finish("finished")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_commands_and_the_python_of_the_page_work(here: Path) -> None:
    for command in COMMANDS:
        assert "loss" in run(command[1:])
    assert len(CODE) == 5
    for code in CODE:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(code, "export.md", "exec"), {})
        assert re.search(r"blend|routing|loss", printed.getvalue())


def test_it_says_what_was_written(here: Path) -> None:
    lines = run(["export", "--to", "csv", "--out", "files"]).splitlines()
    assert "loss              4 rows" in lines
    assert lines[-1] == "in files, as NAME.csv"
    assert (here / "files" / "loss.csv").read_text("utf-8").startswith("experiment,run,merge,role,")
    assert run(["export", "--to", "duckdb", "--out", "all.db"]).splitlines()[-1] == "in all.db"


def test_a_run_that_is_not_there_is_said(here: Path) -> None:
    record(open_results(here / "results.db", create=True), [])
    with pytest.raises(CompatError, match="no run 'rooting'"):
        run(["export", "rooting", "--to", "csv", "--out", "files"])
