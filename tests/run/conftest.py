"""Places to run experiments in: an empty one for each test, and one where the experiment has been run already."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.run.experiments import Workplace


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    return Workplace(tmp_path)


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """Where the experiment was run; only to be looked at."""
    place = Workplace(tmp_path_factory.mktemp("once"))
    summary = place.run()
    assert summary.exit_status == 0, summary.failed
    return place


@pytest.fixture
def done(once: Workplace, tmp_path: Path) -> Workplace:
    """A copy of a place where the experiment was run, to go on with."""
    shutil.copytree(once.folder, tmp_path, dirs_exist_ok=True)
    return Workplace(tmp_path)
