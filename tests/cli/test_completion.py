"""The shell completes commands, names of plugins, pages and runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from compat_spec.cli.main import app
from compat_spec.results import open_results
from tests.results.made_up import info


def offered(*words: str) -> list[str]:
    """What bash is told when the cursor stands behind the last of these words."""
    shell = {
        "_COMPAT_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(["compat", *words]),
        "COMP_CWORD": str(len(words)),
    }
    return CliRunner().invoke(app, [], env=shell, prog_name="compat", catch_exceptions=False).stdout.split()


def test_commands() -> None:
    assert {"run", "runs"} <= set(offered("ru"))


def test_pages_and_plugins_are_topics_of_help() -> None:
    assert {"routing", "router_load"} <= set(offered("help", "rout"))
    assert "similarity" in offered("help", "simi")


def test_executors() -> None:
    assert "inline" in offered("run", "specs/quickstart.yaml", "--executor", "in")


@pytest.mark.parametrize("command", ["show", "check"])
def test_plugins_to_look_at(command: str) -> None:
    assert offered("plugins", command, "answer") == ["answer_accuracy"]


def test_kinds_of_plugins() -> None:
    assert offered("plugins", "list", "m") == ["models", "merges", "metrics"]
    assert {"tasks", "task_arithmetic"} <= set(offered("plugins", "check", "task"))
    assert offered("plugins", "new", "me") == ["merge", "metric"]


@pytest.mark.parametrize("command", [("run", "specs/quickstart.yaml"), ("send", "last")])
def test_sinks(command: tuple[str, ...]) -> None:
    assert offered(*command, "--sink", "m") == ["mlflow"]


def test_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = open_results(tmp_path / "results.db", create=True)
    writer = results.start_run(info())
    writer.finish("finished")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COMPAT_RESULTS", raising=False)
    for command in ("show", "report", "send", "export"):
        assert {"last", writer.id} <= set(offered(command, ""))
        assert offered(command, writer.id[:4]) == [writer.id]
    assert offered("plot", "all", writer.id[:4]) == [writer.id]
    assert offered("compare", "--run", writer.id[:4]) == [writer.id]


def test_without_results_there_is_nothing_to_offer_and_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COMPAT_RESULTS", raising=False)
    assert offered("show", "") == []
