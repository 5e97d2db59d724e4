"""Results on a server of PostgreSQL: what differs from a file of SQLite, and that nothing else does."""

from __future__ import annotations

import math
import multiprocessing
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from compat_spec.results import QueryError, Results, ResultsError, open_results
from compat_spec.results.schema import VERSION_TABLE
from tests.postgresql import PASSWORD, Server, on_the_server
from tests.results.made_up import info, record, score, similarity, start
from tests.results.test_opening import open_and_write

pytestmark = on_the_server


@pytest.fixture
def results(server_url: str) -> Results:
    return open_results(server_url, create=True)


def types_of(results: Results, view: str = "loss") -> dict[str, str]:
    rows = results.query(
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = %s", (view,)
    ).rows
    return dict(rows)


def write_much(results: Results) -> None:
    """Two experiments, one of them twice, with every kind of row."""
    rows = [
        score(
            model, 3.0 + seed / 8 - step / 100 + alpha, seed=seed, step=step, alpha=alpha, span=span, quantity=quantity
        )
        for model in ("average", "blend")
        for seed in (0, 1, 2)
        for step in (10, 20)
        for alpha, span in ((0.25, 1), (0.5, 2))
        for quantity in ("loss", "accuracy", "perplexity")
    ]
    rows += [score("base", math.nan), score("math", math.inf), score("code", 1e200), score("code", 1e-200, seed=1)]
    rows += [score("code", 1e200, seed=seed, quantity="perplexity", on=True) for seed in (0, 1)]
    rows += [score("average", 2.0, metric="nll", examples=[(0, 1.5, 3), (7, math.nan, 0.5), (9, -math.inf, 1)])]
    rows += [score("blend", 0.5, quantity="load", block=block, expert=expert) for block in (0, 1) for expert in (0, 1)]
    record(results, rows[:9], parameters=["alpha", "span", "on"])
    writer = start(results, parameters=["alpha", "span", "on"])
    writer.scores(rows)
    writer.similarities([similarity(a, b, a / 4 + b / 8, steps=(1, 1 + b)) for a in (0, 1) for b in (0, 1)])
    writer.finish("finished")
    words = [score("blend", 2.0, update=update, quantity="answers") for update in ("mlp", "all", None)]
    record(results, words, "another", parameters=["update"], status="failed")


def test_every_view_shows_what_sqlite_shows(results: Results, tmp_path: Path) -> None:
    file = open_results(tmp_path / "results.db", create=True)
    for database in (file, results):
        write_much(database)
    views = [name for (name,) in file.query("SELECT name FROM sqlite_master WHERE type = 'view'").rows]
    assert len(views) > 10
    for view in views:
        expected, found = (database.query(f"SELECT * FROM {view}") for database in (file, results))
        assert found.columns == expected.columns
        known = [{run.id: number for number, run in enumerate(database.runs())} for database in (file, results)]
        both = [
            sorted(([numbers.get(value, value) for value in row] for row in table.rows), key=repr)
            for numbers, table in zip(known, (expected, found), strict=True)
        ]
        assert both[1] == both[0], view
        assert expected.rows
        assert [list(map(type, row)) for row in both[1]] == [list(map(type, row)) for row in both[0]], view


def test_parameters_have_the_type_of_their_values(results: Results) -> None:
    names = ["whole", "number", "word", "mixed", "flag", "list", "never"]
    first = {"whole": 3, "number": 0.5, "word": "mlp", "mixed": 1, "flag": True, "list": [1, 2]}
    record(results, [score("blend", 1.0, parameters=first)], parameters=names)
    assert results.query("SELECT whole, number, word, mixed, flag, list, never FROM loss").rows == [
        (3, 0.5, "mlp", 1, 1, "[1, 2]", None)
    ]
    assert results.query("SELECT merge FROM loss WHERE whole > 2 AND number <= 0.5 AND mixed = 1").rows == [("blend",)]
    writer = start(results, parameters=names)
    writer.scores([score("blend", 1.0, mixed=1, whole=1.5)])
    writer.scores([score("blend", 1.0, mixed="all", whole=2**70, number=7)])
    writer.finish("finished")
    assert results.query("SELECT mixed, whole, number FROM loss ORDER BY whole").rows == [
        ("1", 1.5, None),
        ("all", 2.0**70, 7.0),
    ]
    assert [types_of(results)[name] for name in ("whole", "number", "word", "mixed", "flag", "never")] == [
        "double precision",
        "double precision",
        "text",
        "text",
        "bigint",
        "bigint",
    ]


def test_types_do_not_become_narrower_even_where_the_views_were_lost(results: Results, server: Server) -> None:
    record(results, [score("blend", 1.0, alpha="all", span=1.5, step=1)], parameters=["alpha", "span"])
    before = types_of(results)
    record(results, [score("blend", 1.0, alpha=1, span=1, step=1)], parameters=["alpha", "span"])
    assert types_of(results) == before
    url = results._reading.url.render_as_string(hide_password=False)
    server.execute(url, "DROP VIEW all_scores CASCADE", "DROP VIEW loss CASCADE")
    record(results, [score("blend", 1.0, alpha=2, span=2, step=1)], parameters=["alpha", "span"])
    assert types_of(results) == before
    assert results.query("SELECT alpha, span FROM all_scores ORDER BY alpha").rows == [
        ("1", 1.0),
        ("2", 2.0),
        ("all", 1.5),
    ]


def test_parameters_may_have_any_name(results: Results) -> None:
    names = ["select", "two words", 'say "x"', "it's", "back\\slash", "new\nline", "größe", "a.b[0]$", "", "100%", "%s"]
    record(results, [score("blend", 1.0, parameters=dict.fromkeys(names, 0.5))], parameters=names)
    (row,) = results.query("SELECT * FROM loss").rows
    assert row.count(0.5) == len(names)


def test_a_run_that_sweeps_nothing_new_leaves_the_views_alone(results: Results) -> None:
    def made() -> list[tuple[Any, ...]]:
        return results.query("SELECT oid FROM pg_class WHERE relkind = 'v' AND relname = 'loss'").rows

    record(results, [score("blend", 1.0, alpha=0.5)], parameters=["alpha"])
    before = made()
    record(results, [score("blend", 1.0, alpha=0.25)], parameters=["alpha"])
    assert made() == before


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO runs (id) VALUES ('x')",
        "WITH gone AS (DELETE FROM scores RETURNING *) SELECT * FROM gone",
        "SELECT nextval('runs_run_id_seq')",
        "SELECT 1 AS a UNION ALL SELECT nextval('runs_run_id_seq')",
        "SELECT setval('runs_run_id_seq', 99)",
        "DELETE FROM scores",
        " /* no */ -- comment\nupdate scores SET value = 0",
        "DROP VIEW loss",
        "DROP TABLE scores CASCADE",
        "TRUNCATE scores CASCADE",
        "CREATE TABLE mine (a int)",
        "CREATE TEMP TABLE mine (a int)",
        "SELECT * INTO mine FROM scores",
        "COPY scores TO STDOUT",
        "DO $$ BEGIN DELETE FROM scores; END $$",
        "SET default_transaction_read_only = off",
        "SELECT set_config('transaction_read_only', 'off', false)",
        "BEGIN",
        "COMMIT",
        "SELECT 1; DELETE FROM scores",
        "SELECT 1; COMMIT; DELETE FROM scores",
        "SELECT 1; SELECT 2",
        "SELECT value FROM loss FOR UPDATE",
        "",
        " ; ",
        "-- nothing",
        "/* nothing */",
    ],
)
def test_everything_but_one_select_is_refused(sql: str, filled: Results) -> None:
    state = "SELECT count(*), (SELECT last_value FROM runs_run_id_seq), (SELECT count(*) FROM pg_class) FROM scores"
    before = filled.query(state)
    with pytest.raises((QueryError, ResultsError), match=r"only read|SELECT|more than one|INTO|FOR UPDATE|read-write"):
        filled.query(sql)
    assert filled.query(state) == before


@pytest.fixture(scope="module")
def filled(server: Server) -> Results:
    """Results with one score, only to be asked."""
    results = open_results(server.new_database(), create=True)
    record(results, [score("average", 3.0)])
    return results


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELEC 1", 'syntax error at or near "SELEC"'),
        ("SELECT 1 FROM loss WHERE", "syntax error at end of input"),
        ("SELECT nonsense(1)", r"function nonsense.integer. does not exist"),
        ("SELECT 1; SELECT 2", "more than one statement"),
        ("DELETE FROM scores", "queries only read"),
        ("SELECT nextval('runs_run_id_seq')", "queries only read"),
        ("WITH a AS (DELETE FROM scores RETURNING *) SELECT * FROM a", "queries only read"),
        ("SELECT 1 / (value - 3)::int FROM loss", "division by zero"),
        ("SELECT 1/0", "division by zero"),
        ("", "write a SELECT"),
        ("SELECT * FROM los", "no such table: los; did you mean loss[?]"),
        ("SELECT l.mergee FROM loss l", "no such column: l.mergee; did you mean merge[?]"),
        ("SELECT x.merge FROM loss l", 'missing FROM-clause entry for table "x"'),
        ("SELECT %s", r"syntax error"),
    ],
)
def test_what_is_wrong_with_a_query_is_said(sql: str, message: str, filled: Results) -> None:
    with pytest.raises(QueryError, match=message):
        filled.query(sql)


def test_answers_are_plain_values(filled: Results) -> None:
    (row,) = filled.query(
        "SELECT count(*), sum(n), avg(seed), 1.5::numeric, sum(seed::bigint), round(value, 1), versions ->> 'python', "
        "versions, 10 % 3, started FROM scores JOIN runs USING (run_id) GROUP BY value, versions, started"
    ).rows
    assert row[:-1] == (1, None, 0, 1.5, 0, 3.0, "3.11.2", '{"torch": "2.13.0", "python": "3.11.2"}', 1)
    assert isinstance(row[-1], datetime)
    assert [type(value) for value in row[2:6]] == [float, float, int, float]
    assert filled.query(
        "SELECT round(2.345, 2), round(0.125::double precision, 2), round('Infinity'::float8, 2)"
    ).rows == [(2.35, 0.13, math.inf)]
    assert filled.query("SELECT %s::text AS a, %s::int AS b", ("it's", None)).rows == [("it's", None)]


def test_diverged_losses_do_not_break_the_leaderboard(results: Results) -> None:
    values = {"average": (1e200, 1.0), "blend": (math.inf, 1.0), "math": (math.inf, -math.inf), "code": (1e-200, 0.0)}
    rows = [score(model, value, seed=seed) for model, both in values.items() for seed, value in enumerate(both)]
    record(results, rows)
    assert results.query("SELECT merge, loss, loss_se FROM leaderboard ORDER BY merge").rows == [
        ("average", 5e199, math.inf),
        ("blend", math.inf, math.inf),
        ("code", 5e-201, 0.0),
        ("math", None, None),
    ]


def made_by_newer(server: Server, url: str) -> None:
    open_results(url, create=True)
    server.execute(url, f"UPDATE {VERSION_TABLE} SET version_num = '9999'")


def without_a_column(server: Server, url: str) -> None:
    open_results(url, create=True)
    server.execute(url, "ALTER TABLE similarities DROP COLUMN layer_b CASCADE")


def of_somebody_else(server: Server, url: str) -> None:
    server.execute(url, "CREATE TABLE photos (name text)")


def with_our_names_but_not_ours(server: Server, url: str) -> None:
    server.execute(url, "CREATE TABLE runs (distance real)")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (made_by_newer, "newer compat"),
        (without_a_column, r"lacks similarities\.layer_b"),
        (of_somebody_else, r"something else than results .tables photos[)]"),
        (with_our_names_but_not_ours, r"something else than results .tables runs[)]"),
    ],
)
def test_what_is_not_ours_is_refused_and_left_alone(make: Any, message: str, server: Server, server_url: str) -> None:
    make(server, server_url)
    everything = "SELECT relname, relkind FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1"
    before = server.execute(server_url, everything)
    for create in (True, False):
        with pytest.raises(ResultsError, match=message) as refusal:
            open_results(server_url, create=create)
        assert PASSWORD not in str(refusal.value)
    assert server.execute(server_url, everything) == before


def test_an_empty_database_can_be_filled_but_not_read(server_url: str) -> None:
    with pytest.raises(ResultsError, match="is empty; compat run fills it"):
        open_results(server_url, create=False)
    open_results(server_url, create=True)
    read = open_results(server_url, create=False)
    assert read.runs() == []
    with pytest.raises(ResultsError, match="opened to be read only"):
        read.start_run(info())


@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"password": "guess/ed@"}, 'password authentication failed for user "compat"; check the user'),
        ({"username": "nobody-here"}, "authentication failed"),
        ({"database": "nowhere"}, "no such database; make it with createdb"),
        ({"port": 1}, "cannot reach the server of .*refused; is it running there"),
        ({"host": "nowhere.invalid"}, "cannot reach the server of .*; is it running there"),
        ({"host": None, "query": {"host": "/nowhere"}}, "cannot reach the server of .*; is it running there"),
    ],
)
def test_a_server_that_does_not_let_us_in(wrong: dict[str, Any], message: str, create: bool, server: Server) -> None:
    url = server.url(**{"database": "postgres", **wrong})
    with pytest.raises(ResultsError, match=message) as refusal:
        open_results(url, create=create)
    assert "\n" not in str(refusal.value)
    assert "geheim" not in str(refusal.value)
    assert "guess" not in str(refusal.value)


def test_a_user_who_may_only_read(results: Results, server: Server, server_url: str) -> None:
    record(results, [score("average", 3.0)])
    name = server_url.rpartition("/")[2]
    server.execute(
        server_url,
        f"CREATE ROLE guest_{name} LOGIN PASSWORD 'guest'",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO guest_{name}",
    )
    guest = server.url(name, username=f"guest_{name}", password="guest")
    assert open_results(guest, create=False).query("SELECT value FROM loss").rows == [(3.0,)]
    with pytest.raises(ResultsError, match="permission denied for table runs; its owner"):
        start(open_results(guest, create=True))
    server.execute(server_url, "REVOKE SELECT ON scores FROM PUBLIC", f"DROP OWNED BY guest_{name}")
    with pytest.raises(ResultsError, match="permission denied for table compat_schema"):
        open_results(guest, create=False)


def test_a_server_that_only_reads(server: Server, server_url: str) -> None:
    server.execute(server_url, f"ALTER DATABASE {server_url.rpartition('/')[2]} SET default_transaction_read_only = on")
    with pytest.raises(ResultsError, match=r"cannot write .*lets us read only"):
        open_results(server_url, create=True)


def test_views_that_others_built_on_ours_are_not_taken_away(results: Results, server: Server, server_url: str) -> None:
    server.execute(server_url, "CREATE VIEW mine AS SELECT merge FROM loss")
    record(results, [score("average", 3.0)])
    with pytest.raises(ResultsError, match="again: view mine depends on view loss; drop what was built"):
        start(results, parameters=["alpha"])
    assert len(results.runs()) == 1


def test_tables_that_somebody_keeps_locked(results: Results, server_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compat_spec.results.views.LOCK_SECONDS", 0.05)
    with psycopg.connect(server_url.replace("+psycopg", "")) as other:
        other.execute("SELECT * FROM loss")  # in a transaction that stays open
        with pytest.raises(ResultsError, match="is locked: somebody"):
            start(results, parameters=["alpha"])
    start(results, parameters=["alpha"])


def test_a_full_disk_is_named() -> None:
    from compat_spec.results.postgresql import explanation

    full = psycopg.errors.DiskFull("could not extend file: No space left on device")
    assert explanation("db", full) == "cannot write db: the disk of the server is full"


def test_processes_may_make_and_write_one_new_database_at_once(server_url: str) -> None:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    processes = [context.Process(target=open_and_write, args=(server_url, barrier, number)) for number in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    results = open_results(server_url, create=False)
    assert len(results.runs()) == 20
    assert results.query("SELECT p0, p1, count(*) FROM all_scores GROUP BY p0, p1 ORDER BY p0").rows == [
        (1, None, 10),
        (None, 1, 10),
    ]


def test_a_connection_that_was_lost_between_two_writes_is_made_again(results: Results, server: Server) -> None:
    writer = start(results)
    writer.scores([score("average", 1.0)])
    server.stop("fast")
    with pytest.raises(ResultsError, match=r"cannot reach the server of .*is it running there"):
        writer.scores([score("average", 2.0, seed=1)])
    with pytest.raises(ResultsError, match="cannot reach the server"):
        results.query("SELECT 1")
    server.start()
    writer.scores([score("average", 2.0, seed=1)])
    writer.finish("finished")
    assert results.query("SELECT value FROM loss ORDER BY 1").rows == [(1.0,), (2.0,)]


def test_an_answer_that_breaks_off_is_an_error(results: Results, server: Server, server_url: str) -> None:
    def break_off() -> None:
        sql = "SELECT pg_backend_pid(), number FROM generate_series(1, 1000000) number"
        with results.stream(sql) as (_, rows):
            process, _ = next(rows)
            server.execute(server_url, f"SELECT pg_terminate_backend({process})")
            list(rows)

    with pytest.raises(ResultsError, match=r"the connection to .*:\*\*\*@.* was lost .*terminating connection"):
        break_off()
