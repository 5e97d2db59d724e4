"""Where each number comes from: what is known of every step of a run."""

from __future__ import annotations

import platform
import socket
from datetime import UTC, datetime, timedelta
from importlib.metadata import version

import pytest
import torch

from compat_spec.nn import evaluation
from compat_spec.results import StepRow
from tests.run.experiments import Workplace


def steps_of(place: Workplace) -> dict[str, StepRow]:
    return {step.label: step for step in place.results.steps(place.results.run("last").id)}


def test_every_step_says_where_and_when_it_was_computed_and_what_it_took(once: Workplace) -> None:
    for step in steps_of(once).values():
        assert (step.host, step.device, step.gpu_peak_bytes) == (socket.gethostname(), "cpu", None)
        assert step.started is not None
        assert step.started < datetime.now(UTC)
        assert step.seconds is not None
        assert step.cpu_seconds is not None
        assert step.peak_bytes is not None
        assert 10**7 < step.peak_bytes < 10**11
        assert step.facts["threads"] == torch.get_num_threads()
        assert step.facts["versions"]["python"] == platform.python_version()
        assert step.facts["versions"]["torch"] == version("torch")


def test_a_reused_step_keeps_saying_so_and_costs_nothing_now(done: Workplace) -> None:
    before = steps_of(done)
    done.run()
    for label, step in steps_of(done).items():
        made = before[label]
        assert (step.status, step.seconds, step.cpu_seconds) == ("reused", None, None)
        assert (step.host, step.device, step.peak_bytes) == (made.host, made.device, made.peak_bytes)
        assert made.started is not None
        assert step.started is not None
        assert abs(step.started - made.started) < timedelta(seconds=5)
        assert step.facts["seconds"] >= 0
        assert step.facts["cpu_seconds"] == made.cpu_seconds


def test_memory_is_that_of_the_step_and_not_of_the_largest_one_before(place: Workplace) -> None:
    """Only where the system lets a process count afresh, as Linux does."""
    from compat_spec.run.memory import PROCESS, host_peak, start_peaks

    if not (PROCESS / "clear_refs").exists():
        pytest.skip("this system does not count the memory of a process afresh")
    start_peaks("cpu")
    large = torch.ones(60_000_000)  # 240 MB
    at_most = host_peak()
    del large
    start_peaks("cpu")
    later = host_peak()
    assert at_most is not None
    assert later is not None
    assert at_most - later > 200e6


def test_an_evaluation_without_memory_reads_less_at_once_and_says_so(
    done: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    score = evaluation._score

    def of_little_memory(logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if len(targets) > 64:
            raise torch.OutOfMemoryError
        return score(logits, targets)

    fewer = "metrics.loss.tokens=200"
    undisturbed = done.run(fewer)
    losses = "SELECT merge, step, alpha, value FROM all_scores WHERE run = ? AND metric = 'loss' ORDER BY 1, 2, 3"
    expected = done.rows(losses, undisturbed.run_id)
    assert all("batch_tokens" not in step.facts for step in steps_of(done).values())
    for label in ("loss of average on program", "loss of one on program"):
        done.store.remove(done.fingerprint(label, fewer))
    monkeypatch.setattr(evaluation, "_score", of_little_memory)
    summary = done.run(fewer)
    assert (summary.computed, summary.exit_status) == (2, 0)
    for label, step in steps_of(done).items():
        if step.status == "computed":
            assert step.facts["batch_tokens"] <= 64, label
    for (*where, loss), (*same, wanted) in zip(done.rows(losses, summary.run_id), expected, strict=True):
        assert where == same
        assert loss == pytest.approx(wanted, rel=1e-5)
