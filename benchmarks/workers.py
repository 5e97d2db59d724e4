"""What a second worker process gains: an experiment from an empty store with one worker, and with two.

The experiment is specs/critical_step.yaml made small: one seed, short trainings, every other checkpoint.

    python benchmarks/workers.py
    python benchmarks/workers.py --set models.math.train.steps=40 ...

The threads of torch are shared out between the workers, so that two do not have more of them than one. On two cores
the gain is that small networks, which cannot use two threads, use two processes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COMPAT = Path(sys.executable).with_name("compat")
SPEC = Path(__file__).parents[1] / "specs" / "critical_step.yaml"
SAVED = "[0, 10, 20, 40]"
SMALL = (
    "seeds=[0]",
    "models.base.train.steps=60",
    *(f"models.{name}.train.{key}" for name in ("math", "code") for key in ("steps=80", f"save_at={SAVED}")),
    *(f"merges.{name}.at={{sweep: {SAVED}}}" for name in ("interpolation", "average", "ensemble")),
    f"metrics.cka.at={{sweep: {SAVED}}}",
    f"metrics.experts.at={SAVED}",
)


def cold_run(workers: int, overrides: list[str]) -> float:
    """Seconds of a run from an empty store."""
    with tempfile.TemporaryDirectory(prefix="workers-") as folder:
        settings = [argument for override in overrides for argument in ("--set", override)]
        started = time.perf_counter()
        subprocess.run(
            [COMPAT, "run", SPEC, "--workers", str(workers), "--device", "cpu", "--quiet", *settings],
            cwd=folder,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
            check=True,
        )
        return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", dest="overrides", action="append", default=[], help="as of compat run, after ours")
    parser.add_argument("--whole", action="store_true", help="the spec as it is, which takes long")
    options = parser.parse_args()
    overrides = [*(() if options.whole else SMALL), *options.overrides]
    two, one = cold_run(2, overrides), cold_run(1, overrides)
    print(
        f"workers: 2 are {one / two:.2f} times as fast as 1 ({two:.0f} s against {one:.0f} s), {os.cpu_count()} cores"
    )


if __name__ == "__main__":
    main()
