"""`compat validate`: what it prints, where, and its exit status."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

GOOD = "tasks:\n  math: {use: word_problems}\nseeds: [0, 1]\n"
COMPAT = Path(sys.executable).with_name("compat")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def compat(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(COMPAT), *arguments], capture_output=True, text=True, check=False)


def test_a_good_spec_is_counted(folder: Path) -> None:
    (folder / "good.yaml").write_text(GOOD)
    done = compat("validate", "good.yaml")
    assert done.returncode == 0
    assert done.stdout == "good.yaml: ok: 1 task, 0 models, 0 merges, 0 metrics, 2 seeds\n"
    assert done.stderr == ""


def test_mistakes_go_to_stderr_and_every_file_is_checked(folder: Path) -> None:
    (folder / "good.yaml").write_text(GOOD)
    (folder / "bad.yaml").write_text("tasks:\n  math: {use: word_problms}\nseeds: 3\n")
    done = compat("validate", "bad.yaml", "good.yaml", "missing.yaml")
    assert done.returncode == 2
    assert done.stdout == "good.yaml: ok: 1 task, 0 models, 0 merges, 0 metrics, 2 seeds\n"
    assert done.stderr == (
        "bad.yaml:2:15: tasks.math.use: no task plugin 'word_problms'; did you mean 'word_problems'?\n"
        "bad.yaml:3:8: seeds: 3 does not fit; expected a list: [0, 1, 2]\n"
        "missing.yaml: there is no such file\n"
    )


def test_values_can_be_set(folder: Path) -> None:
    (folder / "good.yaml").write_text(GOOD)
    done = compat("validate", "good.yaml", "--set", "seeds=[4]", "--set", "tasks.code={use: python_source}")
    assert done.stdout == "good.yaml: ok: 2 tasks, 0 models, 0 merges, 0 metrics, 1 seed\n"
    done = compat("validate", "good.yaml", "--set", "sees=[4]")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "--set sees=[4]: sees: a spec has no 'sees'; did you mean 'seeds'?\n"


def test_the_specs_of_the_repository_are_right() -> None:
    specs = sorted(map(str, Path(__file__).parents[2].joinpath("specs").glob("*.yaml")))
    assert specs
    done = compat("validate", *specs)
    assert done.stderr == ""
    assert done.stdout.count(": ok: ") == len(specs)


def test_its_help_has_an_example(folder: Path) -> None:
    done = compat("validate", "--help")
    assert done.returncode == 0
    assert "compat validate specs/" in done.stdout
