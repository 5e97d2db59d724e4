"""The benchmarks still run and still print their figures, at tiny sizes; what the figures are is not looked at."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def run(script: str, *arguments: str) -> str:
    """What a benchmark prints."""
    command = [sys.executable, str(BENCHMARKS / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_what_the_engine_costs() -> None:
    printed = run("engine.py", "--steps", "20", "--cached-steps", "10", "--times", "1")
    figures = [line.partition(":")[0] for line in printed.splitlines()]
    assert figures == ["scheduler", "run", "planning", "cached", "help"]
    assert all(" times " in line for line in printed.splitlines())


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_runs_that_are_killed_give_the_same_numbers() -> None:
    printed = run("crash.py", "--kills", "2")
    assert printed.splitlines()[-1] == "nothing differs from the undisturbed run"
    assert "2 kills in" in printed


def test_what_merging_takes() -> None:
    printed = run("merge.py", "--tiny", "--repeat", "1", "--methods", "ties")
    assert "merge ties, floor " in printed
    assert "of a model" in printed


def test_what_reading_features_costs() -> None:
    printed = run("features.py", "--tiny", "--repeat", "1")
    assert "bare forward pass, with logits" in printed
    assert printed.count("features") == 4


def test_what_training_routers_takes() -> None:
    printed = run(
        "routing.py", "--tiny", "--context", "16", "--experts", "2", "--steps", "1", "--precisions", "float32"
    )
    assert "2 blocks of width 64, 2 experts, 2 per token, 16 tokens per step" in printed
    losses = {line.split(", ")[-1] for line in printed.splitlines()[1:4]}
    assert len(losses) == 1  # the same whichever way
    assert [line.split()[1] for line in printed.splitlines()[-2:]] == ["floor", "floor,"]


def test_what_comparing_features_takes() -> None:
    size = ("--layers", "2", "--tokens", "64", "--width", "8", "--many-tokens", "0", "--repeat", "1")
    printed = run("similarity.py", "--measures", "cka", "cka streamed", "mutual_knn", *size)
    assert "2 x 2 layers, 64 tokens, width 8" in printed
    assert printed.count("GFLOP/s") == 6


def test_what_reading_a_sweep_together_saves() -> None:
    printed = run("sweeps.py", "--blocks", "2", "--width", "16", "--heads", "2", "--tokens", "256", "--repeat", "1")
    assert "2 blocks of width 16, 8 points, 256 tokens" in printed
    assert printed.count(" s │ ") == 4


def test_how_often_intervals_hold_the_truth() -> None:
    printed = run("intervals.py", "--times", "3", "--seeds", "3", "--examples", "10")
    assert "holds the truth, of 3 cases" in printed
    assert " sign flips of " in printed
