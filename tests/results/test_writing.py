"""What a run writes is there, whole, whatever becomes of the run."""

from __future__ import annotations

import math
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from compat_spec.results import ResultsError, StepRow, open_results
from compat_spec.results.database import Results
from tests.results.made_up import MEASURED, MODELS, TASKS, on_both, record, score, similarity, start


@on_both
def test_what_is_known_of_a_run_comes_back(results: Results) -> None:
    before = datetime.now(UTC)
    writer = start(results, parameters=["span", "alpha"])
    writer.finish("failed", "one step failed")
    run = results.run(writer.id)
    assert (run.experiment, run.status, run.error) == ("routing", "failed", "one step failed")
    assert (run.spec_text, run.spec_path) == ("version: 1\nname: routing\n", "specs/routing.yaml")
    assert (run.command, run.commit) == ("compat run specs/routing.yaml", "abc123")
    assert (run.versions, run.parameters) == ({"python": "3.11.2", "torch": "2.13.0"}, ("span", "alpha"))
    assert (run.device, run.executor, run.steps) == ("cpu", "inline", {"computed": 1})
    assert run.finished is not None
    assert before <= run.started <= run.finished <= datetime.now(UTC)
    assert run.seconds == (run.finished - run.started).total_seconds()
    assert results.models(run.id) == list(MODELS)
    assert results.tasks(run.id) == list(TASKS)


@on_both
def test_steps_come_back_in_order_with_times_in_utc(results: Results) -> None:
    writer = start(results)
    noon = datetime(2026, 5, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    failed = StepRow(
        fingerprint="a", kind="merge", label="average", status="failed", error="shapes differ", started=noon
    )
    trained = StepRow(
        fingerprint="b",
        kind="train",
        label="math",
        status="computed",
        facts={"loss": [3.0, math.nan]},
        peak_bytes=1 << 40,
    )
    writer.steps([failed, trained])
    _, found_failed, found_trained = results.steps(writer.id)
    assert found_failed == failed
    assert found_failed.started is not None
    assert found_failed.started.utcoffset() == timedelta(0)
    assert found_trained.facts == {"loss": [3.0, "nan"]}
    assert found_trained.peak_bytes == 1 << 40


@on_both
def test_an_error_that_quotes_what_no_database_takes_is_still_recorded(results: Results) -> None:
    writer = start(results)
    cut = "invalid header: \0\0GGUF"
    writer.step(
        StepRow(fingerprint="a", kind="source", label="base", status="failed", error=cut, facts={"traceback": cut})
    )
    _, step = results.steps(writer.id)
    assert step.error == step.facts["traceback"] == "invalid header: \ufffd\ufffdGGUF"


@on_both
def test_seeds_may_be_large(results: Results) -> None:
    record(results, [score("average", 1.0, seed=2**40)])
    assert results.query("SELECT seed FROM loss").rows == [(2**40,)]


def test_each_call_is_on_disk_when_it_returns(results: Results, tmp_path: Path) -> None:
    def count(table: str) -> int:
        with closing(sqlite3.connect(tmp_path / "results.db")) as other:
            return int(other.execute(f"SELECT count(*) FROM {table}").fetchone()[0])

    writer = start(results)
    assert (count("runs"), count("models"), count("tasks"), count("steps")) == (1, 5, 2, 1)
    writer.scores([score("average", 1.0), score("average", 2.0, seed=1)])
    assert count("scores") == 2
    writer.similarities([similarity(0, 1, 0.5, steps=(1, 1))])
    assert count("similarities") == 1


def test_a_finished_run_leaves_one_whole_file(results: Results, tmp_path: Path) -> None:
    record(results, [score("average", 1.0)])
    results.query("SELECT * FROM loss")
    assert [entry.name for entry in tmp_path.iterdir()] == ["results.db"]


@on_both
def test_nothing_is_written_of_a_call_that_fails(results: Results) -> None:
    writer = start(results)
    for wrong in (score("avrage", 1.0), score("average", 1.0, task="maths"), score("average", 1.0, fingerprint="0")):
        with pytest.raises(ValueError, match="this run has no"):
            writer.scores([score("average", 1.0), wrong])
    assert results.query("SELECT count(*) FROM scores").rows == [(0,)]


@on_both
def test_numbers_that_are_none(results: Results) -> None:
    record(results, [score("average", math.nan), score("average", math.inf, seed=1), score("average", -0.0, seed=2)])
    assert results.query("SELECT seed, value FROM loss ORDER BY seed").rows == [(0, None), (1, math.inf), (2, -0.0)]


@on_both
def test_swept_values_that_json_lacks_do_not_break_the_views(results: Results) -> None:
    record(results, [score("blend", 1.0, alpha=math.inf), score("blend", 2.0, alpha=Path("x"))], parameters=["alpha"])
    assert results.query("SELECT alpha FROM loss ORDER BY value").rows == [("inf",), ("x",)]


@on_both
def test_the_order_of_parameters_does_not_make_another_point(results: Results) -> None:
    rows = [score("blend", 1.0, alpha=0, span=1), score("blend", 3.0, seed=1, span=1, alpha=0)]
    record(results, rows, parameters=["alpha", "span"])
    assert results.query("SELECT loss, seeds FROM leaderboard").rows == [(2.0, 2)]


def test_results_opened_to_read_refuse_a_run(results: Results, tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="read only"):
        start(open_results(tmp_path / "results.db", create=False))


KILLED = """
import os, signal, sys
from compat_spec.results import open_results
from tests.results.made_up import score, start
writer = start(open_results(sys.argv[1], create=True))
writer.scores([score("average", 3.0)])
print(writer.id, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_run_keeps_its_rows_and_is_known_to_have_died(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], capture_output=True, text=True, cwd=Path.cwd())
    assert done.returncode == -signal.SIGKILL, done.stderr
    results = open_results(path, create=False)
    assert results.query("SELECT value FROM loss").rows == [(3.0,)]
    assert results.run(done.stdout.strip()).status == "died"
    assert results.run(done.stdout.strip()).seconds is None


@on_both
def test_a_run_on_another_machine_is_believed(results: Results) -> None:
    assert results.run(start(results).id).status == "running"
    elsewhere = start(results, host="elsewhere")
    assert os.uname().nodename != "elsewhere"
    assert results.run(elsewhere.id).status == "running"


@on_both
def test_runs_are_found_by_id_by_experiment_and_as_the_last(results: Results) -> None:
    with pytest.raises(ResultsError, match="no runs yet"):
        results.run("last")
    first, second, other = (start(results, name).id for name in ("routing", "routing", "layers"))
    assert [run.id for run in results.runs()] == [other, second, first]
    assert results.run("last").id == other
    assert results.run("routing").id == second
    assert results.run(first).id == first
    assert results.run(first[:7]).id == first
    for nobody in ("zzz", "", "%"):
        with pytest.raises(ResultsError, match=r"no run .*layers, routing"):
            results.run(nobody)


def test_a_beginning_that_several_ids_share_is_refused(results: Results) -> None:
    ids = [start(results).id for _ in range(17)]  # of 16 hexadecimal digits, one begins two
    digit = next(one for one in "0123456789abcdef" if sum(name.startswith(one) for name in ids) > 1)
    with pytest.raises(ResultsError, match=f"runs begin with '{digit}'"):
        results.run(digit)


@on_both
def test_many_rows_are_written_and_read_in_a_moment(results: Results) -> None:
    rows = [score("blend", 1.0, seed=seed, step=step, alpha=seed / 7) for seed in range(100) for step in range(100)]
    record(results, rows, parameters=["alpha"])
    assert results.query("SELECT count(*), round(sum(alpha) * 7) FROM loss").rows == [(10_000, 495_000)]
    assert MEASURED in results.query("SELECT fingerprint FROM all_scores", limit=1).rows[0]


def test_a_step_and_its_numbers_are_there_together_or_not_at_all(results: Results, tmp_path: Path) -> None:
    def count(table: str) -> int:
        with closing(sqlite3.connect(tmp_path / "results.db")) as other:
            return int(other.execute(f"SELECT count(*) FROM {table}").fetchone()[0])

    writer = start(results)
    steps = count("steps")
    other = "a" * 64
    with writer.together():
        writer.step(StepRow(fingerprint=other, kind="measure", label="loss", status="computed"))
        assert count("steps") == steps, "nobody sees a step without its numbers"
        writer.scores([score("math", 1.0, fingerprint=other)])
    assert (count("steps"), count("scores")) == (steps + 1, 1)

    def half() -> None:
        with writer.together():
            writer.step(StepRow(fingerprint="b" * 64, kind="measure", label="loss", status="computed"))
            writer.scores([score("nobody", 1.0)])

    with pytest.raises(ValueError, match="no model"):
        half()
    assert (count("steps"), count("scores")) == (steps + 1, 1)
    writer.scores([score("math", 2.0)])
    assert count("scores") == 2, "afterwards each call is a transaction again"


def test_numbers_of_more_steps_than_one_statement_can_name(results: Results) -> None:
    writer = start(results)
    names = [f"{index:064x}" for index in range(1200)]
    writer.steps([StepRow(fingerprint=name, kind="measure", label=name, status="computed") for name in names])
    writer.scores([score("math", float(index), fingerprint=name) for index, name in enumerate(names)])
    rows = results.query("SELECT st.label, s.value FROM scores s JOIN steps st USING (step_id) ORDER BY 2").rows
    assert rows == [(name, float(index)) for index, name in enumerate(names)]
