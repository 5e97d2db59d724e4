"""docs/running.md says what is so."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from compat_spec.cli.main import app
from tests.run.experiments import Workplace

PAGE = (Path(__file__).parents[2] / "docs" / "running.md").read_text("utf-8")
BLOCKS = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [line[2:].partition("#")[0].strip() for block in BLOCKS for line in block.splitlines() if line[:2] == "$ "]


def as_here(text: str) -> str:
    """With the names of the experiment of these tests."""
    return text.replace("specs/routing.yaml", "tiny.yaml").replace("models.code", "models.two").replace("code", "two")


def printed(place: Workplace, monkeypatch: pytest.MonkeyPatch, command: str) -> str:
    monkeypatch.chdir(place.folder)
    result = CliRunner().invoke(app, shlex.split(as_here(command))[1:], env={"COLUMNS": "160"}, catch_exceptions=False)
    assert result.exit_code == 0, result.stdout
    return result.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_page_works(done: Workplace, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    assert printed(done, monkeypatch, command)


def test_the_explanation_reads_as_the_page_shows_it(done: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = [block for block in BLOCKS if "compat explain" in block]
    command, _, shown = block.partition("\n")

    def without_what_varies(text: str) -> str:
        return re.sub(r"\b[0-9a-f]{12}\b|made .* ago", "…", text).strip()

    found = printed(done, monkeypatch, command[2:])
    assert without_what_varies(found) == without_what_varies(as_here(shown))


def test_the_options_of_the_page_are_those_of_the_command() -> None:
    options = set(re.findall(r"`(--[a-z-]+)", PAGE)) - {"--steps", "--remove"}
    told = re.sub(r"\s+", " ", CliRunner().invoke(app, ["run", "--help"], env={"COLUMNS": "300"}).stdout)
    assert options
    assert [option for option in sorted(options) if option not in told] == []
