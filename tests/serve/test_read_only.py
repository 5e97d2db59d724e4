"""Nothing that is asked of the site can change the results, or reach other files."""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path

import pytest

from compat_spec.results import open_results
from compat_spec.serve.site import Site
from tests.serve.conftest import ask, fill, result_of, rows

WRITING = [
    "INSERT INTO runs (id) VALUES ('x')",
    "UPDATE scores SET value = 0",
    "DELETE FROM scores",
    "REPLACE INTO tasks (name) VALUES ('x')",
    "DROP TABLE scores",
    "DROP VIEW loss",
    "CREATE TABLE mine (x)",
    "CREATE TEMP TABLE mine (x)",
    "CREATE VIEW mine AS SELECT 1",
    "ALTER TABLE scores RENAME TO mine",
    "WITH x AS (SELECT 1) DELETE FROM scores",
    "EXPLAIN DELETE FROM scores",
    "BEGIN IMMEDIATE",
    "SAVEPOINT mine",
    "VACUUM",
    "VACUUM INTO '{other}'",
    "REINDEX",
    "ANALYZE",
    "ATTACH '{other}' AS mine",
    "DETACH main",
    "PRAGMA query_only = OFF",
    "PRAGMA writable_schema = ON",
    "PRAGMA journal_mode = DELETE",
    "PRAGMA wal_checkpoint(TRUNCATE)",
    "SELECT load_extension('{other}')",
    "SELECT writefile('{other}', 'x')",
    "SELECT 1; DELETE FROM scores",
]


def content(file: Path) -> str:
    """All that is in the database, as one number."""
    with sqlite3.connect(file) as connection:
        return hashlib.sha256("\n".join(connection.iterdump()).encode()).hexdigest()


@pytest.mark.parametrize("sql", WRITING)
def test_a_statement_that_writes_is_refused(sql: str, site: Site, file: Path, tmp_path: Path) -> None:
    before = content(file)
    other = tmp_path / "other.db"
    sql = sql.format(other=other)
    response = ask(site, "/results.json", params={"sql": sql})
    assert response.status_code == 400
    assert response.json()["ok"] is False
    # nor is it Datasette's look at the words alone that stops it
    with pytest.raises((sqlite3.DatabaseError, sqlite3.ProgrammingError, sqlite3.Warning)):
        result_of(site.databases["results"].execute(sql))
    assert content(file) == before
    assert not other.exists()


def test_there_is_no_connection_that_writes(site: Site, file: Path) -> None:
    before = content(file)
    database = site.databases["results"]
    for write in (database.execute_write, database.execute_write_script):
        with pytest.raises(sqlite3.OperationalError, match="only read"):
            result_of(write("DELETE FROM scores"))
    with pytest.raises(sqlite3.OperationalError, match="only read"):
        database.connect(write=True)
    assert content(file) == before


def test_a_canned_query_that_would_write_does_not(site: Site, file: Path) -> None:
    before = content(file)
    queries = {"mine": {"sql": "DELETE FROM scores", "write": True}}
    site._metadata_local["databases"]["results"]["queries"] = queries
    token = ask(site, "/results/mine").cookies.get("ds_csrftoken", "")
    ask(site, "/results/mine", "post", data={"csrftoken": token}, cookies={"ds_csrftoken": token})
    assert content(file) == before


@pytest.mark.parametrize(
    "path", ["/", "/results", "/results/loss", "/results/runs", "/results/best_merges", "/-/insert"]
)
def test_what_is_sent_changes_nothing(path: str, site: Site, file: Path) -> None:
    before = content(file)
    for method in ("post", "put", "delete", "patch"):
        refused = ask(site, path, method)
        assert (refused.status_code, refused.text) == (405, "results are only read here")
    assert content(file) == before


def test_the_file_cannot_be_fetched_nor_others(site: Site) -> None:
    for path in ("/results.db", "/_memory.json?sql=select+1", "/_internal.json?sql=select+1", "/look/../site.py"):
        assert ask(site, path).status_code in (403, 404), path


def test_a_page_elsewhere_whose_name_leads_here_gets_nothing(site: Site) -> None:
    for host, status in {
        "127.0.0.1:8001": 200,
        "localhost": 200,
        "localhost:9000": 200,
        "LocalHost": 200,
        "[::1]:8001": 200,
        "evil.example": 403,
        "evil.example:8001": 403,
        "127.0.0.1.evil.example": 403,
        "": 403,
    }.items():
        assert ask(site, "/results.json", headers={"host": host}).status_code == status, host


# --------------------------------------------------------------------------------------------------- while a run writes


def test_rows_that_a_run_has_just_written_are_there(site: Site, file: Path) -> None:
    count = "SELECT count(*) FROM runs"
    assert rows(site, count) == [[1]]
    results = open_results(file, create=True)
    fill(results)
    keeps_the_log = sqlite3.connect(file)
    keeps_the_log.execute("SELECT 1 FROM runs").fetchall()
    fill(results)
    assert file.with_name("results.db-wal").stat().st_size > 0  # the last run is in the log, and not in the file yet
    assert rows(site, count) == [[3]]
    with sqlite3.connect(f"{file.as_uri()}?immutable=1", uri=True) as immutable:
        assert immutable.execute(count).fetchall() == [(2,)]  # which is what Datasette would have shown
    keeps_the_log.close()


def test_a_transaction_under_way_is_neither_seen_nor_in_the_way(site: Site, file: Path) -> None:
    writer = sqlite3.connect(file, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("DELETE FROM scores")
    assert rows(site, "SELECT count(*) > 0 FROM scores") == [[1]]
    writer.execute("COMMIT")
    assert rows(site, "SELECT count(*) > 0 FROM scores") == [[0]]
    writer.close()


def test_a_question_leaves_no_file_behind(site: Site, file: Path) -> None:
    rows(site, "SELECT 1 FROM runs")
    ask(site, "/")
    assert [path.name for path in file.parent.iterdir()] == ["results.db"]


def test_a_file_that_is_replaced_or_gone_is_noticed(site: Site, file: Path, tmp_path: Path) -> None:
    assert rows(site, "SELECT count(*) FROM runs") == [[1]]
    file.rename(tmp_path / "old.db")
    for path in ("/", "/results", "/results/loss.json", "/-/report/last"):
        response = ask(site, path)
        assert response.status_code == 404
        assert "is not there any more" in response.text
    open_results(file, create=True)
    assert rows(site, "SELECT count(*) FROM runs") == [[0]]
