"""A query reads, whatever it says, and a mistake in it is explained."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from compat_spec.results import QueryError, Results, Table, open_results
from tests.results.made_up import on_both, record, score

REFUSED = [
    "INSERT INTO runs (id) VALUES ('x')",
    "INSERT INTO scores SELECT * FROM scores RETURNING 1",
    "WITH a AS (SELECT 1) DELETE FROM scores",
    "UPDATE scores SET value = 0",
    "DROP VIEW loss",
    "CREATE TABLE mine (a)",
    "CREATE TEMP TABLE mine (a)",
    "ALTER TABLE scores ADD COLUMN a",
    "ATTACH 'other.db' AS other",
    "DETACH main",
    "VACUUM",
    "VACUUM INTO 'copy.db'",
    "REINDEX",
    "ANALYZE",
    "PRAGMA query_only = OFF",
    "PRAGMA journal_mode = DELETE",
    "PRAGMA user_version = 7",
    "PRAGMA writable_schema = ON",
    "BEGIN",
    "SAVEPOINT a",
    "SELECT load_extension('x')",
    "SELECT 1; DELETE FROM scores",
    "SELECT 1; SELECT 2",
    "",
    "-- nothing",
]


@pytest.mark.parametrize("sql", REFUSED)
def test_everything_but_one_select_is_refused(
    sql: str, results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    record(results, [score("average", 3.0)])
    content = Path("results.db").read_bytes()
    for opened in (results, open_results("results.db", create=False)):
        with pytest.raises(QueryError):
            opened.query(sql)
    assert Path("results.db").read_bytes() == content
    assert [entry.name for entry in tmp_path.iterdir()] == ["results.db"]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT value FROM loss;",
        "WITH a AS (SELECT value FROM loss) SELECT * FROM a",
        "VALUES (3.0)",
        "WITH RECURSIVE c(x) AS (SELECT 1.0 UNION ALL SELECT x + 1 FROM c WHERE x < 3) SELECT max(x) FROM c",
        "SELECT j.value FROM json_each('[3.0]') j",
    ],
)
def test_every_kind_of_select_is_answered(sql: str, results: Results) -> None:
    record(results, [score("average", 3.0)])
    assert results.query(sql).rows == [(3.0,)]


def test_the_schema_can_be_asked_for(results: Results) -> None:
    assert ("merge",) in results.query("SELECT name FROM pragma_table_info('loss')").rows
    assert results.query("PRAGMA table_info(loss)").rows


def test_parameters_are_bound(results: Results) -> None:
    assert results.query("SELECT ? AS a, ? AS b", ("it's", None)) == Table(("a", "b"), [("it's", None)])
    with pytest.raises(QueryError, match="bindings"):
        results.query("SELECT ?")


@on_both
def test_an_answer_can_be_cut_and_streamed(results: Results) -> None:
    record(results, [score("average", float(seed), seed=seed) for seed in range(9)])
    assert results.query("SELECT value FROM loss ORDER BY value", limit=2).rows == [(0.0,), (1.0,)]
    endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c"
    with results.stream(endless) as (columns, rows):
        assert columns == ("x",)
        assert next(rows) == (1,)


@on_both
def test_a_wrong_name_brings_the_nearest_and_all_others(results: Results) -> None:
    with pytest.raises(QueryError) as mistake:
        results.query("SELECT * FROM los")
    assert str(mistake.value).splitlines()[0] == "no such table: los; did you mean loss?"
    assert "critical_steps" in str(mistake.value)
    assert "tables: compat_schema, example_scores, models, runs" in str(mistake.value)

    record(results, [score("blend", 1.0, alpha=0.5)], parameters=["alpha"])
    with pytest.raises(QueryError) as mistake:
        results.query("SELECT l.alhpa FROM loss AS l")
    first, second = str(mistake.value).splitlines()
    assert first == "no such column: l.alhpa; did you mean alpha?"
    assert second.startswith("loss: experiment, run, merge")


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELEC 1", 'near "SELEC": syntax error'),
        ("SELECT 1 FROM loss WHERE", "incomplete input"),
        ("SELECT nonsense(1)", "no such function: nonsense"),
        ("SELECT 1; SELECT 2", "more than one statement"),
        ("DELETE FROM scores", "queries only read"),
        ("", "write a SELECT"),
    ],
)
def test_what_is_wrong_with_a_query_is_said(sql: str, message: str, results: Results) -> None:
    with pytest.raises(QueryError, match=message):
        results.query(sql)


@on_both
# where the interrupt meets the handler itself, SQLite tells of it and stops all the same
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_long_query_can_be_stopped(results: Results) -> None:
    endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c"
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(KeyboardInterrupt):
            results.query(endless)
    finally:
        signal.signal(signal.SIGALRM, before)
