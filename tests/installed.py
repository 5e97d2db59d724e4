"""Distributions as pip would install them: folders with modules and metadata, for processes that a test starts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

COMPAT = Path(sys.executable).with_name("compat")


@dataclass(frozen=True)
class Site:
    """A folder of distributions, and the processes that find them beside what is installed."""

    folder: Path

    def install(self, name: str, entry_points: str, **modules: str) -> Path:
        """A distribution of version 1.0 with these modules, by name; the folder of its metadata."""
        for module, text in modules.items():
            (self.folder / f"{module}.py").write_text(text, "utf-8")
        metadata = self.folder / f"{name.replace('-', '_')}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", "utf-8")
        (metadata / "entry_points.txt").write_text(entry_points, "utf-8")
        return metadata

    def install_project(self, project: Path) -> None:
        """A project whose modules lie beside its pyproject.toml, as `pip install` would leave it."""
        declared = tomllib.loads((project / "pyproject.toml").read_text("utf-8"))["project"]
        entry_points = "".join(
            f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in names.items())
            for group, names in declared["entry-points"].items()
        )
        self.install(declared["name"], entry_points)
        for module in project.glob("*.py"):
            if module.parent != self.folder:
                shutil.copy(module, self.folder)

    def compat(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return self.run(COMPAT, *arguments)

    def python(self, code: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-c", code, *arguments)

    def run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "PYTHONPATH": str(self.folder),
            "XDG_CACHE_HOME": str(self.folder / "cache"),  # where stevedore keeps the entry points that it found
            "COLUMNS": "200",
        }
        return subprocess.run(command, env=environment, cwd=self.folder, capture_output=True, text=True, check=False)
