"""`compat plugins new`: what it writes works as it stands, for every kind of plugin."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from compat_spec import registry
from compat_spec.cli.main import app
from compat_spec.errors import CompatError, UsageError
from compat_spec.templates.plugin_project import FORMS, PluginProject
from tests.installed import Site

WIDE = {"COLUMNS": "200"}

ROOT = Path(__file__).parents[2]
ALL = [(kind, contract) for kind, contracts in FORMS.items() for contract in contracts]
REAL = "their-merge"
"""The one that pip itself installs."""

pytestmark = pytest.mark.xdist_group("plugins new")


def new(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, ["plugins", "new", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def name_of(kind: str, contract: str) -> str:
    return f"their-{contract}-{kind}" if contract != FORMS[kind][0] else f"their-{kind}"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Where a project of each kind is installed; they lie in `projects` of its folder."""
    site = Site(tmp_path_factory.mktemp("site"))
    projects = site.folder / "projects"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", "")  # it needs no git
        for kind, contract in ALL:
            new(kind, name_of(kind, contract), "--contract", contract, "--into", projects)
    for project in projects.iterdir():
        if project.name != REAL:
            site.install_project(project)
    options = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--target", site.folder)
    pip = site.run(sys.executable, "-m", "pip", "install", *options, projects / REAL)
    assert pip.returncode == 0, pip.stderr
    return site


# ------------------------------------------------------------------------------------------------- what it writes works


def test_every_kind_of_plugin_has_a_template() -> None:
    assert {f"compat.{kind}s" for kind in FORMS} == set(registry.CONTRACTS)


def test_each_is_shown_with_its_kind_and_help(site: Site) -> None:
    with site.here():
        names = [name_of(*one) for one in ALL]
        shown = "".join(CliRunner().invoke(app, ["plugins", "show", name], env=WIDE).stdout + "\n" for name in names)
    for kind, contract in ALL:
        name = name_of(kind, contract)
        module = name.replace("-", "_")
        class_name = module.title().replace("_", "")
        assert re.search(rf"^{name} \({kind}\), from {name} \d.*\n{module}:{class_name}\n\n\w.*\.", shown, re.MULTILINE)


def test_the_tests_of_each_pass(site: Site) -> None:
    status, passed = site.tested("--rootdir", site.folder, site.folder / "projects")
    assert status == 0
    assert passed > 15 * len(ALL)


def test_ruff_finds_nothing(site: Site) -> None:
    for command in (["check"], ["format", "--check"]):
        ruff = subprocess.run(
            [Path(sys.executable).with_name("ruff"), *command, "--no-cache", site.folder / "projects"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert ruff.returncode == 0, ruff.stdout


def test_mypy_finds_nothing(site: Site, tmp_path: Path, cache: pytest.Cache) -> None:
    """Strictly, but for the types of other libraries, which it would take a minute to read.

    What it has read of compat and pydantic is kept between runs, as pytest's own cache is.
    """
    (tmp_path / "mypy.ini").write_text(
        "[mypy]\nstrict = True\nplugins = pydantic.mypy\ndisallow_subclassing_any = False\nfollow_imports = skip\n"
        "[mypy-compat_spec.*,pydantic.*,pydantic_core.*,typing_extensions,annotated_types]\nfollow_imports = normal\n"
    )
    files = [*site.folder.glob("projects/*/*.py"), *site.folder.glob("projects/*/tests/*.py")]
    assert len(files) == 2 * len(ALL)
    options = ("--config-file", tmp_path / "mypy.ini", "--cache-dir", cache.mkdir("mypy-of-new-plugins"))
    mypy = subprocess.run(
        [sys.executable, "-m", "mypy", *options, *files],
        env={"MYPYPATH": str(site.folder)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert mypy.returncode == 0, mypy.stdout


def test_pip_installs_the_module_and_nothing_else(site: Site) -> None:
    (record,) = site.folder.glob("their_merge-*.dist-info/RECORD")
    files = {line.partition(",")[0] for line in record.read_text("utf-8").splitlines()}
    assert {file for file in files if ".dist-info/" not in file and "__pycache__" not in file} == {"their_merge.py"}


def test_the_templates_are_in_the_wheel(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    there = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("compat_spec/templates/")}
    here = (path for path in (ROOT / "compat_spec" / "templates").rglob("*") if path.is_file())
    assert there == {path.relative_to(ROOT).as_posix() for path in here if path.suffix != ".pyc"}
    assert "compat_spec/py.typed" in zipfile.ZipFile(wheel).namelist()


# ------------------------------------------------------------------------------------------------------- what it says


def test_it_says_what_to_do_next(tmp_path: Path) -> None:
    said = new("metric", "sharp_tokens", "--into", tmp_path)
    folder = tmp_path / "sharp_tokens"
    assert said.startswith(f"{folder} is written. Next:\n  pip install -e {folder} ")
    assert "  compat plugins show sharp_tokens\n" in said
    assert "make sharp_tokens.py yours" in said


def test_what_exists_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("dear")
    with pytest.raises(UsageError, match=r"mine is there already, and nothing is overwritten"):
        new("merge", "mine", "--into", tmp_path)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_a_folder_that_cannot_be_made_is_a_plain_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CompatError, match="cannot be written: "):
        new("merge", "mine", "--into", tmp_path / "file")


def test_without_copier_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "copier", None)
    with pytest.raises(CompatError, match=r"pip install 'compat-spec\[authors\]'"):
        new("merge", "mine", "--into", tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["merg", "mine"], "'merg' is no kind of plugin; did you mean 'merge'?"),
        (["picture", "mine"], "there are model, trainer, task, merge, metric, executor, sink"),
        (["task", "mine", "--contract", "pair"], "a task has no contract 'pair'; leave --contract out"),
        (["merge", "mine", "--contract", "pair"], "a merge has no contract 'pair'; there are tensor and module"),
        (["merge", "My Merge"], "'My Merge' cannot be the name: take small letters and digits, .* such as my-merge"),
        (["merge", "m" * 41], "the name has 41 letters; take one of at most 40"),
        (["merge", "linear"], "there is a merge of that name, of compat-spec; take another, such as my-linear"),
        (["merge", "json"], "Python has a module json"),
        (["merge", "compat-spec"], "Python has a module compat_spec"),
        (["merge", "lambda"], "it is a word of Python or YAML"),
        (["merge", "null"], "it is a word of Python or YAML"),
        (["merge", "tensor-merge"], "its class would be called TensorMerge, like one of compat_spec.components"),
    ],
)
def test_a_name_that_will_not_do_is_told_with_what_would(arguments: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message.replace("?", r"\?")):
        new(*arguments, "--into", tmp_path)
    assert not list(tmp_path.iterdir())


def test_one_name_in_three_spellings() -> None:
    project = PluginProject("merge", "my_best-merge2")
    assert (project.distribution, project.module, project.class_name) == (
        "my-best-merge2",
        "my_best_merge2",
        "MyBestMerge2",
    )
