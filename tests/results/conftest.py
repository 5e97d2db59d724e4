"""A fresh database for each test."""

from pathlib import Path

import pytest

from compat_spec.results import Results, open_results


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return open_results(tmp_path / "results.db", create=True)
