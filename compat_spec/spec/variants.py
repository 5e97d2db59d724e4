"""From checked declarations to the variants of a `Spec`: names resolved, `at:` applied, shapes compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar, cast

from compat_spec.components import Merge, ModelSource, Task
from compat_spec.spec.declarations import Draft, Drafts, Part
from compat_spec.spec.metrics import Metrics
from compat_spec.spec.problems import Problems
from compat_spec.spec.references import References, beside
from compat_spec.spec.shapes import Shapes
from compat_spec.spec.spec import Declaration, MergeVariant, MetricVariant, ModelVariant, Point, TaskVariant

V = TypeVar("V")


class Variants:
    """Makes the declarations of a spec. A draft with a mistake is reported, marked as broken and left out."""

    def __init__(self, drafts: Drafts, problems: Problems) -> None:
        self._drafts = drafts
        self._problems = problems
        self._references = References(drafts, problems)
        self.tasks: Mapping[str, Declaration[TaskVariant]] = self._declarations("tasks", self._task)
        self.models: Mapping[str, Declaration[ModelVariant]] = self._declarations("models", self._model)
        self._check_cycles()
        self._shapes = Shapes(self.models)
        self._check_architectures()
        self.merges: Mapping[str, Declaration[MergeVariant]] = self._declarations("merges", self._merge)
        metrics = Metrics(self._references, self._shapes, problems)
        self.metrics: Mapping[str, Declaration[MetricVariant]] = self._declarations("metrics", metrics.variant)

    def _declarations(self, section: str, make: Callable[[Draft, Point, Part], V | None]) -> dict[str, Declaration[V]]:
        declarations = {}
        for name, draft in self._drafts.section(section).items():
            variants = {}
            for point, part in draft.parts.items():
                variant = make(draft, point, part)
                if variant is None:
                    draft.broken = True
                else:
                    variants[point] = variant
            if not draft.broken:
                declarations[name] = Declaration(name, tuple(draft.axes), variants)
        return declarations

    # ------------------------------------------------------------------------------------------- tasks and models

    def _task(self, draft: Draft, _point: Point, part: Part) -> TaskVariant | None:
        assert part.use is not None
        return TaskVariant(part.use, cast("Task", part.component)) if self._names_exist(draft, part) else None

    def _model(self, draft: Draft, _point: Point, part: Part) -> ModelVariant | None:
        good = self._names_exist(draft, part)
        origin = part.node.mapping.get("from")
        if origin is None:
            source = cast("ModelSource", part.component)
            return ModelVariant(part.use, source, None, part.trainer_use, part.trainer) if good else None
        where = f"{draft.where}.from"
        if not isinstance(origin.value, str):
            self._problems.add(origin.place, where, f"{origin.in_words()} does not fit", "expected the name of a model")
            return None
        parent = self._references.model(origin.value, origin.place, where)
        if parent is None or not good:
            return None
        return ModelVariant(None, None, parent, part.trainer_use, part.trainer)

    def _check_cycles(self) -> None:
        """Report each circle once, where the first of its models stands."""
        parents = {
            name: [variant.parent.name for variant in declaration.variants.values() if variant.parent]
            for name, declaration in self.models.items()
        }
        for start in parents:
            draft = self._references.models[start]
            circle = None if draft.broken else _circle(start, parents)
            if circle is not None:
                way = " → ".join([*circle, start])
                place = draft.node.mapping["from"].place
                self._problems.add(place, f"{draft.where}.from", f"{start} descends from itself: {way}")
                for name in circle:
                    self._references.models[name].broken = True

    def _check_architectures(self) -> None:
        """Ask every source for its shapes, for that may fail: a folder without a config."""
        for name, declaration in self.models.items():
            draft = self._references.models[name]
            for variant in declaration.variants.values():
                if variant.source is not None and not draft.broken:
                    use = draft.node.mapping["use"]
                    with self._problems.of_plugin(str(use.value), use.place, draft.where) as attempt:
                        self._shapes.facts(variant.source)
                    draft.broken = attempt.failed

    # -------------------------------------------------------------------------------------------------- merges

    def _merge(self, draft: Draft, point: Point, part: Part) -> MergeVariant | None:
        merge = cast("Merge", part.component)
        assert part.use is not None
        if not self._names_exist(draft, part):
            return None
        others = {
            name: ref
            for name in beside(merge, "models", merge.models)
            if (ref := self._references.model(name, draft.place, draft.where))
        }
        named = [self._references.model(name, draft.place, draft.where) for name in merge.models]
        experts = [ref for ref in named if ref is not None]
        at = part.node.mapping.get("at")
        if at is not None:
            moved = self._references.at(experts, at, f"{draft.where}.at")
            if moved is None:
                return None
            experts = moved
        difference = self._shapes.difference([*experts, *others.values()], merge.compares, draft.indices(point))
        if difference:
            listed = part.node.mapping.get("models", part.node)
            what = f"{part.use} cannot combine {difference}"
            self._problems.add(listed.place, f"{draft.where}.models", what, "the models must have the same shapes")
            return None
        return MergeVariant(part.use, merge, tuple(experts), others, part.trainer_use, part.trainer)

    # ------------------------------------------------------------------------------------------------- helpers

    def _names_exist(self, draft: Draft, part: Part) -> bool:
        """Whether the tasks and models that the plugins of a part name exist and have no mistakes."""
        good = True
        if part.component is not None:
            good = self._references.check_names(part.component, part.node, draft.place, draft.where)
        if part.trainer is not None:
            train = part.node.mapping["train"]
            good = self._references.check_names(part.trainer, train, train.place, f"{draft.where}.train") and good
        return good


def _circle(start: str, parents: Mapping[str, list[str]]) -> list[str] | None:
    """The way from a model to itself, along its ancestors."""
    ways = [[start]]
    seen = set()
    while ways:
        way = ways.pop()
        for parent in parents.get(way[-1], ()):
            if parent == start:
                return way
            if parent not in seen:
                seen.add(parent)
                ways.append([*way, parent])
    return None
