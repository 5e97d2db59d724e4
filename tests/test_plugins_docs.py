"""docs/plugins.md: every block of code in it is run, in the order of the page."""

from __future__ import annotations

import re
import shlex
import sys
import zipfile
from importlib.metadata import metadata
from pathlib import Path
from typing import NamedTuple

import pytest
from typer.testing import CliRunner

from compat_spec import registry
from compat_spec.cli.main import app
from compat_spec.templates.plugin_project import FORMS
from tests.installed import Site

PAGE = (Path(__file__).parents[1] / "docs" / "plugins.md").read_text("utf-8")
PROJECT = "my-merge"

WIDE = {"COLUMNS": "200"}

pytestmark = pytest.mark.xdist_group("plugins docs")


class Block(NamedTuple):
    language: str
    file: str | None
    """The file that it is, by its first line."""
    text: str


def blocks() -> list[Block]:
    found = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    files = (re.match(r"# (\S+\.(?:py|yaml|toml))\n", text) for _, text in found)
    return [Block(language, file and file[1], text) for (language, text), file in zip(found, files, strict=True)]


MODULES = [block.file.removesuffix(".py") for block in blocks() if block.file and re.fullmatch(r"\w+\.py", block.file)]


def commands() -> list[str]:
    lines = [line for block in blocks() if block.language == "console" for line in block.text.splitlines()]
    assert all(line.startswith("$ ") for line in lines)
    return [line[2:] for line in lines]


def run(arguments: list[str]) -> str:
    """A command of `compat`, in this process."""
    done = CliRunner().invoke(app, arguments, env=WIDE, catch_exceptions=False)
    assert done.exit_code == 0, (arguments, done.output)
    return done.output


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A working folder with the project as the page leaves it, installed."""
    site = Site(tmp_path_factory.mktemp("site"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(site.folder)
        run(shlex.split(commands()[1])[1:])
    for block in blocks():
        if block.file:
            (site.folder / PROJECT / block.file).write_text(block.text, "utf-8")
    site.install_project(site.folder / PROJECT)
    return site


def test_every_block_is_a_file_or_is_run_here() -> None:
    """The tests below run consoles, and Python that is no file."""
    assert all(block.file or block.language in ("console", "python") for block in blocks())
    programs = {"compat", "python -m pytest my-merge", "python -m pip wheel --no-deps --wheel-dir dist ./my-merge"}
    assert {line if line.startswith("python") else line.split()[0] for line in commands()} == {*programs, "pip"}


def test_it_is_installed_by_the_first_commands() -> None:
    authors, new, mine = commands()[:3]
    assert authors == "pip install 'compat-spec[authors]'"
    assert "authors" in metadata("compat-spec").get_all("Provides-Extra", [])
    assert new == f"compat plugins new merge {PROJECT}"
    assert mine == f"pip install -e {PROJECT}"


def test_its_commands_and_its_python_run(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(site.folder)
    monkeypatch.delenv("COMPAT_RESULTS", raising=False)
    printed = ""
    with site.here():
        for block in blocks():
            if block.language == "python" and not block.file:
                exec(compile(block.text, "a block", "exec"), {"__name__": "__main__"})
            if block.language == "console":
                words = map(shlex.split, (line[2:] for line in block.text.splitlines()))
                printed += "".join(run(line[1:]) for line in words if line[0] == "compat" and "new" not in line)
    assert re.search(r"^mine +merge +\d\.\d+ +strength ", printed, re.MULTILINE)
    assert re.search(r"^surest +merge +\d\.\d+ +[01]\.\d+", printed, re.MULTILINE)
    assert "one sums loss " in (site.folder / "scores.txt").read_text("utf-8")


def test_its_test_passes_and_the_other_kinds_keep_their_contracts(site: Site) -> None:
    lines = ["from compat_spec.testing import contract"]
    for module in MODULES:
        (name,) = re.findall(r"^class (\w+)\(", (site.folder / f"{module}.py").read_text("utf-8"), re.MULTILINE)
        lines += [f"from {module} import {name}", f"test_{module} = contract({name})"]
    contracts = site.folder / "test_contracts.py"
    contracts.write_text("\n".join(lines) + "\n", "utf-8")
    status, passed = site.tested("--rootdir", site.folder, site.folder / PROJECT, contracts)
    assert status == 0
    assert passed > 12 * len(MODULES)


def test_the_wheel_has_every_module(site: Site) -> None:
    command = next(line for line in commands() if line.startswith("python -m pip wheel"))
    options = ("--no-build-isolation", "--no-index", "--quiet")
    done = site.run(sys.executable, *shlex.split(command)[1:], *options)
    assert done.returncode == 0, done.stderr
    (wheel,) = (site.folder / "dist").glob("*.whl")
    modules = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert modules == {f"{module}.py" for module in MODULES}


def test_every_kind_has_its_section() -> None:
    groups = set(re.findall(r'entry-points\."(compat\.\w+)"', PAGE))
    assert groups == set(registry.CONTRACTS)
    headings = [line for line in PAGE.splitlines() if line.startswith("### A")]
    contracts = [contract for contracts in FORMS.values() for contract in contracts]
    assert len(headings) >= len(contracts) - 1  # the page itself begins with the first
