"""What the engine itself costs: steps that do nothing, a plan of thousands of steps, a run with nothing to compute.

- scheduler: microseconds per step of the scheduler with two worker processes of the `local` executor, store and results
  left out, against `concurrent.futures.ProcessPoolExecutor` with two processes and as many calls that do nothing;
- run: milliseconds per step of a whole run, store and results included, of a metric that does nothing: what a user pays
  for each step, with one worker (the process of the run itself) and with two;
- planning: seconds from the spec to the plan, by the length of its sweep;
- cached: seconds of `compat run`, started as a command, when the store has everything; the aim is under 2 s;
- help: `compat --help` against `python -c pass`.

    python benchmarks/engine.py
    python benchmarks/engine.py --only cached --cached-steps 1000

Everything is measured in one go, on whatever else the machine is doing: compare the ratios.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, cast

from compat_plugins.executors.local import Local
from compat_spec.components import Job, JobReport, Link

if TYPE_CHECKING:
    from filelock import FileLock

    from compat_spec.plan import Plan
    from compat_spec.run.events import Event
    from compat_spec.run.scheduler import Outcome
    from compat_spec.store import Store

COMPAT = Path(sys.executable).with_name("compat")
AIM = 2.0
"""Seconds that a run of 1,000 steps may take when there is nothing to compute."""

METRIC = '''\
from compat_spec.components import ModelMetric, Score


class Nothing(ModelMetric):
    """Measures nothing, at many points."""

    quantity = "nothing"
    point: int = 0

    def measure(self, evaluation):
        return [Score(0.0)]
'''

SPEC = """
name: nothing
tasks:
  math: {{use: word_problems, train: 20, test: 5}}
models:
  base:
    use: causal_lm
    config: {{model_type: gpt2, n_layer: 1, n_embd: 8, n_head: 1, n_positions: 32}}
    tokenizer: {{train_on: [math], vocab_size: 300}}
metrics:
  nothing: {{use: nothing, on: math, point: {{sweep: {points}}}}}
"""


class Bench:
    """A folder with a metric that does nothing, installed as pip would, and specs that sweep over it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "nothing_metric.py").write_text(METRIC, "utf-8")
        metadata = folder / "nothing_metric-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: nothing-metric\nVersion: 1.0\n", "utf-8")
        (metadata / "entry_points.txt").write_text("[compat.metrics]\nnothing = nothing_metric:Nothing\n", "utf-8")
        sys.path.insert(0, str(folder))  # worker processes inherit it

    def spec(self, steps: int) -> Path:
        """A spec of at least so many steps: each point of its sweep is one, and a few make what is measured."""
        path = self.folder / f"nothing-{steps}.yaml"
        path.write_text(SPEC.format(points=f"{{from: 0, to: {steps - 1}, num: {steps}}}"), "utf-8")
        return path

    def compat(self, *arguments: str | Path) -> None:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(self.folder), os.environ.get("PYTHONPATH", "")]),
        }
        subprocess.run([COMPAT, *arguments], cwd=self.folder, env=environment, stdout=subprocess.DEVNULL, check=True)


def seconds(action: Callable[[], object], times: int = 1) -> float:
    """The median of several goes."""
    took = []
    for _ in range(times):
        started = time.perf_counter()
        action()
        took.append(time.perf_counter() - started)
    return statistics.median(took)


# ---------------------------------------------------------------------------------------------------------- scheduler


class DoesNothing:
    """The `JobRunner` that computes nothing."""

    anywhere = True

    def __call__(self, job: Job, device: str, link: Link) -> JobReport:
        return JobReport(seconds=0.0, facts={})


class Silence:
    """The `Link` that nobody listens to."""

    def tell(self, fingerprint: str, done: int, total: int, note: str) -> None:
        pass

    def stopping(self) -> bool:
        return False


class NoLock:
    def release(self) -> None:
        pass


def plan_of_nothing(steps: int) -> Plan:
    from compat_spec.plan import Plan, Step, StepKind

    names = [hashlib.sha256(str(index).encode()).hexdigest() for index in range(steps)]
    return Plan(
        experiment="nothing",
        spec_text="",
        spec_path="",
        steps={name: Step(name, StepKind.MEASURE, f"nothing {name}", {}) for name in names},
        measurements={},
        models=(),
        tasks=(),
        parameters=(),
    )


def store_of_nothing() -> Store:
    from compat_spec.store import Store

    class Nowhere(Store):
        """A store that has nothing and locks nothing."""

        def has(self, fingerprint: str) -> bool:
            return False

        def lock(self, fingerprint: str) -> FileLock | None:
            return cast("FileLock", NoLock())

    return Nowhere(Path())


def scheduled(executor: Local, steps: int) -> float:
    from compat_spec.run.scheduler import Scheduler

    plan = plan_of_nothing(steps)
    ended: list[Outcome] = []
    scheduler = Scheduler(
        plan,
        store_of_nothing(),
        executor,
        ended=ended.append,
        listener=lambda _: None,
        stopping=lambda: False,
        pump=lambda: None,
        retries=0,
    )
    took = seconds(lambda: scheduler.run(list(plan.steps)))
    assert [outcome.status for outcome in ended] == ["computed"] * steps
    return took


def nothing(_: int) -> None:
    """What the other side runs."""


def pooled(pool: ProcessPoolExecutor, calls: int) -> float:
    return seconds(lambda: list(pool.map(nothing, range(calls))))


def bench_scheduler(_: Bench, options: argparse.Namespace) -> None:
    executor = Local(workers=2)
    executor.open(DoesNothing(), ["cpu"], Silence())
    try:
        scheduled(executor, 2)  # until both workers have started
        ours = scheduled(executor, options.steps)
    finally:
        executor.close()
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        pooled(pool, 100)
        theirs = pooled(pool, options.steps)
    print(
        f"scheduler: {ours / options.steps * 1e6:.0f} us per step, {ours / theirs:.2f} times ProcessPoolExecutor "
        f"({theirs / options.steps * 1e6:.0f} us), {options.steps} steps that do nothing, 2 processes"
    )


# ---------------------------------------------------------------------------------------------------------- the others


def bench_run(bench: Bench, options: argparse.Namespace) -> None:
    from compat_spec.plan import make_plan
    from compat_spec.results import open_results
    from compat_spec.run import run_plan
    from compat_spec.run.events import StepFinished
    from compat_spec.spec import load
    from compat_spec.store import Store

    plan = make_plan(load(bench.spec(options.steps), ()))
    per_step = {}
    for workers in (1, 2):
        folder = bench.folder / f"run-{workers}"
        folder.mkdir()
        finished: list[float] = []

        def hear(event: Event, finished: list[float] = finished) -> None:
            if isinstance(event, StepFinished) and event.step.use.rpartition(":")[2] == "nothing":
                finished.append(time.perf_counter())

        summary = run_plan(
            plan,
            Store(folder / ".compat"),
            open_results(str(folder / "results.db"), create=True),
            Local(workers=workers),
            devices="cpu",
            listener=hear,
        )
        assert (summary.exit_status, summary.computed) == (0, len(plan.steps))
        # from the first to the last: without the start of the processes
        per_step[workers] = (finished[-1] - finished[0]) / max(1, len(finished) - 1)
    print(
        f"run: {per_step[1] * 1e3:.2f} ms per step with 1 worker, {per_step[2] * 1e3:.2f} ms with 2 "
        f"({per_step[1] / per_step[2]:.2f} times as fast), {options.steps} steps of a metric that does nothing"
    )


def bench_planning(bench: Bench, options: argparse.Namespace) -> None:
    from compat_spec.plan import make_plan
    from compat_spec.spec import load

    path, tenth = bench.spec(options.steps), bench.spec(max(1, options.steps // 10))
    make_plan(load(tenth, ()))  # the imports
    short = seconds(lambda: make_plan(load(tenth, ())), 3)
    loading = seconds(lambda: load(path, ()), 3)
    loaded = load(path, ())
    planning = seconds(lambda: make_plan(loaded), 3)
    print(
        f"planning: {loading + planning:.2f} s for {len(make_plan(loaded).steps)} steps ({loading:.2f} s to load the "
        f"spec, {planning:.2f} s to plan), {(loading + planning) / short:.1f} times a tenth of them"
    )


def bench_cached(bench: Bench, options: argparse.Namespace) -> None:
    spec = bench.spec(options.cached_steps)
    first = seconds(lambda: bench.compat("run", spec))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    again = seconds(lambda: bench.compat("run", spec), 3)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / 3
    python = seconds(lambda: subprocess.run([sys.executable, "-c", "pass"], check=True), 3)
    print(
        f"cached: {again:.2f} s of compat run with {options.cached_steps} steps in the store, "
        f"{again / AIM:.2f} times the aim of {AIM:g} s ({busy:.2f} s of a core, "
        f"{busy / AIM:.2f} times), {first / again:.0f} times as fast as the first run, "
        f"{again / python:.0f} times python -c pass"
    )


def bench_help(bench: Bench, options: argparse.Namespace) -> None:
    helped = seconds(lambda: bench.compat("--help"), options.times)
    python = seconds(lambda: subprocess.run([sys.executable, "-c", "pass"], check=True), options.times)
    print(
        f"help: {helped:.2f} s, {helped / python:.1f} times python -c pass ({python:.3f} s), {options.times} times each"
    )


BENCHES = {
    "scheduler": bench_scheduler,
    "run": bench_run,
    "planning": bench_planning,
    "cached": bench_cached,
    "help": bench_help,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=BENCHES, default=list(BENCHES), help="some of the figures")
    parser.add_argument("--steps", type=int, default=10_000, help="of scheduler, run and planning; %(default)s")
    parser.add_argument("--cached-steps", type=int, default=1_000, help="of the cached run; %(default)s")
    parser.add_argument("--times", type=int, default=7, help="how often help is asked for; %(default)s")
    options = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    with tempfile.TemporaryDirectory(prefix="engine-") as folder:
        bench = Bench(Path(folder))
        for name in options.only:
            BENCHES[name](bench, options)
            sys.stdout.flush()


if __name__ == "__main__":
    main()
