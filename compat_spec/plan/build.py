"""Builds the plan: walks what is measured back to its sources, and makes each step once."""

from __future__ import annotations

from collections.abc import Iterable

from compat_spec.plan.artifacts import Artifacts
from compat_spec.plan.describe import model_infos
from compat_spec.plan.measurements import Measurements
from compat_spec.plan.points import Assignment, Points, own_point, select
from compat_spec.plan.steps import Plan, TaskInfo
from compat_spec.spec.spec import ModelRef, Spec, TaskVariant
from compat_spec.store import ArtifactRef


def make_plan(spec: Spec) -> Plan:
    """Every step that the spec asks for, each once, and what is measured by which."""
    points = Points(spec)
    artifacts = Artifacts(spec, points)
    measurements = Measurements(artifacts)
    for seed in spec.seeds:
        for name in spec.models:
            for assignment in points.of(("model", name)):
                artifacts.model(ModelRef(name), assignment, seed)
        for name in spec.merges:
            for assignment in points.of(("merge", name)):
                artifacts.merge(name, assignment, seed)
        for metric in spec.metrics.values():
            for point, variant in metric.variants.items():
                measurements.measure(metric, variant, own_point(metric, point), seed)
    tasks = tuple(_task_info(spec, artifacts, name) for name in spec.tasks)
    swept = {name for found in measurements.found.values() for one in found for name in one.parameters}
    return Plan(
        experiment=spec.name,
        spec_text=spec.text,
        spec_path=str(spec.path),
        steps=artifacts.steps,
        measurements={key: tuple(found) for key, found in measurements.found.items()},
        models=model_infos(spec),
        tasks=tasks,
        parameters=tuple(sorted(swept)),
    )


def plan_models(spec: Spec, refs: Iterable[ModelRef], assignment: Assignment) -> tuple[Plan, list[ArtifactRef]]:
    """The steps that make these models, at a point of the spec's sweeps and with its first seed, and nothing else."""
    artifacts = Artifacts(spec, Points(spec))
    made = [artifacts.model(ref, assignment, spec.seeds[0]) for ref in refs]
    return _without_measurements(spec, artifacts), made


def plan_merge(spec: Spec, name: str, assignment: Assignment) -> tuple[Plan, ArtifactRef]:
    """The steps that make one merge, at a point of its sweeps and with the spec's first seed, and nothing else."""
    artifacts = Artifacts(spec, Points(spec))
    merge = artifacts.merge(name, assignment, spec.seeds[0])
    return _without_measurements(spec, artifacts), merge


def _without_measurements(spec: Spec, artifacts: Artifacts) -> Plan:
    return Plan(spec.name, spec.text, str(spec.path), artifacts.steps, {}, model_infos(spec), (), ())


def _task_info(spec: Spec, artifacts: Artifacts, name: str) -> TaskInfo:
    """A task described by its first variant."""
    assignment = artifacts.points.of(("task", name))[0]
    variant: TaskVariant = select(spec.tasks[name], assignment)
    parameters = variant.task.model_dump(mode="json")
    return TaskInfo(name, variant.use, parameters, artifacts.task(name, assignment).fingerprint)
