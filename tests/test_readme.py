"""The README tells the truth: its spec, its plugin and its Python run as they stand."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from compat_spec.nn.network import save_network
from tests.builders import tiny_network
from tests.installed import Site
from tests.run.experiments import COMPAT

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")

pytestmark = pytest.mark.xdist_group("readme")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the README supposes: three models of one kind, examples, and its own spec and plugin."""
    folder = tmp_path_factory.mktemp("readme")
    for seed, name in enumerate(("base", "law", "code")):
        save_network(tiny_network(seed=seed), folder / "models" / name)
    lines = [{"prompt": f"What is {n} + {n}?\n", "answer": f"{2 * n}\n"} for n in range(40)]
    (folder / "target.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    (spec,) = blocks("yaml")
    (folder / "mine.yaml").write_text(spec, "utf-8")
    return folder


def run(folder: Path, *command: str | Path, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(path or ""), "COLUMNS": "120"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def test_its_spec_is_what_validate_says(folder: Path) -> None:
    done = run(folder, COMPAT, "validate", "mine.yaml")
    assert done.returncode == 0
    assert f"$ compat validate mine.yaml\n{done.stdout}" in README


def test_its_spec_runs(folder: Path) -> None:
    done = run(folder, COMPAT, "run", "mine.yaml")
    assert done.returncode == 0, done.stderr
    assert "On target (test split), best loss first" in done.stdout


def test_its_python_runs(folder: Path) -> None:
    (code,) = [block for block in blocks("python") if "run_plan" in block]
    done = run(folder, sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr
    rows = ast.literal_eval(done.stdout)
    assert {row[0] for row in rows} == {"base", "law", "code", "average", "blend", "together", "router"}


def test_its_plugin_works_once_it_is_installed(folder: Path, tmp_path: Path) -> None:
    (code,) = [block for block in blocks("python") if block.startswith("# strongest.py")]
    (project,) = blocks("toml")
    (tmp_path / "strongest.py").write_text(code, "utf-8")
    (tmp_path / "pyproject.toml").write_text(project, "utf-8")
    Site(tmp_path).install_project(tmp_path)

    shown = run(folder, COMPAT, "plugins", "show", "strongest", path=tmp_path)
    assert shown.returncode == 0
    assert "Takes, of every parameter, the change from the base that is the largest." in shown.stdout
    (call,) = re.findall(r"`strong: (\{.*?\})`", README)
    done = run(folder, COMPAT, "run", "mine.yaml", "--set", f"merges.strong={call}", path=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^strong +merge +\d", done.stdout, re.MULTILINE)


def test_its_table_names_every_spec() -> None:
    named = set(re.findall(r"\(specs/(\w+\.yaml)\)", README))
    there = {path.name for path in (ROOT / "specs").glob("*.yaml")} - {"laptop.yaml"}  # the others extend it
    assert named == there


def test_its_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("https://") or (ROOT / target).exists(), target
