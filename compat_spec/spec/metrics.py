"""What each metric is measured on: its tasks, and the models and merges, or the pair of models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

from compat_spec.components import Component, LayerMetric, Metric, ModelMetric
from compat_spec.spec.drafts import Draft, Part
from compat_spec.spec.nodes import Node
from compat_spec.spec.problems import Place, Problems
from compat_spec.spec.references import References
from compat_spec.spec.shapes import TOKENS, Shapes
from compat_spec.spec.spec import MetricVariant, ModelRef, Point

ALL = "all"


class Metrics:
    """Makes the variants of metrics; what cannot be measured is reported."""

    def __init__(self, references: References, shapes: Shapes, problems: Problems) -> None:
        self._references = references
        self._shapes = shapes
        self._problems = problems

    def variant(self, draft: Draft, point: Point, part: Part) -> MetricVariant | None:
        """A metric at a point of its sweeps, or None when something is wrong with what it is measured on."""
        node, cls = part.node, part.cls
        self._references.check_names(part.fields, node, draft.place, draft.where)
        tasks = self._tasks(draft, node)
        subjects: tuple[ModelRef, ...] = ()
        between: tuple[ModelRef, ModelRef] | None = None
        if issubclass(cls, LayerMetric) if cls else "between" in node.mapping:
            between = self._between(draft, point, part)
        elif cls is not None or "of" in node.mapping:
            subjects = self._subjects(draft, part, cls)
        if part.use is None or part.component is None or not tasks or not (between or subjects):
            return None
        return MetricVariant(part.use, cast("Metric", part.component), tasks, subjects, between)

    def _tasks(self, draft: Draft, node: Node) -> tuple[str, ...]:
        on = node.mapping.get("on")
        if on is None:
            self._problems.add(draft.place, draft.where, "needs `on`", "the task to measure on, or a list of tasks")
            return ()
        names = self._names(on, f"{draft.where}.on", "the name of a task, or a list of names")
        found = [self._references.task(name, place, where) for name, place, where in names]
        return tuple(dict.fromkeys(task for task in found if task is not None))

    # -------------------------------------------------------------------------------------------- pairs of models

    def _between(self, draft: Draft, point: Point, part: Part) -> tuple[ModelRef, ModelRef] | None:
        where = f"{draft.where}.between"
        between = part.node.mapping.get("between")
        if between is None:
            advice = "the two models to compare: between: [a, b]"
            self._problems.add(draft.place, draft.where, "needs `between`", advice)
            return None
        if len(between.items) != 2:
            given = f"a list of {len(between.items)}" if between.items else between.in_words()
            self._problems.add(between.place, where, f"{given} does not fit", "expected two models: [a, b]")
            return None
        found = self._models(self._names(between, where, "the name of a model"))
        if len(found) != 2:
            return None
        at = part.node.mapping.get("at")
        if at is not None:
            found = self._references.at(found, at, f"{draft.where}.at")
        difference = self._shapes.difference(found, TOKENS, draft.indices(point))
        if difference:
            what = f"{part.use} cannot compare {difference}"
            self._problems.add(between.place, where, what, "the models must read the same tokens")
        return found[0], found[1]

    def _models(self, names: Iterator[tuple[str, Place, str]]) -> list[ModelRef]:
        found = [self._references.model(name, place, where) for name, place, where in names]
        return [ref for ref in found if ref is not None]

    # ------------------------------------------------------------------------------------------ models and merges

    def _subjects(self, draft: Draft, part: Part, cls: type[Component] | None) -> tuple[ModelRef, ...]:
        of, at = part.node.mapping.get("of"), part.node.mapping.get("at")
        before = len(self._problems)
        if of is not None and of.value != ALL:
            subjects = self._named(draft, of, at)
        elif at is not None:
            subjects = self._all_at(draft, at)
        else:
            models, merges = self._references.models, self._references.merges
            subjects = [ModelRef(name) for name in (*models, *merges)]
            if not models and not merges:
                advice = "declare a model, or leave the metric out"
                self._problems.add(draft.place, draft.where, "there is nothing to measure", advice)
        routed = cls is not None and issubclass(cls, ModelMetric) and cls.applies_to == "routed"
        if routed and len(self._problems) == before and not self._any_routed(subjects):
            place = (of or part.node.mapping["use"]).place
            what = f"{part.use} is measured of merges that route, and there is none"
            self._problems.add(place, draft.where, what, "name a merge with routers in `of`")
        return tuple(dict.fromkeys(subjects))

    def _named(self, draft: Draft, of: Node, at: Node | None) -> list[ModelRef]:
        """The models and merges of a list. `at` moves the models; a merge has an `at` of its own."""
        models, merges = list[ModelRef](), list[ModelRef]()
        whole = True
        for name, place, where in self._names(of, f"{draft.where}.of", "a model, a merge, a list of them, or `all`"):
            merge, _, step = name.partition("@")
            if merge not in self._references.merges:
                ref = self._references.model(name, place, where, or_merge=True)
                models += [ref] if ref else []
                whole = whole and ref is not None
            elif step:
                what = f"{merge} is a merge, and merges keep no checkpoints"
                self._problems.add(place, where, what, f"write {merge}; checkpoints of its experts: `at` of the merge")
            else:
                merges.append(ModelRef(merge))
        if at is None or not whole or not models + merges:
            return models + merges
        if not models:
            what = "`at` chooses checkpoints of models, and `of` names only merges"
            self._problems.add(at.place, f"{draft.where}.at", what, "a merge has an `at` of its own")
        moved = [self._references.at(models, step, f"{draft.where}.at") for step in _steps(at)] if models else []
        return [ref for refs in moved for ref in refs] + merges

    def _all_at(self, draft: Draft, at: Node) -> list[ModelRef]:
        """Every model that keeps a checkpoint of the step."""
        where = f"{draft.where}.at"
        models = self._references.models
        subjects: list[ModelRef] = []
        for node in _steps(at):
            step = self._references.step(node, where)
            if step is None:
                continue
            found = [ModelRef(name, step) for name, model in models.items() if model.keeps_step(step)]
            if not found and all(model.knows_steps() for model in models.values()):
                kept = sorted({step for model in models.values() for saved, _ in model.kept_steps() for step in saved})
                advice = f"kept are {', '.join(map(str, kept))}" if kept else "no model keeps checkpoints"
                self._problems.add(node.place, where, f"no model keeps a checkpoint of step {step}", advice)
            subjects += found
        return subjects

    def _any_routed(self, subjects: Sequence[ModelRef]) -> bool:
        merges = self._references.merges
        parts = [part for ref in subjects if ref.name in merges for part in merges[ref.name].parts.values()]
        return any(part.cls is None or getattr(part.cls, "routed", False) for part in parts)

    def _names(self, node: Node, where: str, expected: str) -> Iterator[tuple[str, Place, str]]:
        """The names of a string or a list of strings, each with its place and path."""
        listed = isinstance(node.value, list)
        if listed and not node.items:
            self._problems.add(node.place, where, f"{node.in_words()} does not fit", f"expected {expected}")
        for index, entry in enumerate(node.items if listed else [node]):
            path = f"{where}.{index}" if listed else where
            if isinstance(entry.value, str) and entry.value:
                yield entry.value, entry.place, path
            else:
                self._problems.add(entry.place, path, f"{entry.in_words()} does not fit", f"expected {expected}")


def _steps(at: Node) -> list[Node]:
    return at.items if isinstance(at.value, list) and at.items else [at]
