"""Sinks on the command line: `--sink`, `compat send`."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from compat_plugins.sinks.tensorboard import TensorBoard
from compat_spec.cli import send
from compat_spec.cli.sinks import make_sinks
from compat_spec.errors import CompatError, UsageError
from compat_spec.results import open_results
from tests.results.made_up import record, score


def test_a_sink_is_a_name_or_what_a_spec_would_have(tmp_path: Path) -> None:
    assert make_sinks([]) == []
    assert make_sinks(["tensorboard", "{use: tensorboard, folder: logs}"]) == [
        TensorBoard(),
        TensorBoard(folder="logs"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("wandbb", "no sink plugin 'wandbb'; did you mean 'wandb'?"),
        ("linear", "'linear' is for merges, not for sinks; installed: mlflow, tensorboard, wandb"),
        ("{use: wandb, mod: x}", "wandb.mod: 'mod' is not a parameter of wandb; did you mean 'mode'?"),
        ("{use: wandb, mode: x}", "wandb.mode: 'x' does not fit; expected 'online' or 'offline'"),
        ("{project: x}", "this names no sink; write its name, or {use: NAME} and its parameters"),
        ("[wandb]", "this names no sink; write its name, or {use: NAME} and its parameters"),
        ("{use: [wandb]}", "this names no sink; write its name, or {use: NAME} and its parameters"),
        ("{", "'{' is not a YAML value; quote text that has special characters"),
        ("", "this names no sink; write its name, or {use: NAME} and its parameters"),
    ],
)
def test_what_cannot_be_meant_is_said(text: str, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        make_sinks([text])
    assert str(raised.value) == f"--sink {text}: {message}"


def test_one_sink_twice_is_refused() -> None:
    with pytest.raises(UsageError, match=r"--sink \{use: tensorboard\} is there twice"):
        make_sinks(["tensorboard", "{use: tensorboard}"])


@pytest.mark.parametrize("name", ["mlflow", "tensorboard", "wandb"])
def test_a_library_that_is_not_installed_is_an_error_before_the_run(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compat_plugins.sinks.naming.find_spec", lambda _: None)
    with pytest.raises(CompatError) as raised:
        make_sinks([name])
    assert str(raised.value) == f"the sink {name} needs the library `{name}`: pip install 'compat-spec[{name}]'"


def test_send_passes_on_a_run_of_the_past(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(send.send)
    results = open_results(tmp_path / "results.db", create=True)
    run = record(results, [score("average", 3.0)])
    sink = f"{{use: tensorboard, folder: {tmp_path / 'logs'}}}"
    done = CliRunner().invoke(app, ["last", "--results", results.name, "--sink", sink], catch_exceptions=False)
    assert done.stdout == f"tensorboard: tensorboard --logdir {tmp_path / 'logs'}\n"
    assert (tmp_path / "logs" / f"routing-{run}" / "average seed=0").is_dir()
    with pytest.raises(UsageError, match="say where to: --sink NAME"):
        CliRunner().invoke(app, ["last", "--results", results.name], catch_exceptions=False)
