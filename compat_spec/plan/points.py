"""The points of an experiment: which value every sweep has, for a declaration together with all that it refers to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

from compat_spec.components import TaskName, names_in
from compat_spec.spec.spec import Axis, Declaration, MergeVariant, ModelVariant, Point, Spec

Assignment: TypeAlias = tuple[tuple[str, int], ...]
"""The index of the value of each axis, by the axis's name, sorted."""

Reference: TypeAlias = tuple[str, str]
"""A kind of declaration (`task`, `model`, `merge`) and a name. A `model` that a merge combines may be a merge."""


class Points:
    """All assignments of sweeps under which a declaration means something different.

    A sweep in a model is a sweep of every merge of that model; two descendants of one swept base always stand on the
    same point of its sweep.
    """

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._cache: dict[Reference, list[Assignment]] = {}
        self.axes: dict[str, Axis] = {}
        for declarations in (spec.tasks, spec.models, spec.merges, spec.metrics):
            for declaration in declarations.values():
                self.axes.update({axis.name: axis for axis in declaration.axes})

    def of(self, reference: Reference) -> list[Assignment]:
        """The points of a task, model or merge, upstream sweeps included."""
        if reference not in self._cache:
            declaration = self._declaration(reference)
            found: dict[Assignment, None] = {}
            for point, variant in declaration.variants.items():
                found.update(dict.fromkeys(self.join(own_point(declaration, point), references_of(variant))))
            self._cache[reference] = list(found)
        return self._cache[reference]

    def join(self, start: Assignment, references: Iterable[Reference]) -> list[Assignment]:
        """Every point that agrees with `start` and is a point of all references."""
        joined = [start]
        for reference in references:
            upstream = self.of(reference)
            if upstream != [()]:
                joined = [both for left in joined for right in upstream if (both := _merge(left, right)) is not None]
        return joined

    def columns(self, assignment: Assignment) -> dict[str, Any]:
        """The swept parameters and their values, as columns of the results.

        `at` is left out: it is the training step, which has a column of its own.
        """
        values: dict[str, Any] = {}
        for name, index in assignment:
            axis = self.axes[name]
            values.update(zip(axis.columns, axis.values[index], strict=True))
        values.pop("at", None)
        return values

    def _declaration(self, reference: Reference) -> Declaration[Any]:
        kind, name = reference
        return self._spec.tasks[name] if kind == "task" else self._spec.model_or_merge(name)


def own_point(declaration: Declaration[Any], point: Point) -> Assignment:
    return tuple(sorted((axis.name, index) for axis, index in zip(declaration.axes, point, strict=True)))


def select(declaration: Declaration[Any], assignment: Assignment) -> Any:
    """The variant of a declaration at an assignment of (at least) its own axes."""
    indices = dict(assignment)
    return declaration.variants[tuple(indices[axis.name] for axis in declaration.axes)]


def references_of(variant: Any) -> list[Reference]:
    """What a variant of a task, model or merge refers to."""
    references: list[Reference] = []
    if isinstance(variant, ModelVariant):
        if variant.parent is not None:
            references.append(("model", variant.parent.name))
        if variant.source is not None:
            references += [("task", name) for name in names_in(variant.source, TaskName)]
    if isinstance(variant, MergeVariant):
        references += [("model", ref.name) for ref in (*variant.experts, *variant.others.values())]
        references += [("task", name) for name in names_in(variant.merge, TaskName)]
    if isinstance(variant, ModelVariant | MergeVariant) and variant.trainer is not None:
        references += [("task", name) for name in names_in(variant.trainer, TaskName)]
    return list(dict.fromkeys(references))


def _merge(a: Assignment, b: Assignment) -> Assignment | None:
    merged = dict(a)
    for name, index in b:
        if merged.setdefault(name, index) != index:
            return None
    return tuple(sorted(merged.items()))
