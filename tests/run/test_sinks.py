"""Sinks: they get everything that is recorded, in order, and can neither break a run nor hold it up."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from pydantic import PrivateAttr

from compat_spec.components import EndedStep, MeasuredScore, MeasuredSimilarity, Sink, StartedRun
from compat_spec.errors import CompatError
from compat_spec.run import sinks as engine
from compat_spec.run.events import Notice
from compat_spec.run.sending import send_run
from tests.run.experiments import Workplace


class Remembers(Sink):
    """Keeps what it was told; raises in the call that `fails` names."""

    fails: str = ""

    _calls: list[tuple[str, Any]] = PrivateAttr(default_factory=list)
    _threads: set[int] = PrivateAttr(default_factory=set)

    def check(self) -> None:
        if self.fails == "check":
            raise CompatError("there is no such place")

    def begin(self, run: StartedRun) -> None:
        self._take("begin", run)

    def step(self, step: EndedStep) -> None:
        self._take("step", step)

    def scores(self, rows: Sequence[MeasuredScore]) -> None:
        self._take("scores", list(rows))

    def similarities(self, rows: Sequence[MeasuredSimilarity]) -> None:
        self._take("similarities", list(rows))

    def end(self, status: str, error: str | None) -> str | None:
        self._take("end", (status, error))
        return "somewhere://me:secret@place"

    def _take(self, name: str, what: Any) -> None:
        self._calls.append((name, what))
        self._threads.add(threading.get_ident())
        if self.fails == name:
            raise SystemExit("no more: http://me:secret@place") if name == "step" else ValueError("no more")

    def told(self, name: str) -> list[Any]:
        return [what for call, what in self._calls if call == name]


class Hangs(Sink):
    """Takes its time."""

    _go_on: threading.Event = PrivateAttr(default_factory=threading.Event)

    def begin(self, run: StartedRun) -> None:
        self._go_on.wait(60)

    def end(self, status: str, error: str | None) -> None:
        pass


def notices(place: Workplace) -> list[str]:
    return [event.text for event in place.events if isinstance(event, Notice)]


def test_a_sink_is_told_all_that_is_recorded_in_order(done: Workplace) -> None:
    sink = Remembers()
    summary = done.run("merges.blend.alpha.sweep=[0.25, 0.5]", sinks=[sink])  # some is found, some is computed
    assert summary.computed > 0
    assert summary.reused > 0
    names = [name for name, _ in sink._calls]
    assert (names[0], names[-1]) == ("begin", "end")
    assert sink.told("end") == [("finished", None)]
    (run,) = sink.told("begin")
    assert (run.id, run.experiment, run.seeds) == (summary.run_id, "tiny", (0,))
    assert run.parameters == ("alpha",)
    assert run.models["average"] == "merge"
    assert run.models["base"] == "base"
    assert run.tasks == ("math", "program")
    steps = {step.fingerprint: step for step in sink.told("step")}
    assert [(s.fingerprint, s.status) for s in steps.values()] == done.rows(
        "SELECT fingerprint, s.status FROM steps s JOIN runs USING (run_id) WHERE id = ? ORDER BY step_id", run.id
    )
    for (before, step), (name, rows) in zip(sink._calls, sink._calls[1:], strict=False):
        if name in ("scores", "similarities"):
            assert before == "step"
            assert {row.fingerprint for row in rows} == {step.fingerprint}
    told = [row for rows in sink.told("scores") for row in rows]
    columns = "merge, role, task, split, metric, quantity, seed, step, value, n, block, expert, fingerprint"
    values = {(*(getattr(row, name) for name in columns.split(", ")), row.parameters.get("alpha")) for row in told}
    assert values == set(done.rows(f"SELECT {columns}, alpha FROM all_scores WHERE run = ?", run.id))
    pairs = [row for rows in sink.told("similarities") for row in rows]
    assert {(r.a, r.b, r.step, r.layer_a, r.layer_b, r.value) for r in pairs} == set(
        done.rows("SELECT a, b, step, layer_a, layer_b, value FROM all_similarities WHERE run = ?", run.id)
    )
    assert len(sink._threads) == 1
    assert threading.get_ident() not in sink._threads
    assert notices(done) == ["remembers: somewhere://me:***@place"]


def test_a_training_has_a_curve_against_its_steps(done: Workplace) -> None:
    sink = Remembers()
    done.run(sinks=[sink])
    (training,) = [step for step in sink.told("step") if step.label == "train one"]
    curve = training.curves()["loss"]
    assert [step for step, _ in curve] == [1, 2, 3, 4, 5, 6]
    assert [loss for _, loss in curve] == training.facts["loss"]
    assert all(not step.curves() for step in sink.told("step") if step.kind == "measure")


def test_a_shortened_curve_stands_at_the_ends_of_its_stretches() -> None:
    facts = {"steps": 10, "loss": [3.0, 2.0, 1.0], "note": "x", "chosen": ["a"], "none": []}
    known: dict[str, Any] = {"fingerprint": "f", "kind": "train", "label": "train", "status": "computed"}
    step = EndedStep(**known, seconds=1.0, device="cpu", error=None, facts=facts)
    assert step.curves() == {"loss": [(3, 3.0), (6, 2.0), (10, 1.0)]}
    assert replace(step, facts={"loss": [1.0]}).curves() == {}


@pytest.mark.parametrize("call", ["begin", "step", "scores", "similarities", "end"])
def test_a_sink_that_fails_is_left_out_and_breaks_nothing(done: Workplace, call: str) -> None:
    failing, other = Remembers(fails=call), Remembers()
    summary = done.run(sinks=[failing, other])
    assert summary.exit_status == 0
    assert [name for name, _ in failing._calls].count(call) == 1
    assert failing._calls[-1][0] == call
    assert other.told("end") == [("finished", None)]
    assert (
        sum(map(len, other.told("scores")))
        == done.rows("SELECT count(*) FROM all_scores WHERE run = ?", summary.run_id)[0][0]
    )
    said = [text for text in notices(done) if "left out" in text]
    error = "SystemExit: no more: http://me:***@place" if call == "step" else "ValueError: no more"
    assert said == [f"the sink remembers failed and is left out: {error}"]


def test_a_sink_that_hangs_holds_up_the_end_for_a_moment_only(done: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "PATIENCE", 0.2)
    monkeypatch.setattr(engine, "QUIET", 0.0)
    sink = Hangs()
    summary = done.run(sinks=[sink])
    sink._go_on.set()
    assert summary.exit_status == 0
    waiting, left = notices(done)
    assert waiting == "waiting until hangs took what was found; Ctrl-C leaves that"
    assert left.startswith("hangs did not take everything within 0 s and was left; compat send")


def test_a_run_that_is_told_to_stop_hardly_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "HURRY", 0.0)
    said: list[str] = []
    sink = Hangs()
    sinks = engine.Sinks([sink], said.append)
    sinks.tell([lambda sink: sink.begin(None)])  # type: ignore[arg-type]
    sinks.end("interrupted", None, stopping=lambda: True, pump=lambda: None)
    sink._go_on.set()
    assert "was left" in said[-1]


def test_a_sink_that_cannot_take_a_run_is_an_error_before_it(done: Workplace) -> None:
    before = done.rows("SELECT count(*) FROM runs")
    with pytest.raises(CompatError, match="there is no such place"):
        done.run(sinks=[Remembers(fails="check")])
    assert done.rows("SELECT count(*) FROM runs") == before


def test_a_run_of_the_past_is_told_as_it_was(done: Workplace) -> None:
    live, later = Remembers(), Remembers()
    summary = done.run("merges.blend.alpha.sweep=[0.25, 0.6]", sinks=[live])
    assert send_run(done.results, done.results.run(summary.run_id), later) == "somewhere://me:secret@place"
    (begun,), (again,) = live.told("begin"), later.told("begin")
    assert abs((begun.started - again.started).total_seconds()) < 60
    assert replace(again, started=begun.started) == begun
    assert later._calls[1:] == live._calls[1:]


def test_a_sink_that_fails_with_a_run_of_the_past_is_an_error(done: Workplace) -> None:
    for call, error in (("scores", "ValueError: no more"), ("step", r"SystemExit: no more: http://me:\*\*\*@place")):
        with pytest.raises(CompatError, match=f"the sink remembers failed: {error}"):
            send_run(done.results, done.results.run("last"), Remembers(fails=call))
