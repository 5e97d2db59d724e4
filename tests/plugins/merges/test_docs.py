"""docs/merging.md says what is so."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from compat_spec import registry
from compat_spec.cli.main import app
from compat_spec.components import TensorMerge
from compat_spec.nn.network import save_network
from compat_spec.spec import load
from tests.builders import tiny_network

PAGE = (Path(__file__).parents[3] / "docs" / "merging.md").read_text("utf-8")
SPEC, BY_TENSOR = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [line[2:].partition("#")[0].strip() for line in PAGE.splitlines() if line.startswith("$ ")]
MERGEKIT = """
merge_method: linear
models: [{model: models/law, parameters: {weight: 0.7}}, {model: models/code, parameters: {weight: 0.3}}]
dtype: float32
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder as the page supposes it."""
    for seed, name in enumerate(("base", "law", "code")):
        save_network(tiny_network("llama", seed=seed), tmp_path / "models" / name)
    (tmp_path / "mine.yaml").write_text(SPEC)
    (tmp_path / "merge.yml").write_text(MERGEKIT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_method_has_its_line() -> None:
    listed = re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE)
    named = [name for cell in listed for name in re.findall(r"`(\w+)`", cell)]
    merges = (plugin for plugin in registry.plugins("compat.merges") if plugin.distribution == "compat-spec")
    ours = [plugin.name for plugin in merges if plugin.component and issubclass(plugin.component, TensorMerge)]
    assert set(named) == set(ours)


def test_its_commands_do_what_they_say(folder: Path) -> None:
    for command in COMMANDS:
        typed, _, target = command.partition(" > ")
        result = CliRunner().invoke(app, shlex.split(typed)[1:], catch_exceptions=False)
        assert result.exit_code == 0, (command, result.output)
        if target:
            (folder / target).write_text(result.stdout)
    assert len(COMMANDS) == 4
    assert (folder / "models" / "trimmed" / "README.md").exists()
    assert (folder / "models" / "merge" / "model.safetensors").exists()


def test_its_numbers_per_tensor_are_right(folder: Path) -> None:
    declared = yaml.safe_load(SPEC) | yaml.safe_load(BY_TENSOR)
    (folder / "numbers.yaml").write_text(yaml.safe_dump(declared, sort_keys=False))
    assert load(folder / "numbers.yaml").merges.keys() == {"by_depth", "by_part"}
