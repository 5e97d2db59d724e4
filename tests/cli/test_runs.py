"""`compat runs`: one line for each run."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from compat_spec.cli import runs
from compat_spec.results import Results, ResultsError, StepRow, open_results
from compat_spec.results.rows import StepStatus
from tests.results.made_up import info, start

app = typer.Typer()
app.command()(runs.runs)


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return open_results(tmp_path / "results.db", create=True)


def listed(results: Results, *options: str) -> list[str]:
    result = CliRunner().invoke(app, ["--results", results.name, *options], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout.splitlines()


def test_each_run_has_a_line_the_newest_first(results: Results) -> None:
    first = results.start_run(info("layers", device="cuda:0"))
    statuses: list[StepStatus] = ["computed", "computed", "reused", "reused", "reused", "failed", "skipped"]
    first.steps([StepRow(fingerprint=str(n), kind="merge", label="x", status=s) for n, s in enumerate(statuses)])
    first.finish("failed")
    second = start(results, "routing")
    header, newest, oldest = listed(results)
    assert " ".join(header.split()) == "run experiment status started ago computed reused failed took device"
    cells = oldest.split()
    assert cells[:3] == [first.id, "layers", "failed"]
    age = datetime.now() - datetime.fromisoformat(" ".join(cells[3:5]))
    assert 0 <= age.total_seconds() < 120
    assert cells[7:10] == ["2", "3", "1"]
    assert cells[-1] == "cuda:0"
    assert newest.split()[:3] == [second.id, "routing", "running"]


def test_a_limit_keeps_the_newest(results: Results) -> None:
    ids = [start(results).id for _ in range(3)]
    assert [line.split()[0] for line in listed(results, "--limit", "2")[1:]] == [ids[2], ids[1]]


def test_before_the_first_run_it_says_what_to_do(results: Results) -> None:
    assert listed(results) == ["no runs yet; start one with compat run SPEC"]


def test_a_missing_database_is_an_error_and_stays_missing(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="compat run makes it"):
        CliRunner().invoke(app, ["--results", str(tmp_path / "none.db")], catch_exceptions=False)
    assert list(tmp_path.iterdir()) == []


def test_long_names_are_whole_in_a_pipe(results: Results) -> None:
    start(results, "a-very-long-name-of-an-experiment-" * 5)
    assert "a-very-long-name-of-an-experiment-" * 5 in listed(results)[1]
