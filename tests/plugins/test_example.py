"""`plugins/compat-example` is whole: its wheel works where nothing else of this repository is but the engine's."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "plugins" / "compat-example"

pytestmark = pytest.mark.xdist_group("example")


@dataclass(frozen=True)
class Environment:
    """A virtual environment with the two wheels, which sees the libraries installed here, and none of our code.

    What is installed for development is found by `.pth` files, and those of another environment are not read.
    """

    folder: Path
    wheels: Sequence[Path]

    def run(self, program: str, *arguments: str | Path) -> str:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        command = [self.folder / "bin" / program, *arguments]
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    folder = tmp_path_factory.mktemp("clean")
    for project in (ROOT, EXAMPLE):
        build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder / "wheels"]
        subprocess.run(build, cwd=project, check=True, capture_output=True)
    wheels = sorted((folder / "wheels").iterdir())
    environment = folder / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    (site,) = environment.glob("lib/python*/site-packages")
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--python", environment, "install", "--quiet", "--no-deps", "--no-index"]
    # pip finds our distributions through the .pth, as installed, and leaves what belongs to another environment alone
    subprocess.run([*pip, "--ignore-installed", *wheels], check=True)
    return Environment(environment, wheels)


def test_its_wheel_has_all_of_its_package_and_nothing_else(clean: Environment) -> None:
    (wheel,) = [wheel for wheel in clean.wheels if wheel.name.startswith("compat_example-")]
    there = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    here = (path for path in (EXAMPLE / "compat_example").iterdir() if path.is_file())
    assert there == {f"compat_example/{path.name}" for path in here}


def test_only_the_wheels_are_there(clean: Environment) -> None:
    code = (
        "import json, compat_spec, compat_plugins, compat_example\n"
        "print(json.dumps([m.__file__ for m in (compat_spec, compat_plugins, compat_example)]))"
    )
    for file in json.loads(clean.run("python", "-c", code)):
        assert Path(file).is_relative_to(clean.folder)


def test_a_spec_that_uses_it_runs(clean: Environment) -> None:
    printed = clean.run("compat", "run", EXAMPLE / "example.yaml")
    (heading,) = re.findall(r"^model .*", printed, re.MULTILINE)
    assert "calibration_error" in heading
    assert re.search(r"^consensus +merge +\d\.\d+ +0\.\d+ +selective 0\.\d", printed, re.MULTILINE)
    with closing(sqlite3.connect(clean.folder / "results.db")) as results:
        rows = results.execute("SELECT DISTINCT selective FROM loss WHERE merge = 'consensus'").fetchall()
    assert {0.2, 0.6} <= {value for (value,) in rows}
