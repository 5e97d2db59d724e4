"""A run: what it computes, what it records, and what it leaves alone the next time."""

from __future__ import annotations

import pytest

from compat_spec.plan import StepKind
from compat_spec.run.events import RunStarted, StepFinished, StepStarted
from tests.run.experiments import Workplace

CHANGED = "merges.blend.alpha.sweep=[0.25, 0.5]"


def test_everything_that_is_measured_is_a_row(once: Workplace) -> None:
    # average, ensemble, router, base, one, two, and two alphas at two steps
    assert once.rows("SELECT count(*), count(DISTINCT merge) FROM loss") == [(10, 7)]
    assert once.rows("SELECT alpha, step FROM loss WHERE merge = 'blend' ORDER BY 1, 2") == [
        (0.25, 3),
        (0.25, 6),
        (0.75, 3),
        (0.75, 6),
    ]
    assert once.rows("SELECT step, count(*) FROM cka GROUP BY step") == [(3, 4), (6, 4)]
    of_all = "SELECT quantity, count(*) FROM routing WHERE token_class IS NULL GROUP BY 1 ORDER BY 1"
    assert once.rows(of_all) == [("agreement", 1), ("choice", 4), ("entropy", 2), ("load", 4)]
    of_classes = "SELECT DISTINCT token_class FROM routing WHERE quantity = 'class_load' ORDER BY 1"
    assert {"answer", "digits", "letters", "prompt"} <= {name for (name,) in once.rows(of_classes)}
    assert once.rows("SELECT sum(value) FROM routing WHERE quantity = 'load' GROUP BY block")[0][0] == pytest.approx(1)


def test_the_queries_that_the_documentation_promises_work(once: Workplace) -> None:
    losses = once.rows(
        "SELECT merge, round(avg(value),3) AS loss FROM loss WHERE task='program' GROUP BY merge ORDER BY loss"
    )
    assert {row[0] for row in losses} == {"average", "blend", "ensemble", "router", "base", "one", "two"}
    assert [row[1] for row in losses] == sorted(row[1] for row in losses)
    similar = once.rows("SELECT step, layer_a, layer_b, avg(value) FROM cka WHERE task='program' GROUP BY 1,2,3")
    assert len(similar) == 8
    assert all(0 < value <= 1 for *_, value in similar)


def test_a_run_says_where_its_numbers_come_from(once: Workplace) -> None:
    run = once.results.run("last")
    assert (run.status, run.experiment, run.executor) == ("finished", "tiny", "inline")
    assert run.command == "compat run tiny.yaml"
    assert run.device.startswith("cpu")
    assert {"python", "torch", "compat-spec"} <= set(run.versions)
    assert run.spec_text == once.spec.read_text("utf-8")
    counts = {task.name: task.examples for task in once.results.tasks(run.id)}
    assert counts == {"math": {"train": 60, "test": 20}, "program": {"train": 60, "test": 20}}
    trained = [step for step in once.results.steps(run.id) if step.kind == "train"]
    assert len(trained) == 3
    assert all(step.facts["tokens_per_second"] > 0 and step.seconds > 0 and step.peak_bytes > 0 for step in trained)


def test_what_is_told_while_it_runs_adds_up(place: Workplace) -> None:
    summary = place.run()
    started = place.events[0]
    assert isinstance(started, RunStarted)
    begun = [event.step.fingerprint for event in place.events if isinstance(event, StepStarted)]
    ended = [event.step.fingerprint for event in place.events if isinstance(event, StepFinished)]
    assert begun == ended
    assert len(ended) == started.total == summary.computed


def test_the_same_experiment_again_computes_nothing_and_has_the_same_numbers(done: Workplace) -> None:
    scores = "SELECT merge, step, alpha, metric, value FROM all_scores WHERE run = ? ORDER BY 1, 2, 3, 4, 5"
    before = done.rows(scores, done.results.run("last").id)
    summary = done.run()
    assert (summary.computed, summary.left, summary.exit_status) == (0, 0, 0)
    assert summary.reused == len(done.plan().steps)
    assert not [event for event in done.events if isinstance(event, StepStarted)]
    assert done.rows(scores, summary.run_id) == before
    assert done.rows("SELECT count(*) FROM runs") == [(2,)]
    assert done.rows("SELECT count(*) FROM loss") == [(10,)], "the views show the newest run only"


def test_another_parameter_of_a_merge_computes_that_merge_and_what_is_measured_of_it(done: Workplace) -> None:
    done.run(CHANGED)
    computed = [event.step for event in done.events if isinstance(event, StepFinished)]
    assert {step.kind for step in computed} == {StepKind.MERGE, StepKind.MEASURE}
    assert all("blend" in step.label and "alpha 0.5" in step.label for step in computed)
    assert len(computed) == 2 + 4, "one alpha at two steps, with two metrics each"


def test_another_seed_shares_what_no_seed_decides(done: Workplace) -> None:
    done.run("seeds=[0, 1]")
    kinds = {event.step.kind for event in done.events if isinstance(event, StepFinished)}
    assert kinds == {StepKind.SOURCE, StepKind.TRAIN, StepKind.MERGE, StepKind.MEASURE, StepKind.COMPARE}
    assert done.rows("SELECT seed, count(*) FROM loss GROUP BY seed") == [(0, 10), (1, 10)]
    (first, second) = (row[0] for row in done.rows("SELECT value FROM loss WHERE merge = 'average' ORDER BY seed"))
    assert first != second


def test_results_that_are_gone_come_back_from_the_store(done: Workplace) -> None:
    before = done.rows("SELECT merge, step, alpha, value FROM loss ORDER BY 1, 2, 3")
    (done.folder / "results.db").unlink()
    summary = done.run()
    assert summary.computed == 0
    assert done.rows("SELECT merge, step, alpha, value FROM loss ORDER BY 1, 2, 3") == before


def test_two_cold_runs_give_the_same_numbers_to_the_bit(once: Workplace, place: Workplace) -> None:
    place.run()
    numbers = "SELECT merge, metric, step, alpha, block, expert, value FROM all_scores ORDER BY 1, 2, 3, 4, 5, 6"
    assert place.rows(numbers) == once.rows(numbers)
    similarities = "SELECT step_a, layer_a, layer_b, value FROM all_similarities ORDER BY 1, 2, 3"
    assert place.rows(similarities) == once.rows(similarities)


def test_the_store_holds_nothing_that_would_be_unpickled(once: Workplace) -> None:
    suffixes = {path.suffix for path in once.store.root.rglob("*") if path.is_file()}
    assert suffixes <= {".safetensors", ".json", ".jsonl", ".txt", ".jinja", ".lock"}
