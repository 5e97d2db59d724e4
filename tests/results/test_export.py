"""What was exported, read back by other tools, is what SQL says: to the last bit, in whatever kind of file."""

from __future__ import annotations

import csv
import json
import math
import resource
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, cast, get_args

import duckdb
import numpy as np
import pyarrow.parquet
import pytest

from compat_spec.errors import CompatError
from compat_spec.results import Results, ResultsError, StepRow
from compat_spec.results.export import Kind, export
from compat_spec.results.relations import Relation
from compat_spec.results.views import COLUMN_TYPES
from tests.results.made_up import on_both, record, score, similarity, start

KINDS = get_args(Kind)

ODD_NAMES = ["alpha", "Alpha", "step", 'it"s', "ein.Maß", "with, comma", "名前", "mixed", "never", "%s"]

NOWHERE = Relation("nowhere", "SELECT * FROM nowhere", {})

Read = Callable[[Path, str], tuple[list[str], list[tuple[Any, ...]]]]


def read_parquet(out: Path, name: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    table = pyarrow.parquet.read_table(out / f"{name}.parquet")
    columns = [column.to_pylist() for column in table.columns]
    return table.column_names, list(zip(*columns, strict=True))


def read_duckdb(out: Path, name: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    with duckdb.connect(str(out), read_only=True) as connection:
        found = connection.execute(f"SELECT * FROM {name}")
        return [column[0] for column in found.description or ()], found.fetchall()


def read_jsonl(out: Path, name: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    rows = [json.loads(line) for line in (out / f"{name}.jsonl").read_text("utf-8").splitlines()]
    return list(rows[0]), [tuple(row.values()) for row in rows]


def read_csv(out: Path, name: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    with (out / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    return header, [tuple(row) for row in rows]


READ = {"parquet": read_parquet, "duckdb": read_duckdb, "jsonl": read_jsonl, "csv": read_csv}


def fill(results: Results) -> str:
    """A run with all kinds of rows and names, after another one of the same experiment; the id of the first."""
    first = record(results, [score("base", 7.0)])
    writer = start(results, parameters=ODD_NAMES)
    odd = {
        'it"s': "ä\n,\"'",
        "ein.Maß": 0.1 + 0.2,
        "with, comma": [1, "x"],
        "名前": "日本 🙂",
        "mixed": 1,
        "step": True,
    }
    values = [0.1 + 0.2, math.nan, math.inf, -math.inf, -0.0, 5e-324, 1.7976931348623157e308]
    writer.scores(
        [
            score(
                "blend", value, seed=seed, step=seed, parameters={**odd, "alpha": 0.5 + seed}, examples=[(0, value, 2)]
            )
            for seed, value in enumerate(values)
        ]
    )
    writer.scores([score("average", 2.0, parameters={"mixed": "", "Alpha": 2**40, "%s": 1})])
    writer.scores([score("blend", 0.5, quantity="load", block=0, expert=1, token_class="digits")])
    writer.similarities([similarity(0, 1, 0.25, steps=(1, 2))])
    writer.step(StepRow(fingerprint="0", kind="train", label="x", status="failed", error="ä\r\n\tb", facts={"a": [1]}))
    writer.finish("finished")
    return first


def plain(value: Any) -> Any:
    """A value as CSV has it."""
    return "" if value is None else value if isinstance(value, str) else repr(value)


EACH_KIND = pytest.mark.parametrize(
    ("results", "kind"),
    [
        *(("sqlite", kind) for kind in KINDS),
        pytest.param("postgresql", "parquet", marks=pytest.mark.xdist_group("postgresql")),
    ],
    indirect=["results"],
)


@EACH_KIND
def test_what_is_read_back_is_what_sql_says(results: Results, tmp_path: Path, kind: Kind) -> None:
    fill(results)
    out = tmp_path / "out"
    exported = export(results, kind, out)
    assert {"loss", "examples", "leaderboard", "routing", "cka", "all_scores", "latest_runs"} <= {
        one.name for one in exported
    }
    for one in exported:
        said = results.query(f"SELECT * FROM {one.name}")
        assert one.rows == len(said.rows)
        if not said.rows:
            continue
        columns, rows = cast("Read", READ[kind])(one.path if kind == "duckdb" else out, one.name)
        assert columns == list(said.columns), one.name
        mixed = said.columns.index("mixed") if "mixed" in said.columns else None
        # what is a whole number in one row of SQLite and a word in another is text in a file, as it is in PostgreSQL
        wanted = [
            tuple(str(value) if i == mixed and value is not None else value for i, value in enumerate(row))
            for row in said.rows
        ]
        number = [COLUMN_TYPES.get(name) == "double precision" for name in columns]
        wanted = [
            tuple(float(x) if is_number and x is not None else x for x, is_number in zip(row, number, strict=True))
            for row in wanted
        ]
        if kind == "csv":
            wanted = [tuple(map(plain, row)) for row in wanted]
        assert sorted(map(repr, rows)) == sorted(map(repr, wanted)), one.name


@pytest.mark.parametrize(
    ("results", "kind"),
    [
        ("sqlite", "duckdb"),
        ("sqlite", "parquet"),
        pytest.param("postgresql", "parquet", marks=pytest.mark.xdist_group("postgresql")),
    ],
    indirect=["results"],
)
def test_columns_have_types_also_where_they_are_empty(results: Results, tmp_path: Path, kind: Kind) -> None:
    fill(results)
    out = tmp_path / "out"
    export(results, kind, out, tables=True)

    def types(name: str) -> dict[str, str]:
        if kind == "parquet":
            return {field.name: str(field.type) for field in pyarrow.parquet.read_schema(out / f"{name}.parquet")}
        with duckdb.connect(str(out), read_only=True) as connection:
            return {row[0]: row[1] for row in connection.execute(f"DESCRIBE {name}").fetchall()}

    whole, number, text, time = (
        ("int64", "double", "string", "timestamp[us]")
        if kind == "parquet"
        else ("BIGINT", "DOUBLE", "VARCHAR", "TIMESTAMP")
    )
    found = types("perplexity")  # without any row
    assert [found[name] for name in ("seed", "value", "merge")] == [whole, number, text]
    assert [found[name] for name in ("alpha_", "mixed", "never", "名前", "ein.Maß")] == [
        number,
        text,
        whole,
        text,
        number,
    ]
    tables = types("runs")
    assert [tables[name] for name in ("run_id", "started", "versions")] == [whole, time, text]
    assert types("similarities")["se"] == number


@on_both
def test_tables_come_whole(results: Results, tmp_path: Path) -> None:
    fill(results)
    export(results, "parquet", tmp_path / "out", tables=True)
    for name in ("runs", "steps", "models", "tasks", "scores", "example_scores", "similarities"):
        columns, rows = read_parquet(tmp_path / "out", name)
        said = results.query(f"SELECT * FROM {name}")
        assert set(columns) == set(said.columns)
        assert len(rows) == len(said.rows) > 0
    columns, rows = read_parquet(tmp_path / "out", "runs")
    known = results.runs()[0]
    last = dict(zip(columns, rows[-1], strict=True))
    assert last["id"] == known.id
    assert last["started"] == known.started.replace(tzinfo=None)
    assert isinstance(last["finished"], datetime)
    assert json.loads(last["versions"]) == known.versions


def test_one_run_alone_also_an_older_one(results: Results, tmp_path: Path) -> None:
    first = fill(results)
    exported = {one.name: one.rows for one in export(results, "jsonl", tmp_path / "a", run=first, tables=True)}
    assert exported["loss"] == exported["all_scores"] == exported["scores"] == exported["runs"] == 1
    assert exported["examples"] == exported["example_scores"] == exported["cka"] == 0
    columns, ((*values,),) = read_jsonl(tmp_path / "a", "loss")
    assert columns == ["experiment", "run", "merge", "role", "task", "split", "metric", "seed", "step", "value", "n"]
    assert values[1] == first
    newest = {one.name: one.rows for one in export(results, "jsonl", tmp_path / "b", run="last", tables=True)}
    assert newest["loss"] == 8
    assert newest["example_scores"] == newest["examples"] == 7
    assert newest["all_scores"] == newest["scores"] == 9
    assert newest["latest_runs"] == newest["runs"] == 1


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_there_is_kept_unless_told_otherwise(results: Results, tmp_path: Path, kind: Kind) -> None:
    record(results, [score("average", 1.0)])
    out = tmp_path / "deep" / "out"
    export(results, kind, out)
    record(results, [score("average", 2.0), score("blend", 3.0)])
    with pytest.raises(ResultsError, match=r"there already; --force overwrites"):
        export(results, kind, out)
    if kind == "jsonl":
        assert len(read_jsonl(out, "loss")[1]) == 1
    done = {one.name: one.rows for one in export(results, kind, out, force=True)}
    assert done["loss"] == 2
    assert len(READ[kind](out, "loss")[1]) == 2
    left = out.parent if kind == "duckdb" else out
    assert not [path for path in left.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("kind", KINDS)
def test_an_export_that_fails_leaves_everything_as_it_was(
    results: Results, tmp_path: Path, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(results, [score("average", 1.0)])
    out = tmp_path / "out"
    export(results, kind, out)
    paths = [out] if kind == "duckdb" else sorted(out.iterdir())
    before = [path.read_bytes() for path in paths]
    found = results.relations()
    monkeypatch.setattr(Results, "relations", lambda *_, **__: [*found[:3], NOWHERE])
    with pytest.raises(CompatError, match="no such table"):
        export(results, kind, out, force=True)
    assert ([out] if kind == "duckdb" else sorted(out.iterdir())) == paths
    assert [path.read_bytes() for path in paths] == before


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk_is_said_and_leaves_nothing(results: Results, tmp_path: Path, kind: Kind) -> None:
    values = np.random.default_rng(0).normal(size=20_000).tolist()
    record(results, [score("average", 1.0, examples=[(k, value, 1.0) for k, value in enumerate(values)])])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(ResultsError, match="cannot write"):
            export(results, kind, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and "results" not in path.name]


def test_the_log_of_another_file_does_not_spoil_the_new_one(results: Results, tmp_path: Path) -> None:
    record(results, [score("average", 1.0)])
    out = tmp_path / "out.duckdb"
    for left in (out, tmp_path / "out.duckdb.wal", tmp_path / ".out.duckdb.partial.wal"):
        left.write_bytes(b"of something else" * 9)
    export(results, "duckdb", out, force=True)
    assert len(read_duckdb(out, "loss")[1]) == 1


def test_places_where_nothing_can_be_written(results: Results, tmp_path: Path) -> None:
    record(results, [score("average", 1.0)])
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsError, match=r"file is a file; for csv, name a folder"):
        export(results, "csv", tmp_path / "file")
    with pytest.raises(ResultsError, match=r"is a folder; for duckdb, name a file such as"):
        export(results, "duckdb", tmp_path)
    with pytest.raises(ResultsError, match="cannot write"):
        export(results, "csv", tmp_path / "file" / "deeper")
    with pytest.raises(ResultsError, match="no run 'nonsense'"):
        export(results, "csv", tmp_path / "out", run="nonsense")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["parquet", "duckdb"])
def test_a_library_that_is_missing_is_named(
    results: Results, tmp_path: Path, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ResultsError, match=r'pip install "compat-spec\[export\]"'):
        export(results, kind, tmp_path / "out")


def test_many_rows_come_in_batches(results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compat_spec.results.export.writers.AT_ONCE", 7)
    record(results, [score("average", float(i), examples=[(k, k / 3, 1) for k in range(10)]) for i in range(10)])
    for kind in ("parquet", "duckdb"):
        out = tmp_path / kind
        assert {one.name: one.rows for one in export(results, cast("Kind", kind), out)}["examples"] == 100
        _, rows = READ[kind](out, "examples")
        assert rows == results.query("SELECT * FROM examples").rows
