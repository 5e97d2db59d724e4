"""Comparisons of two models inside a run: which features they are of, and what becomes a row."""

from __future__ import annotations

import pytest

from compat_plugins.metrics import similarity_measure
from compat_spec.nn.similarity import Accumulator
from compat_spec.nn.similarity.moments import Moments
from compat_spec.plan import StepKind
from compat_spec.run import comparing
from compat_spec.spec import SpecError
from tests.run.experiments import Workplace

LAYERS = "SELECT layer_a, layer_b, value, n FROM cka WHERE metric = 'cka' AND step_a = 6 ORDER BY 1, 2"
QUICK = ("merges.router=null", "merges.blend=null", "merges.ensemble=null", "merges.average=null", "metrics.load=null")


def test_rows_and_parts_are_parameters_that_can_be_swept(place: Workplace) -> None:
    summary = place.run(
        *QUICK,
        "metrics.cka.rows={sweep: [tokens, last, mean]}",
        "metrics.cka.part={sweep: [all, answer]}",
        "metrics.cka.at=6",
    )
    assert summary.exit_status == 0, summary.failed
    found = place.rows("SELECT rows, part, count(*), max(n), min(n) FROM cka GROUP BY 1, 2 ORDER BY 1, 2")
    assert found == [
        ("last", "all", 4, 20, 20),
        ("last", "answer", 4, 20, 20),
        ("mean", "all", 4, 20, 20),
        ("mean", "answer", 4, 20, 20),
        ("tokens", "all", 4, 64, 64),
        ("tokens", "answer", 4, 64, 64),
    ]
    # the last token of an example is that of its answer
    values = dict(place.rows("SELECT part, sum(value) FROM cka WHERE rows = 'last' GROUP BY 1"))
    assert values["all"] == pytest.approx(values["answer"], abs=1e-6)


def test_the_embedding_is_layer_minus_one(done: Workplace) -> None:
    before = {(a, b): value for a, b, value, _ in done.rows(LAYERS)}
    assert done.run("metrics.cka.embedding=true").exit_status == 0
    after = {(a, b): value for a, b, value, _ in done.rows(LAYERS)}
    assert sorted(after) == [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1)]
    for pair, value in before.items():
        assert after[pair] == pytest.approx(value, abs=1e-6)
    # only the MLPs of the two were trained
    assert after[-1, -1] == pytest.approx(1)
    assert done.run("metrics.cka.embedding=true", "metrics.cka.layers=same").exit_status == 0
    assert [row[:2] for row in done.rows(LAYERS)] == [(-1, -1), (0, 0), (1, 1)]


def test_plain_text_has_no_answers_to_compare(done: Workplace) -> None:
    (done.folder / "notes.txt").write_text("\n\n".join(f"Note {i} of some." for i in range(40)), "utf-8")
    summary = done.run(
        "tasks.docs={use: text, train: notes.txt, test_fraction: 0.5}",
        "metrics.cka.on=docs",
        "metrics.cka.part=answer",
        "metrics.cka.at=6",
    )
    (failure,) = summary.failed
    assert "so there are no answer tokens: count all tokens, `part: all`" in failure.error


def test_fewer_than_four_rows_are_not_compared(done: Workplace) -> None:
    summary = done.run("tasks.program.test=3", "metrics.cka.rows=mean", "metrics.cka.at=6")
    (failure,) = summary.failed
    assert "at least 4 means over examples, and the split 'test' has only 3" in failure.error


def test_stitching_losses_are_rows_with_the_tokens_that_the_loss_is_of(done: Workplace) -> None:
    stitching = "use: stitching, on: program, tokens: 256, fit_tokens: 512, batch_size: 2"
    summary = done.run(
        f"metrics.stitched={{{stitching}, steps: {{sweep: [0, 4]}}, between: [one, two]}}",
        f"metrics.itself={{{stitching}, steps: 0, between: [two, two]}}",
        f"metrics.diagonal={{{stitching}, steps: 4, layers: same, between: [one, two]}}",
    )
    assert summary.exit_status == 0, summary.failed
    found = "SELECT layer_a, layer_b, value, n FROM all_similarities WHERE run = ? AND metric = ? ORDER BY 1, 2"
    run = done.results.run("last").id
    pairs = [(0, 0), (0, 1), (1, 0), (1, 1)]
    steps = done.rows("SELECT steps, count(*) FROM all_similarities WHERE metric = 'stitched' GROUP BY 1 ORDER BY 1")
    assert steps == [(0, 4), (4, 4)]
    # a network goes on from itself as if nothing had happened
    ((own, scored),) = done.rows("SELECT value, n FROM loss WHERE merge = 'two'")
    itself = {(a, b): (value, n) for a, b, value, n in done.rows(found, run, "itself")}
    assert sorted(itself) == pairs
    assert {n for _, n in itself.values()} == {scored}
    assert itself[0, 0][0] == pytest.approx(own, abs=1e-3)
    assert itself[1, 1][0] == pytest.approx(own, abs=1e-3)
    # pairs that are not asked for are not there, and the others are what they are
    at_four = found.replace("metric = ?", "metric = ? AND steps = 4")
    trained = {row[:2]: row[2] for row in done.rows(at_four, run, "stitched")}
    diagonal = {row[:2]: row[2] for row in done.rows(found, run, "diagonal")}
    assert sorted(diagonal) == [(0, 0), (1, 1)]
    for pair, value in diagonal.items():
        assert value == pytest.approx(trained[pair], abs=1e-5)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("use: stitching, between: [one, average]", "'average' is a merge, and a model is needed here"),
        ("use: stitching, between: [one, two], site: mlp", "'site' is not a parameter of stitching"),
        ("use: stitching, between: [one, two], ridge: 0", "expected more than 0"),
        ("use: stitching, between: [one, two], lr: .inf", "expected a finite number"),
        ("use: cka, between: [one, two], site: mlp, embedding: true", "embedding goes with site: block"),
        ("use: cka, between: [one, two], rows: first", "'tokens', 'last' or 'mean'"),
    ],
)
def test_mistakes_are_found_before_anything_runs(place: Workplace, given: str, problem: str) -> None:
    with pytest.raises(SpecError, match=problem):
        place.plan(f"metrics.wrong={{{given}, on: program}}")


def test_features_that_are_not_held_give_the_same_numbers(done: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    held = done.rows(LAYERS)
    for step in done.plan().steps.values():
        if step.kind is StepKind.COMPARE:
            done.store.set_aside(step.fingerprint)
    monkeypatch.setattr(similarity_measure, "_MOST_BYTES", 0)
    monkeypatch.setattr(Accumulator, "bytes_for", lambda *_: 0)
    monkeypatch.setattr(comparing, "features", None)
    assert done.run().exit_status == 0
    for found, expected in zip(done.rows(LAYERS), held, strict=True):
        assert found[:2] + found[3:] == expected[:2] + expected[3:]
        assert found[2] == pytest.approx(expected[2], abs=1e-5)


def test_moments_that_are_too_large_are_a_plain_error(done: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity_measure, "_MOST_BYTES", 0)
    monkeypatch.setattr(Accumulator, "bytes_for", lambda *_: 0)
    monkeypatch.setattr(Moments, "bytes_for", lambda *_: 2**40)
    failed = done.run("metrics.cka.tokens=63").failed
    assert {failure.error.partition(":")[0] for failure in failed} == {
        "second moments of these layers take 1024.0 GiB, more than max_bytes=4.0 GiB"
    }


def test_batches_of_tokens_are_never_all_in_memory(done: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparing, "features", None)
    assert done.run("metrics.cka.batch_size=16").exit_status == 0
    found = done.rows(LAYERS)
    assert {n for *_, n in found} == {64}
    assert all(-1 < value <= 1 for _, _, value, _ in found)


def test_each_similarity_has_a_standard_error_where_it_is_asked_for(done: Workplace) -> None:
    assert done.rows("SELECT count(*) FROM cka WHERE se IS NOT NULL") == [(0,)]
    assert done.run("metrics.cka.standard_error=true", "metrics.cka.groups=8").exit_status == 0
    found = done.rows("SELECT layer_a, layer_b, value, se FROM similarity WHERE quantity = 'cka' AND step = 6")
    assert len(found) == 4
    assert all(0 < se < 0.2 for *_, se in found)
    summary = done.run("metrics.cka.standard_error=true", "metrics.cka.groups=65")
    assert "standard_error: groups must be at least 2 and no more than the 64 tokens" in summary.failed[0].error


def test_a_similarity_that_is_undefined_is_missing_and_says_why(done: Workplace) -> None:
    # of each text, the network reads the same
    (done.folder / "same.txt").write_text("\n\n".join(f"{i} ends alike" for i in range(40)), "utf-8")
    summary = done.run(
        "tasks.ends={use: text, train: same.txt, test_fraction: 0.5}",
        "metrics.cka.on=ends",
        "metrics.cka.rows=last",
        "metrics.cka.context=2",
        "metrics.cka.at=6",
    )
    assert summary.exit_status == 0, summary.failed
    assert done.rows("SELECT DISTINCT value FROM cka WHERE task = 'ends'") == [(None,)]
    ((reason,),) = done.rows("SELECT facts ->> '$.undefined' FROM steps WHERE label LIKE 'cka of%ends%'")
    assert "cka is NaN for layers 0, 1 of xs and layers 0, 1 of ys: their features do not vary" in reason
