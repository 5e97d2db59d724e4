"""docs/compare.md says what is so: its commands and its Python run as they stand."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from compat_spec.cli.main import app
from compat_spec.results import ModelRow, open_results
from tests.report.compare.test_comparing import losses, measured
from tests.results.made_up import MODELS, record

PAGE = (Path(__file__).parents[3] / "docs" / "compare.md").read_text("utf-8")
COMMANDS = [line[2:] for line in PAGE.splitlines() if line.startswith("$ compat")]
CODE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with results of two runs, of the models that the page speaks of."""
    results = open_results(tmp_path / "results.db", create=True)
    models = (*MODELS, ModelRow(name="router", role="merge", use="routing"))
    rows = [
        row
        for quantity in ("loss", "accuracy")
        for number, (model, step, swept) in enumerate(
            [("router", None, {}), ("base", None, {})]
            + [("average", step, {}) for step in (40, 80)]
            + [("blend", step, {"alpha": alpha}) for step in (40, 80) for alpha in (0.25, 0.5)]
        )
        for row in measured(model, losses(number / 4, number=number), quantity=quantity, step=step, **swept)
    ]
    for name in ("first", "routing"):
        record(results, rows, name, parameters=["alpha"], models=models)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_page_works(command: str) -> None:
    arguments = shlex.split(command, comments=True)[1:]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    assert done.stdout


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("code", CODE)
def test_the_python_of_the_page_works(code: str) -> None:
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(code, "compare.md", "exec"), {})
    assert len(printed.getvalue().split()) >= 4
