"""`compat query`: the answer on standard output, in the form that was asked for, and nothing else."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from compat_spec.cli import query
from compat_spec.results import QueryError, ResultsError, open_results
from tests.results.made_up import record, score

app = typer.Typer()
app.command()(query.query)

AWKWARD = "SELECT 1 AS id, 0.1 + 0.2 AS sum, NULL AS none, 'a,\"b\"|c\nd' AS text, 9e999 AS much"


@pytest.fixture
def database(tmp_path: Path) -> str:
    path = tmp_path / "results.db"
    rows = [score("average", 3.25), score("blend", 2.5, alpha=0.5), score("blend", 12.0, alpha=1.0)]
    record(open_results(path, create=True), rows, parameters=["alpha"])
    return str(path)


def ask(sql: str, database: str, *options: str) -> str:
    result = CliRunner().invoke(app, [sql, "--results", database, *options], catch_exceptions=False)
    assert result.exit_code == 0
    assert result.stderr == ""
    return result.stdout


def test_a_table_is_aligned_with_numbers_to_the_right(database: str) -> None:
    assert ask("SELECT merge, alpha, value FROM loss", database).splitlines() == [
        "merge    alpha  value",
        "average          3.25",
        "blend      0.5    2.5",
        "blend        1     12",
    ]


def test_a_table_shows_each_row_on_one_line(database: str) -> None:
    header, row = ask(AWKWARD, database).splitlines()
    assert header.split() == ["id", "sum", "none", "text", "much"]
    assert row.split() == ["1", "0.3", 'a,"b"|c\\nd', "inf"]


def test_csv_can_be_read_back_to_the_last_digit(database: str) -> None:
    header, row = csv.reader(io.StringIO(ask(AWKWARD, database, "--format", "csv")))
    assert header == ["id", "sum", "none", "text", "much"]
    assert row == ["1", repr(0.1 + 0.2), "", 'a,"b"|c\nd', "inf"]


def test_json_can_be_read_back_to_the_last_digit(database: str) -> None:
    assert json.loads(ask(AWKWARD, database, "--format", "json")) == [
        {"id": 1, "sum": 0.1 + 0.2, "none": None, "text": 'a,"b"|c\nd', "much": float("inf")}
    ]
    assert json.loads(ask("SELECT 1 WHERE 0", database, "-f", "json")) == []
    assert len(json.loads(ask("SELECT * FROM loss", database, "-f", "json"))) == 3


def test_json_keeps_columns_of_the_same_name(database: str) -> None:
    assert json.loads(ask("SELECT 1 AS a, 2 AS a, 3 AS a", database, "-f", "json")) == [{"a": 1, "a_2": 2, "a_3": 3}]


def test_markdown_keeps_its_columns(database: str) -> None:
    assert ask(AWKWARD, database, "--format", "markdown").splitlines() == [
        "| id | sum | none | text | much |",
        "| --- | --- | --- | --- | --- |",
        '| 1 | 0.3 |  | a,"b"\\|c\\nd | inf |',
    ]


@pytest.mark.parametrize("format", ["table", "csv", "markdown"])
def test_an_answer_without_rows_still_has_its_columns(database: str, format: str) -> None:
    assert "merge" in ask("SELECT merge FROM loss WHERE 0", database, "--format", format)


def test_a_limit_cuts_the_answer(database: str) -> None:
    assert ask("SELECT merge FROM loss ORDER BY value", database, "--limit", "1", "-f", "csv") == "merge\nblend\n"
    assert ask("SELECT merge FROM loss", database, "--limit", "0", "-f", "csv") == "merge\n"


def test_the_database_may_be_named_by_the_environment(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPAT_RESULTS", database)
    assert CliRunner().invoke(app, ["SELECT count(*) AS n FROM loss", "-f", "csv"]).stdout == "n\n3\n"


def test_mistakes_are_errors_of_the_user(database: str, tmp_path: Path) -> None:
    with pytest.raises(QueryError, match="did you mean loss"):
        ask("SELECT * FROM los", database)
    with pytest.raises(QueryError, match="only read"):
        ask("DELETE FROM scores", database)
    with pytest.raises(ResultsError, match="there is no"):
        ask("SELECT 1", str(tmp_path / "missing.db"))
    assert not (tmp_path / "missing.db").exists()


def test_help_shows_an_example_that_works(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    text = CliRunner().invoke(app, ["--help"]).stdout
    sql = text.split('compat query "')[1].split('"')[0]
    assert ask(sql, database, "-f", "csv") == "merge,loss\naverage,3.25\nblend,7.25\n"


def test_asking_does_not_import_torch(database: str) -> None:
    code = """
import sys
from compat_spec.cli import query, runs, show
query.query("SELECT * FROM leaderboard", sys.argv[1], query.Format.json)
runs.runs(sys.argv[1])
show.show("last", sys.argv[1], steps=True, spec=False)
heavy = {"torch", "transformers", "numpy", "alembic"} & sys.modules.keys()
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code, database], check=True, stdout=subprocess.DEVNULL)
