"""Runs that are killed, stopped, or not alone: nothing is lost, and nothing is computed twice."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from compat_spec.plan import StepKind
from compat_spec.run.events import StepProgress
from tests.run.experiments import Workplace

LONG = ("models.one.train.steps=400", "merges.blend.at=3", "metrics.cka.at=3")
"""The experiment with a training of some seconds in it."""


def until(happens: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait for something that a process does; fail when it ends without doing it."""
    deadline = time.monotonic() + 300
    while not happens():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def steps_before(state: Path) -> int:
    """How many steps a saved state has behind it: the length of its losses, from the header of the file."""
    with state.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return int(header["losses"]["shape"][0])


def numbers(place: Workplace, run: str) -> list[tuple[object, ...]]:
    columns = "merge, quantity, step, alpha, block, other_block, expert, token_class, seed"
    return place.rows(f"SELECT {columns}, value FROM all_scores WHERE run = ? ORDER BY {columns}", run)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[object, ...]]:
    """The numbers of the experiment with the long training, run in one go."""
    place = Workplace(tmp_path_factory.mktemp("undisturbed"))
    return numbers(place, place.run(*LONG).run_id)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM], ids=lambda how: how.name)
def test_a_run_that_is_ended_inside_a_training_goes_on_from_there(
    place: Workplace, undisturbed: list[tuple[object, ...]], how: signal.Signals
) -> None:
    overrides = [argument for override in LONG for argument in ("--set", override)]
    # saved after each of its steps
    process = place.start("run", str(place.spec), "--checkpoint-every", "0", *overrides)
    training = place.fingerprint("train one", *LONG)
    state = place.store.work_folder(training) / "state.safetensors"
    until(state.exists, process)
    process.send_signal(how)
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    if how != signal.SIGKILL:
        assert process.returncode == 130, err
        assert "the same command goes on from here" in out
        assert place.rows("SELECT status FROM runs") == [("interrupted",)]
    done_before = steps_before(state)
    assert 0 < done_before < 400

    summary = place.run(*LONG)
    assert summary.exit_status == 0
    told = [event for event in place.events if isinstance(event, StepProgress) and event.fingerprint == training]
    assert (told[0].done, told[-1].done) == (done_before + 1, 400)
    assert numbers(place, summary.run_id) == undisturbed
    assert not state.exists(), "what a finished step needed to go on is gone"


def test_two_runs_at_once_share_the_work(place: Workplace) -> None:
    processes = [place.start("run", str(place.spec)) for _ in range(2)]
    outputs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    plan = place.plan()
    computed = place.rows("SELECT fingerprint, count(*) FROM steps WHERE status = 'computed' GROUP BY 1")
    assert {fingerprint for fingerprint, _ in computed} == set(plan.steps)
    assert {count for _, count in computed} == {1}, "no step was computed twice"
    first, second = (numbers(place, run.id) for run in place.results.runs())
    assert first == second
    assert [sum(quantity == wanted for _, quantity, *_ in first) for wanted in ("loss", "accuracy", "load")] == [
        10,
        10,
        4,
    ]


def test_what_a_killed_run_was_writing_is_not_an_artifact(place: Workplace) -> None:
    process = place.start("run", str(place.spec))
    until(lambda: any((place.folder / ".compat" / "aside").glob("*/*")), process)
    process.kill()
    process.communicate(timeout=60)
    assert all(not place.store.verify(fingerprint) for fingerprint in place.store)
    summary = place.run()
    assert summary.exit_status == 0
    assert all(not place.store.verify(fingerprint) for fingerprint in place.store)
    kinds = {place.store.manifest(fingerprint).kind for fingerprint in place.store}
    assert kinds == {kind.value for kind in StepKind}


WITHOUT_TORCH = """
import sys
from compat_spec.cli.main import app
try:
    app(["run", "tiny.yaml", "--quiet", "--workers", "2"])
except SystemExit as ended:
    print(ended.code, sorted({"torch", "transformers"} & sys.modules.keys()))
"""


def test_a_run_with_nothing_to_compute_needs_no_torch_and_no_workers(done: Workplace) -> None:
    again = subprocess.run([sys.executable, "-c", WITHOUT_TORCH], cwd=done.folder, capture_output=True, text=True)
    assert (again.stdout, again.stderr) == ("0 []\n", "")
    assert done.rows("SELECT device FROM runs ORDER BY started DESC LIMIT 1") == [("no device",)]
