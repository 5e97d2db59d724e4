"""The steps that measure, and what the rows that they give are about."""

from __future__ import annotations

import json

from compat_spec.components import Metric, ModelMetric
from compat_spec.plan.artifacts import Artifacts
from compat_spec.plan.describe import training_step
from compat_spec.plan.points import Assignment, select
from compat_spec.plan.steps import ComponentCall, Measurement, StepKind
from compat_spec.spec.spec import Declaration, MetricVariant, ModelRef, TaskVariant


class Measurements:
    """Plans what metrics measure.

    Attributes:
        found: by the fingerprint of the step that gives the rows.
    """

    def __init__(self, artifacts: Artifacts) -> None:
        self.artifacts = artifacts
        self.spec = artifacts.spec
        self.points = artifacts.points
        self.found: dict[str, list[Measurement]] = {}
        self._known: set[str] = set()

    def measure(self, metric: Declaration[MetricVariant], variant: MetricVariant, start: Assignment, seed: int) -> None:
        for task in variant.tasks:
            if variant.between is not None:
                a, b = variant.between
                references = [("task", task), ("model", a.name), ("model", b.name)]
                for assignment in self.points.join(start, references):
                    self._compare(metric.name, variant, task, (a, b), assignment, seed)
                continue
            for subject in variant.subjects:
                kind = "merge" if subject.name in self.spec.merges else "model"
                for assignment in self.points.join(start, [("task", task), (kind, subject.name)]):
                    if self._applies(variant.metric, subject, assignment):
                        self._measure(metric.name, variant, task, subject, assignment, seed)

    def _applies(self, metric: Metric, subject: ModelRef, assignment: Assignment) -> bool:
        if not isinstance(metric, ModelMetric) or metric.applies_to == "all":
            return True
        if subject.name not in self.spec.merges:
            return False
        merge = select(self.spec.merges[subject.name], assignment).merge
        return bool(getattr(merge, "routed", False))

    def _measure(
        self, name: str, variant: MetricVariant, task: str, subject: ModelRef, assignment: Assignment, seed: int
    ) -> None:
        if subject.name in self.spec.merges:
            network = self.artifacts.merge(subject.name, assignment, seed)
            tokenizer = self.artifacts.tokenizer_of_merge(subject.name, assignment, seed)
        else:
            network = self.artifacts.model(subject, assignment, seed)
            tokenizer = self.artifacts.tokenizer(subject.name, assignment)
        examples = self.artifacts.task(task, assignment)
        tokens = self.artifacts.encoded(task, tokenizer, assignment)
        task_variant: TaskVariant = select(self.spec.tasks[task], assignment)
        step = self.artifacts.once(
            ("measure", id(variant), network, tokens),
            lambda: self.artifacts.step(
                StepKind.MEASURE,
                f"{name} of {subject} on {task}{self.artifacts.suffix(assignment, seed)}",
                content={
                    "metric": self.artifacts.content(variant.use, variant.metric, {}),
                    "network": str(network),
                    "tokens": str(tokens),
                },
                inputs={"network": network, "task": examples, "tokens": tokens},
                component=ComponentCall.of(variant.use, variant.metric),
                settings={"task": {"use": task_variant.use, "params": task_variant.task.model_dump(mode="json")}},
            ),
        )
        self._note(
            Measurement(
                fingerprint=step.fingerprint,
                metric=name,
                use=variant.use,
                quantity=variant.metric.quantity,
                task=task,
                seed=seed,
                parameters=self.points.columns(assignment),
                model=subject.name,
                training_step=training_step(self.spec, subject, assignment),
            )
        )

    def _compare(
        self,
        name: str,
        variant: MetricVariant,
        task: str,
        between: tuple[ModelRef, ModelRef],
        assignment: Assignment,
        seed: int,
    ) -> None:
        a, b = (self.artifacts.model(ref, assignment, seed) for ref in between)
        tokens = self.artifacts.encoded(task, self.artifacts.tokenizer(between[0].name, assignment), assignment)
        step = self.artifacts.once(
            ("compare", id(variant), a, b, tokens),
            lambda: self.artifacts.step(
                StepKind.COMPARE,
                f"{name} of {between[0]} and {between[1]} on {task}{self.artifacts.suffix(assignment, seed)}",
                content={
                    "metric": self.artifacts.content(variant.use, variant.metric, {}),
                    "a": str(a),
                    "b": str(b),
                    "tokens": str(tokens),
                },
                inputs={"a": a, "b": b, "tokens": tokens},
                component=ComponentCall.of(variant.use, variant.metric),
            ),
        )
        self._note(
            Measurement(
                fingerprint=step.fingerprint,
                metric=name,
                use=variant.use,
                quantity=variant.metric.quantity,
                task=task,
                seed=seed,
                parameters=self.points.columns(assignment),
                between=(between[0].name, between[1].name),
                training_steps=(
                    training_step(self.spec, between[0], assignment),
                    training_step(self.spec, between[1], assignment),
                ),
            )
        )

    def _note(self, measurement: Measurement) -> None:
        key = json.dumps(
            [
                measurement.metric,
                measurement.task,
                measurement.seed,
                measurement.model,
                measurement.training_step,
                measurement.between,
                measurement.training_steps,
                measurement.parameters,
            ],
            sort_keys=True,
        )
        if key not in self._known:
            self._known.add(key)
            self.found.setdefault(measurement.fingerprint, []).append(measurement)
