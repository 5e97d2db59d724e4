"""`compat compare`: a sentence first, then the numbers."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from compat_spec.cli import compare
from compat_spec.errors import UsageError
from compat_spec.results import open_results
from tests.report.compare.test_comparing import losses, measured
from tests.results.made_up import record

app = typer.Typer()
app.command()(compare.compare)


@pytest.fixture
def database(tmp_path: Path) -> str:
    path = tmp_path / "results.db"
    rows = measured("average", losses(0.4)) + measured("base", losses(0.8, number=3))
    rows += [
        row
        for step, alpha in ((10, 0.25), (10, 0.5), (20, 0.5))
        for row in measured("blend", losses(alpha, number=step), step=step, alpha=alpha)
    ]
    record(open_results(path, create=True), rows, parameters=["alpha"])
    return str(path)


def said(database: str, *arguments: str) -> str:
    result = CliRunner().invoke(app, [*arguments, "--results", database], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_it_begins_with_a_sentence_and_ends_with_what_to_know(database: str) -> None:
    lines = said(database, "average", "base").splitlines()
    assert lines[0].startswith("average is better than base by 0.")
    assert lines[0].endswith(" 40 examples).")
    assert " nats per token (95 % CI 0." in lines[0]
    assert lines[2] == "loss on program (test split)"
    assert lines[3].split() == ["A", "B", "A", "-", "B", "95", "%", "CI", "p", "p", "(flips)", "d_z", "wins"]
    assert lines[4].split()[:2] == ["average", "base"]
    assert any("other seeds and other examples" in line for line in lines)


def test_settings_of_all_and_another_level(database: str) -> None:
    lines = said(database, "blend", "average", "--where", "alpha=0.5", "--at", "20", "--level", "0.9").splitlines()
    assert "blend[alpha=0.5,step=20]" in lines[0]
    assert "90 % CI" in lines[0]
    assert not any("flatters" in line for line in lines)


def test_against_one(database: str) -> None:
    found = json.loads(said(database, "--against", "base", "--format", "json", "--correction", "bh"))
    assert [(row["a"], row["b"]) for row in found] == [("average", "base"), ("blend[alpha=0.25,step=10]", "base")]
    assert {row["correction"] for row in found} == {"bh"}
    assert all(row["low"] < row["difference"] < row["high"] for row in found)


def test_other_formats_have_all_digits(database: str) -> None:
    (row,) = csv.DictReader(io.StringIO(said(database, "average", "base", "-f", "csv")))
    (same,) = json.loads(said(database, "average", "base", "-f", "json"))
    assert float(row["difference"]) == same["difference"]
    assert said(database, "average", "base", "-f", "markdown").splitlines()[1].startswith("| --- |")


@pytest.mark.parametrize("wrong", [["--level", "95"], ["--where", "alpha"], ["--where", "alpha="]])
def test_wrong_options_are_said(database: str, wrong: list[str]) -> None:
    with pytest.raises(UsageError, match=r"--level 95 is none|sets nothing"):
        said(database, "average", "base", *wrong)
