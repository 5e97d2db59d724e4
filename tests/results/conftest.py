"""A fresh database for each test: a file of SQLite, or what the test is parametrized with."""

from pathlib import Path

import pytest

from compat_spec.results import Results, open_results


@pytest.fixture
def results(request: pytest.FixtureRequest, tmp_path: Path) -> Results:
    if getattr(request, "param", "sqlite") == "postgresql":
        return open_results(request.getfixturevalue("server_url"), create=True)
    return open_results(tmp_path / "results.db", create=True)
