"""What the results say of the models: their roles, and the training step at which they are measured."""

from __future__ import annotations

from collections.abc import Iterator

from compat_spec.plan.points import Assignment, select
from compat_spec.plan.steps import ModelInfo
from compat_spec.spec.spec import MergeVariant, ModelRef, ModelVariant, Spec


def model_infos(spec: Spec) -> tuple[ModelInfo, ...]:
    """Every model and merge, described by its first variant."""
    infos = []
    for name, declaration in spec.models.items():
        variant: ModelVariant = next(iter(declaration.variants.values()))
        parameters = {
            part: component.model_dump(mode="json")
            for part, component in (("source", variant.source), ("train", variant.trainer))
            if component is not None
        }
        parent = str(variant.parent) if variant.parent else None
        infos.append(ModelInfo(name, role(spec, name), variant.source_use, parent, (), parameters))
    for name, merges in spec.merges.items():
        merge: MergeVariant = next(iter(merges.variants.values()))
        parameters = {"merge": merge.merge.model_dump(mode="json")}
        if merge.trainer is not None:
            parameters["train"] = merge.trainer.model_dump(mode="json")
        infos.append(ModelInfo(name, "merge", merge.use, None, tuple(map(str, merge.experts)), parameters))
    return tuple(infos)


def role(spec: Spec, name: str) -> str:
    """`base`: others descend from it; `expert`: a merge combines it; `fine-tuned`: neither (the bound)."""
    models = [variant for declaration in spec.models.values() for variant in declaration.variants.values()]
    merges = [variant for declaration in spec.merges.values() for variant in declaration.variants.values()]
    if any(variant.parent is not None and variant.parent.name == name for variant in models):
        return "base"
    if any(name == expert.name for merge in merges for expert in merge.experts):
        return "expert"
    return "base" if all(variant.parent is None for variant in spec.models[name].variants.values()) else "fine-tuned"


def training_step(spec: Spec, subject: ModelRef, assignment: Assignment) -> int | None:
    """The step of fine-tuning at which a model or merge stands.

    For a merge: the step that its experts have in common, models that keep no checkpoints aside; None when they
    differ. Of an expert that is a merge itself, its experts count.
    """
    if subject.name in spec.models:
        return _model_step(spec, subject, assignment)
    steps = set(_expert_steps(spec, subject.name, assignment))
    return steps.pop() if len(steps) == 1 else None


def _expert_steps(spec: Spec, name: str, assignment: Assignment) -> Iterator[int | None]:
    merge: MergeVariant = select(spec.merges[name], assignment)
    for expert in merge.experts:
        if expert.name in spec.merges:
            yield from _expert_steps(spec, expert.name, assignment)
        elif (trainer := select(spec.models[expert.name], assignment).trainer) is not None and trainer.saved_steps():
            yield _model_step(spec, expert, assignment)


def _model_step(spec: Spec, ref: ModelRef, assignment: Assignment) -> int | None:
    if ref.step is not None:
        return ref.step
    variant: ModelVariant = select(spec.models[ref.name], assignment)
    return variant.trainer.last_step() if variant.trainer else None
