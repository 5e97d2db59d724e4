"""A small real experiment for the tests of runs: a random network of two blocks, trained for a few steps."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compat_plugins.executors.inline import Inline
from compat_spec.components import Executor
from compat_spec.plan import Plan, make_plan
from compat_spec.results import Results, open_results
from compat_spec.run import RunSummary, run_plan
from compat_spec.run.events import Event
from compat_spec.spec import load
from compat_spec.store import Store
from tests.plan.experiments import step

COMPAT = Path(sys.executable).parent / "compat"

SPEC = """
name: tiny
tasks:
  math: {use: word_problems, train: 60, test: 20}
  program: {use: program_problems, train: 60, test: 20}
models:
  base:
    use: causal_lm
    config: {model_type: gpt2, n_layer: 2, n_embd: 16, n_head: 2, n_positions: 64}
    tokenizer: {train_on: [math], vocab_size: 300}
    train: {on: math, steps: 8, batch_size: 2, context: 32}
  one: {from: base, train: {on: math, steps: 6, save_at: [3], update: mlp, batch_size: 2, context: 32}}
  two: {from: base, train: {on: program, steps: 6, save_at: [3], update: mlp, batch_size: 2, context: 32}}
merges:
  average: {use: linear, models: [one, two]}
  blend: {use: activation_interpolation, models: [one, two], alpha: {sweep: [0.25, 0.75]}, at: {sweep: [3, 6]}}
  ensemble: {use: logit_average, models: [one, two]}
  router: {use: routing, models: [one, two], train: {on: program, steps: 4, batch_size: 2, context: 32}}
metrics:
  loss: {use: cross_entropy, on: program, tokens: 256}
  accuracy: {use: token_accuracy, on: program, tokens: 256}
  cka: {use: cka, between: [one, two], on: program, tokens: 64, at: {sweep: [3, 6]}}
  load: {use: router_load, on: program, tokens: 256}
"""


@dataclass
class Workplace:
    """A folder with a spec, a store and results."""

    folder: Path
    events: list[Event] = field(default_factory=list)

    @property
    def spec(self) -> Path:
        path = self.folder / "tiny.yaml"
        if not path.exists():
            path.write_text(SPEC, "utf-8")
        return path

    @property
    def store(self) -> Store:
        return Store(self.folder / ".compat")

    @property
    def results(self) -> Results:
        return open_results(self.folder / "results.db", create=True)

    def plan(self, *overrides: str) -> Plan:
        return make_plan(load(self.spec, overrides))

    def fingerprint(self, label: str, *overrides: str) -> str:
        """Of the one step of this label."""
        return step(self.plan(*overrides), label).fingerprint

    def run(
        self,
        *overrides: str,
        listener: Callable[[Event], None] = lambda _: None,
        executor: Executor | None = None,
        **options: Any,
    ) -> RunSummary:
        """Run the spec on the CPU, in this process unless the executor says otherwise."""

        def hear(event: Event) -> None:
            self.events.append(event)
            listener(event)

        self.events.clear()
        return run_plan(
            self.plan(*overrides),
            self.store,
            self.results,
            executor or Inline(),
            devices="cpu",
            listener=hear,
            command="compat run tiny.yaml",
            **options,
        )

    def rows(self, sql: str, *params: Any) -> list[tuple[Any, ...]]:
        return self.results.query(sql, params).rows

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start `compat` with these arguments in the folder, in a process of its own."""
        self.spec  # noqa: B018  (written on first use)
        environment = {**os.environ, "COLUMNS": "120", "HF_HUB_OFFLINE": "1"}
        return subprocess.Popen(
            [COMPAT, *arguments],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def compat(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `compat` with these arguments in the folder, to its end."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=300)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def labels(steps: Sequence[Any]) -> list[str]:
    return [step.label for step in steps]
