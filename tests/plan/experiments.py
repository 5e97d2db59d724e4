"""A small experiment with a little of everything, and what the tests ask of its plan."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from compat_spec.plan import Measurement, Plan, Step, StepKind

SPEC = """\
name: small
tasks:
  math: {use: word_problems, train: 60, test: 20}
  program: {use: program_problems, train: 60, test: 20}
models:
  base:
    use: causal_lm
    config: {model_type: gpt2, n_layer: 2, n_embd: 16, n_head: 2, n_positions: 64}
    tokenizer: {train_on: [math], vocab_size: 300}
    train: {on: {math: 1, program: 2}, steps: 8, batch_size: 2, context: 32}
  one: {from: base, train: {on: math, steps: 6, save_at: [3], batch_size: 2, context: 32}}
  two: {from: base, train: {on: program, steps: 6, save_at: [3], batch_size: 2, context: 32}}
merges:
  average: {use: linear, models: [one, two]}
  blend: {use: activation_interpolation, models: [one, two], alpha: 0.25}
  router: {use: routing, models: [one, two], train: {on: program, steps: 4, batch_size: 2, context: 32}}
metrics:
  loss: {use: cross_entropy, on: program, tokens: 256}
  cka: {use: cka, between: [one, two], on: program, tokens: 64}
"""

Planner: TypeAlias = Callable[..., Plan]
"""`make(*overrides)` plans `SPEC` with values set; `make(..., spec=text)` another."""


def step(plan: Plan, label: str) -> Step:
    """The one step of this label."""
    (found,) = [step for step in plan.steps.values() if step.label == label]
    return found


def steps(plan: Plan, kind: StepKind) -> list[Step]:
    return [step for step in plan.steps.values() if step.kind is kind]


def labels(plan: Plan) -> list[str]:
    return [step.label for step in plan.steps.values()]


def changed(before: Plan, after: Plan) -> set[str]:
    """The labels of the steps of a plan that another does not have."""
    return {step.label for fingerprint, step in after.steps.items() if fingerprint not in before.steps}


def measurements(plan: Plan, metric: str | None = None) -> list[Measurement]:
    """All that is measured by a metric of the spec, in the plan's order."""
    found = [measurement for some in plan.measurements.values() for measurement in some]
    return [measurement for measurement in found if metric in (None, measurement.metric)]
