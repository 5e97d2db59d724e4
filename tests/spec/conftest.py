"""A good spec, and a distribution of plugins that are wrong in every way, installed for the tests of this folder."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from compat_spec import registry
from compat_spec.spec import SpecError, load

GOOD = """\
version: 1
name: good
seeds: [0, 1]
tasks:
  math: {use: word_problems}
  code: {use: python_source}
models:
  base:
    use: causal_lm
    config: {model_type: gpt2, n_layer: 2, n_embd: 32, n_head: 2, n_positions: 64}
    tokenizer: {train_on: [math, code], vocab_size: 300}
    train: {on: {math: 1, code: 1}, steps: 4}
  wide:
    use: causal_lm
    config: {model_type: gpt2, n_layer: 2, n_embd: 64, n_head: 2, n_positions: 64}
    tokenizer: {train_on: [math, code], vocab_size: 400}
  math: {from: base, train: {on: math, steps: 20, save_at: [5, 10]}}
  code: {from: base, train: {on: code, steps: 20, save_at: [5, 10]}}
merges:
  average: {use: linear, models: [math, code]}
  blend: {use: activation_interpolation, models: [math, code], alpha: {sweep: [0.25, 0.5]}, at: {sweep: [5, 20]}}
  router: {use: routing, models: [math, code, base], train: {on: code, steps: 2}}
metrics:
  loss: {use: cross_entropy, on: code}
  cka: {use: cka, between: [math, code], on: code, at: {sweep: [5, 10]}}
"""

ODD_PLUGINS = '''\
"""Plugins that are odd or broken."""

from pydantic import BaseModel, Field, model_validator

from compat_spec.components import Merge, ModelName, ModelSource, Task, TaskName, TensorMerge, Trainer
from compat_spec.errors import CompatError


class OddTask(Task):
    """A task with parameters of many types."""

    either: float | list[float] | None = None
    nested: dict[str, list[int]] = {}
    pair: tuple[int, int] = (0, 0)
    crash: bool = False
    mend: bool = False

    @model_validator(mode="after")
    def _crash(self):
        if self.crash:
            raise RuntimeError("boom")
        if self.mend:
            raise CompatError("the file of examples is missing")
        return self

    def splits(self):
        return {}


class OddSource(ModelSource):
    """A source whose shapes are its parameters."""

    width: int = 8
    reads: str = "bytes"
    crash: bool = False

    def architecture(self):
        if self.crash:
            raise OSError("no config.json")
        return {"hidden_size": self.width, "vocab_size": len(self.reads)}

    def make_tokenizer(self, examples): ...

    def make_model(self, tokenizer): ...


class OddMerge(TensorMerge):
    """A merge that names more models than its experts."""

    base: ModelName | None = None
    weights: dict[ModelName, float] = {}

    def combine(self, tensors, base, *, at): ...


class OddTrainer(Trainer):
    """A trainer that keeps every other step."""

    lr: float = 0.1
    steps: int = Field(default=4, ge=1)
    wrong: bool = False

    def saved_steps(self):
        return range(0, self.steps // (0 if self.wrong else 1), 2)

    def last_step(self):
        return self.steps

    def train(self, network, data, session): ...


NOT_A_TASK = 3
'''

ENTRY_POINTS = """\
[compat.tasks]
odd_task = odd_plugins:OddTask
odd_missing = odd_plugins_that_are_not_there:Task
odd_number = odd_plugins:NOT_A_TASK
[compat.models]
odd_source = odd_plugins:OddSource
[compat.merges]
odd_merge = odd_plugins:OddMerge
[compat.trainers]
odd_trainer = odd_plugins:OddTrainer
"""


@pytest.fixture(scope="session")
def odd_distribution(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What pip would install of the odd plugins: a folder with a module and its metadata."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "odd_plugins.py").write_text(ODD_PLUGINS)
    metadata = folder / "odd_plugins-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: odd-plugins\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(ENTRY_POINTS)
    return folder


@pytest.fixture
def odd_plugins(odd_distribution: Path) -> Iterator[None]:
    """Installs the odd plugins for one test."""
    sys.path.append(str(odd_distribution))
    _forget_plugins()
    yield
    sys.path.remove(str(odd_distribution))
    sys.modules.pop("odd_plugins", None)
    _forget_plugins()


def _forget_plugins() -> None:
    importlib.invalidate_caches()
    registry.forget()


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Writes a file into a fresh working folder."""
    monkeypatch.chdir(tmp_path)

    def write_file(text: str | bytes, name: str = "spec.yaml") -> Path:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write_file


@pytest.fixture
def problems_of(write: Callable[..., Path]) -> Callable[..., list[str]]:
    """The lines that a spec's mistakes are printed as."""

    def find(text: str | bytes, *overrides: str) -> list[str]:
        with pytest.raises(SpecError) as raised:
            load(write(text), overrides)
        assert raised.value.exit_status == 2
        assert str(raised.value).splitlines() == [str(problem) for problem in raised.value.problems]
        return str(raised.value).splitlines()

    return find
