"""Builds the plan: walks what is measured back to its sources, and makes each step once."""

from __future__ import annotations

from compat_spec.plan.artifacts import Artifacts
from compat_spec.plan.describe import model_infos
from compat_spec.plan.measurements import Measurements
from compat_spec.plan.points import Points, own_point, select
from compat_spec.plan.steps import Plan, TaskInfo
from compat_spec.spec.spec import ModelRef, Spec, TaskVariant


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


def _task_info(spec: Spec, artifacts: Artifacts, name: str) -> TaskInfo:
    """A task described by its first variant."""
    assignment = artifacts.points.of(("task", name))[0]
    variant: TaskVariant = select(spec.tasks[name], assignment)
    parameters = variant.task.model_dump(mode="json")
    return TaskInfo(name, variant.use, parameters, artifacts.task(name, assignment).fingerprint)
