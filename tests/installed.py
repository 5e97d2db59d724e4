"""Distributions as pip would install them: folders with modules and metadata, for processes that a test starts."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from compat_spec import registry

COMPAT = Path(sys.executable).with_name("compat")


@dataclass(frozen=True)
class Site:
    """A folder of distributions, and the processes that find them beside what is installed."""

    folder: Path

    def install(self, name: str, entry_points: str, *, required: tuple[str, ...] = (), **modules: str) -> Path:
        """A distribution of version 1.0 with these modules, by name; the folder of its metadata."""
        for module, text in modules.items():
            (self.folder / f"{module}.py").write_text(text, "utf-8")
        metadata = self.folder / f"{name.replace('-', '_')}-1.0.dist-info"
        metadata.mkdir()
        lines = "".join(f"Requires-Dist: {one}\n" for one in required)
        about = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{lines}"
        (metadata / "METADATA").write_text(about, "utf-8")
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

    @contextmanager
    def here(self) -> Iterator[None]:
        """Its distributions are installed in this process, too."""
        before = set(sys.modules)
        sys.path.append(str(self.folder))
        importlib.invalidate_caches()
        registry.forget()
        try:
            yield
        finally:
            sys.path.remove(str(self.folder))
            for name in set(sys.modules) - before:
                if str(getattr(sys.modules[name], "__file__", "")).startswith(str(self.folder)):
                    del sys.modules[name]
            registry.forget()

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

    def tested(self, *places: str | Path) -> tuple[int, int]:
        """The exit status of pytest on these files and folders, and how many tests passed.

        A process of its own: torch does not survive to be imported twice, as `pytester` has it in this one.
        """
        options = ("-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-c", os.devnull, "--import-mode=importlib")
        done = self.run(sys.executable, "-m", "pytest", *options, *places)
        passed = re.search(r"(\d+) passed", done.stdout)
        return done.returncode, int(passed[1]) if passed else 0
