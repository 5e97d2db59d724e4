"""Builds the plan: walks what is measured back to its sources, and makes each step once."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from compat_spec.components import Component, Metric, ModelMetric, TaskName, names_in
from compat_spec.plan.describe import model_infos, training_step
from compat_spec.plan.fingerprint import component_content, fingerprint
from compat_spec.plan.points import Assignment, Points, own_point, references_of, select
from compat_spec.plan.steps import ComponentCall, Measurement, Plan, Step, StepKind, TaskInfo
from compat_spec.spec.spec import Declaration, MergeVariant, MetricVariant, ModelRef, ModelVariant, Spec, TaskVariant
from compat_spec.store import ArtifactRef


def make_plan(spec: Spec) -> Plan:
    """Every step that the spec asks for, each once, and what is measured by which."""
    return _Planner(spec).plan()


class _Planner:
    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.points = Points(spec)
        self.steps: dict[str, Step] = {}
        self.measurements: dict[str, list[Measurement]] = {}
        self._measured: set[str] = set()
        self._refs: dict[tuple[Any, ...], ArtifactRef] = {}
        self._contents: dict[tuple[int, tuple[str, ...]], dict[str, Any]] = {}

    def plan(self) -> Plan:
        for seed in self.spec.seeds:
            for name in self.spec.models:
                for assignment in self.points.of(("model", name)):
                    self.model(ModelRef(name), assignment, seed)
            for name in self.spec.merges:
                for assignment in self.points.of(("merge", name)):
                    self.merge(name, assignment, seed)
            for metric in self.spec.metrics.values():
                for point, variant in metric.variants.items():
                    self.measure(metric, variant, own_point(metric, point), seed)
        parameters = {
            name for found in self.measurements.values() for measurement in found for name in measurement.parameters
        }
        return Plan(
            experiment=self.spec.name,
            spec_text=self.spec.text,
            spec_path=str(self.spec.path),
            steps=self.steps,
            measurements={key: tuple(found) for key, found in self.measurements.items()},
            models=model_infos(self.spec),
            tasks=tuple(self._task_info(name) for name in self.spec.tasks),
            parameters=tuple(sorted(parameters)),
        )

    # --------------------------------------------------------------------------------------------------- tasks

    def _task_info(self, name: str) -> TaskInfo:
        """A task described by its first variant."""
        assignment = self.points.of(("task", name))[0]
        variant: TaskVariant = select(self.spec.tasks[name], assignment)
        parameters = variant.task.model_dump(mode="json")
        return TaskInfo(name, variant.use, parameters, self.task(name, assignment).fingerprint)

    def task(self, name: str, assignment: Assignment) -> ArtifactRef:
        declaration = self.spec.tasks[name]
        variant: TaskVariant = select(declaration, assignment)
        return self._once(
            ("task", name, self._relevant(declaration, variant, assignment)),
            lambda: self._step(
                StepKind.TASK,
                f"examples of {name}",
                content=self._content(variant.use, variant.task, {}),
                inputs={},
                component=ComponentCall.of(variant.use, variant.task),
            ),
        )

    def encoded(self, task: str, tokenizer: ArtifactRef, assignment: Assignment) -> ArtifactRef:
        """The task as tokens of a tokenizer."""
        examples = self.task(task, assignment)
        variant: TaskVariant = select(self.spec.tasks[task], assignment)
        return self._once(
            ("encode", examples, tokenizer),
            lambda: self._step(
                StepKind.ENCODE,
                f"tokens of {task}",
                content={"task": str(examples), "tokenizer": str(tokenizer), "score": variant.task.score},
                inputs={"task": examples, "tokenizer": tokenizer},
                settings={"score": variant.task.score},
            ),
        )

    # -------------------------------------------------------------------------------------------------- models

    def tokenizer(self, model: str, assignment: Assignment) -> ArtifactRef:
        """The tokenizer of a model: that of the source that it descends from."""
        declaration = self.spec.models[model]
        variant: ModelVariant = select(declaration, assignment)
        if variant.parent is not None:
            return self.tokenizer(variant.parent.name, assignment)
        source, use = variant.source, variant.source_use
        assert source is not None
        assert use is not None
        tasks = {name: self.task(name, assignment) for name in names_in(source, TaskName)}

        def make() -> ArtifactRef:
            content = dict(self._content(use, source, tasks))
            if source.tokenizer_fields is not None:
                content["params"] = {key: content["params"][key] for key in sorted(source.tokenizer_fields)}
            return self._step(
                StepKind.TOKENIZER,
                f"tokenizer of {model}",
                content=content,
                inputs={f"task:{name}": ref for name, ref in tasks.items()},
                component=ComponentCall.of(use, source),
            )

        return self._once(("tokenizer", model, self._relevant(declaration, variant, assignment)), make)

    def model(self, ref: ModelRef, assignment: Assignment, seed: int) -> ArtifactRef:
        """A model at the end of its training, or its checkpoint."""
        declaration = self.spec.models[ref.name]
        variant: ModelVariant = select(declaration, assignment)
        key = ("model", ref.name, self._relevant(declaration, variant, assignment), seed)
        whole = self._once(key, lambda: self._model(ref.name, variant, assignment, seed))
        if ref.step is None or (variant.trainer is not None and ref.step == variant.trainer.last_step()):
            return whole
        return ArtifactRef(whole.fingerprint, f"step-{ref.step}")

    def _model(self, name: str, variant: ModelVariant, assignment: Assignment, seed: int) -> ArtifactRef:
        if variant.parent is not None:
            start = self.model(variant.parent, assignment, seed)
        else:
            start = self._source(name, variant, assignment, seed)
        if variant.trainer is None:
            return start
        assert variant.trainer_use is not None
        tokens = self._tokens(variant.trainer, self.tokenizer(name, assignment), assignment)
        own_seed = seed if variant.trainer.uses_seed() else None
        return self._step(
            StepKind.TRAIN,
            f"train {name}{self._suffix(assignment, own_seed)}",
            content={
                "parent": str(start),
                "trainer": self._content(variant.trainer_use, variant.trainer, tokens),
                "seed": own_seed,
            },
            inputs={"parent": start} | {f"tokens:{task}": ref for task, ref in tokens.items()},
            component=ComponentCall.of(variant.trainer_use, variant.trainer),
            seed=own_seed,
            tokens=variant.trainer.tokens(),
        )

    def _source(self, name: str, variant: ModelVariant, assignment: Assignment, seed: int) -> ArtifactRef:
        source, use = variant.source, variant.source_use
        assert source is not None
        assert use is not None
        tokenizer = self.tokenizer(name, assignment)
        tasks = {task: self.task(task, assignment) for task in names_in(source, TaskName)}
        own_seed = seed if source.uses_seed() else None
        return self._step(
            StepKind.SOURCE,
            f"start of {name}{self._suffix(assignment, own_seed)}",
            content={"source": self._content(use, source, tasks), "tokenizer": str(tokenizer), "seed": own_seed},
            inputs={"tokenizer": tokenizer},
            component=ComponentCall.of(use, source),
            seed=own_seed,
        )

    # -------------------------------------------------------------------------------------------------- merges

    def merge(self, name: str, assignment: Assignment, seed: int) -> ArtifactRef:
        declaration = self.spec.merges[name]
        variant: MergeVariant = select(declaration, assignment)
        key = ("merge", name, self._relevant(declaration, variant, assignment), seed)
        return self._once(key, lambda: self._merge(name, variant, assignment, seed))

    def _merge(self, name: str, variant: MergeVariant, assignment: Assignment, seed: int) -> ArtifactRef:
        experts = [self.model(ref, assignment, seed) for ref in variant.experts]
        others = {written: self.model(ref, assignment, seed) for written, ref in variant.others.items()}
        tokenizer = self.tokenizer(variant.experts[0].name, assignment)
        named = dict(zip(variant.merge.models, experts, strict=True)) | others
        tasks = self._tokens(variant.merge, tokenizer, assignment)
        content: dict[str, Any] = {
            "merge": self._content(variant.use, variant.merge, named | tasks),
            "experts": [str(expert) for expert in experts],
        }
        inputs = {f"expert:{index}": expert for index, expert in enumerate(experts)}
        inputs |= {f"model:{written}": ref for written, ref in others.items()}
        inputs |= {f"tokens:{task}": ref for task, ref in tasks.items()}
        seeded = variant.merge.uses_seed()
        trainer = None
        if variant.trainer is not None:
            assert variant.trainer_use is not None
            tokens = self._tokens(variant.trainer, tokenizer, assignment)
            content["trainer"] = self._content(variant.trainer_use, variant.trainer, tokens)
            inputs |= {f"tokens:{task}": ref for task, ref in tokens.items()}
            seeded = seeded or variant.trainer.uses_seed()
            trainer = ComponentCall.of(variant.trainer_use, variant.trainer)
        own_seed = seed if seeded else None
        content["seed"] = own_seed
        return self._step(
            StepKind.MERGE,
            f"merge {name}{self._suffix(assignment, seed)}",
            content=content,
            inputs=inputs,
            component=ComponentCall.of(variant.use, variant.merge),
            trainer=trainer,
            seed=own_seed,
            tokens=variant.trainer.tokens() if variant.trainer else None,
        )

    # ------------------------------------------------------------------------------------------------- metrics

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
            network = self.merge(subject.name, assignment, seed)
            merge: MergeVariant = select(self.spec.merges[subject.name], assignment)
            tokenizer = self.tokenizer(merge.experts[0].name, assignment)
        else:
            network = self.model(subject, assignment, seed)
            tokenizer = self.tokenizer(subject.name, assignment)
        examples = self.task(task, assignment)
        tokens = self.encoded(task, tokenizer, assignment)
        task_variant: TaskVariant = select(self.spec.tasks[task], assignment)
        step = self._once(
            ("measure", id(variant), network, tokens),
            lambda: self._step(
                StepKind.MEASURE,
                f"{name} of {subject} on {task}{self._suffix(assignment, seed)}",
                content={
                    "metric": self._content(variant.use, variant.metric, {}),
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
        a, b = (self.model(ref, assignment, seed) for ref in between)
        tokens = self.encoded(task, self.tokenizer(between[0].name, assignment), assignment)
        step = self._once(
            ("compare", id(variant), a, b, tokens),
            lambda: self._step(
                StepKind.COMPARE,
                f"{name} of {between[0]} and {between[1]} on {task}{self._suffix(assignment, seed)}",
                content={
                    "metric": self._content(variant.use, variant.metric, {}),
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
        if key not in self._measured:
            self._measured.add(key)
            self.measurements.setdefault(measurement.fingerprint, []).append(measurement)

    # ------------------------------------------------------------------------------------------------- helpers

    def _tokens(self, component: Component, tokenizer: ArtifactRef, assignment: Assignment) -> dict[str, ArtifactRef]:
        return {name: self.encoded(name, tokenizer, assignment) for name in names_in(component, TaskName)}

    def _content(self, use: str, component: Component, named: Mapping[str, ArtifactRef]) -> dict[str, Any]:
        """The component's part of a fingerprint; computed once, for thousands of steps may share it."""
        key = (id(component), tuple(str(ref) for ref in named.values()))
        if key not in self._contents:
            self._contents[key] = component_content(use, component, lambda name: str(named[name]))
        return self._contents[key]

    def _step(
        self,
        kind: StepKind,
        label: str,
        content: Mapping[str, Any],
        inputs: Mapping[str, ArtifactRef],
        component: ComponentCall | None = None,
        trainer: ComponentCall | None = None,
        seed: int | None = None,
        settings: Mapping[str, Any] | None = None,
        tokens: int | None = None,
    ) -> ArtifactRef:
        key = fingerprint({"kind": kind.value, **content})
        self.steps.setdefault(
            key, Step(key, kind, label, dict(inputs), component, trainer, seed, settings or {}, tokens)
        )
        return ArtifactRef(key)

    def _once(self, key: tuple[Any, ...], make: Callable[[], ArtifactRef]) -> ArtifactRef:
        if key not in self._refs:
            self._refs[key] = make()
        return self._refs[key]

    def _relevant(self, declaration: Declaration[Any], variant: Any, assignment: Assignment) -> Assignment:
        """The part of an assignment that a declaration depends on, upstream included."""
        axes = {axis.name for axis in declaration.axes}
        for kind, name in references_of(variant):
            declarations: Mapping[str, Declaration[Any]] = self.spec.tasks if kind == "task" else self.spec.models
            upstream = declarations[name]
            axes |= {name for name, _ in self._relevant(upstream, select(upstream, assignment), assignment)}
        return tuple(pair for pair in assignment if pair[0] in axes)

    def _suffix(self, assignment: Assignment, seed: int | None) -> str:
        """` (alpha 0.5, seed 0)`, to tell apart the steps of one name."""
        values: dict[str, Any] = {}
        for name, index in assignment:
            axis = self.points.axes[name]
            values.update(zip(axis.columns, axis.values[index], strict=True))
        if seed is not None and len(self.spec.seeds) > 1:
            values["seed"] = seed
        return f" ({', '.join(f'{key} {value}' for key, value in values.items())})" if values else ""
