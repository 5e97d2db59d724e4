"""Databases with a run of everything."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from compat_spec.report import charts
from compat_spec.report.figures.figure import Figure
from compat_spec.results import Results, open_results
from tests.report.made_up import everything


@pytest.fixture
def results(request: pytest.FixtureRequest, tmp_path: Path) -> Results:
    """A fresh database: a file of SQLite, or what the test is parametrized with."""
    if getattr(request, "param", "sqlite") == "postgresql":
        return open_results(request.getfixturevalue("server_url"), create=True)
    return open_results(tmp_path / "results.db", create=True)


@pytest.fixture(scope="session")
def full(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """A failed run with something of everything; only to be read."""
    name = tmp_path_factory.mktemp("report") / "results.db"
    everything(open_results(name, create=True), "failed")
    return open_results(name, create=False)


@pytest.fixture(scope="session")
def drawn(full: Results) -> Mapping[str, Figure]:
    """The charts of that run."""
    return charts(full)
