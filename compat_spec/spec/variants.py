"""From checked declarations to the variants of a `Spec`: names resolved, `at:` applied, shapes compared."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TypeVar, cast

from compat_spec.circles import way_back
from compat_spec.components import Component, FitsModels, Merge, ModelSource, Task, TensorMerge
from compat_spec.spec.bare import check_bare_models
from compat_spec.spec.drafts import Draft, Drafts, Part
from compat_spec.spec.metrics import Metrics
from compat_spec.spec.nodes import Node
from compat_spec.spec.problems import Problems
from compat_spec.spec.references import References, beside
from compat_spec.spec.shapes import DEPTH, TOKENS, Shapes
from compat_spec.spec.spec import Declaration, MergeVariant, MetricVariant, ModelRef, ModelVariant, Point, TaskVariant

V = TypeVar("V")


class Variants:
    """Makes the declarations of a spec. What has mistakes is left out; they are in `problems`."""

    def __init__(self, drafts: Drafts, problems: Problems) -> None:
        self._drafts = drafts
        self._problems = problems
        self._references = References(drafts, problems)
        self._silent = References(drafts, Problems())
        self._shapes = Shapes()
        self.tasks: Mapping[str, Declaration[TaskVariant]] = self._declarations("tasks", self._task)
        self.models: Mapping[str, Declaration[ModelVariant]] = self._declarations("models", self._model)
        self._check_circles("models")
        self._check_trainings("models")
        self._relate_merges()
        self._check_circles("merges")
        self.merges: Mapping[str, Declaration[MergeVariant]] = self._declarations("merges", self._merge)
        self._check_trainings("merges")
        metrics = Metrics(self._references, self._shapes, problems)
        self.metrics: Mapping[str, Declaration[MetricVariant]] = self._declarations("metrics", metrics.variant)
        check_bare_models(drafts, problems, self.models, self.merges, self.metrics)

    def _declarations(self, section: str, make: Callable[[Draft, Point, Part], V | None]) -> dict[str, Declaration[V]]:
        return {
            name: Declaration(
                name,
                tuple(draft.axes),
                {point: made for point, part in draft.parts.items() if (made := make(draft, point, part)) is not None},
            )
            for name, draft in self._drafts.section(section).items()
        }

    # ------------------------------------------------------------------------------------------- tasks and models

    def _task(self, draft: Draft, _point: Point, part: Part) -> TaskVariant | None:
        self._check_names(draft, part)
        if part.use is None or part.component is None:
            return None
        return TaskVariant(part.use, cast("Task", part.component))

    def _model(self, draft: Draft, point: Point, part: Part) -> ModelVariant | None:
        self._check_names(draft, part)
        origin = part.node.mapping.get("from")
        if origin is not None:
            parent = self._parent(draft, origin)
            if parent is not None:
                self._shapes.add_descendant(draft.name, draft.indices(point), parent.name)
            return ModelVariant(None, None, parent, part.trainer_use, part.trainer)
        if part.use is None or part.component is None:
            return None
        source = cast("ModelSource", part.component)
        with self._problems.of_plugin(part.use, part.node.mapping["use"].place, draft.where):
            self._shapes.add_source(draft.name, draft.indices(point), source.architecture())
        return ModelVariant(part.use, source, None, part.trainer_use, part.trainer)

    def _parent(self, draft: Draft, origin: Node) -> ModelRef | None:
        where = f"{draft.where}.from"
        if isinstance(origin.value, str):
            return self._references.model(origin.value, origin.place, where)
        self._problems.add(origin.place, where, f"{origin.in_words()} does not fit", "expected the name of a model")
        return None

    def _check_circles(self, section: str) -> None:
        """Report each circle once, where the first of its models or merges stands."""
        key, verb = ("from", "descends from") if section == "models" else ("models", "is made of")
        reported: set[str] = set()
        for start, draft in self._drafts.section(section).items():
            circle = None if start in reported else way_back(start, self._shapes.ingredients)
            if circle is not None:
                way = " → ".join(circle)
                place = draft.node.mapping.get(key, draft.node).place
                self._problems.add(place, f"{draft.where}.{key}", f"{start} {verb} itself: {way}")
                reported.update(circle)

    # -------------------------------------------------------------------------------------------------- merges

    def _relate_merges(self) -> None:
        """Note what merges are made of, before the first that is made of another merge is looked at."""
        for draft in self._drafts.section("merges").values():
            if draft.name in self._references.models:  # which has been reported
                continue
            for point, part in draft.parts.items():
                listed = part.fields.get("models", ())
                refs = [
                    ref for name in (*listed, *beside(part.fields, "models")) if (ref := self._model_of(draft, name))
                ]
                if refs:
                    first = getattr(part.component, "owner", refs[0].name).partition("@")[0]
                    others = {ref.name for ref in refs} - {first}
                    self._shapes.add_merge(draft.name, draft.indices(point), first, others, _changed_by(part))

    def _merge(self, draft: Draft, point: Point, part: Part) -> MergeVariant | None:
        self._check_names(draft, part, of_merge=True)
        if part.use is None or part.cls is None:
            return None
        names = part.fields.get("models", ())
        experts = [ref for name in names if (ref := self._model_of(draft, name))]
        others = {name: ref for name in beside(part.fields, "models") if (ref := self._model_of(draft, name))}
        at = part.node.mapping.get("at")
        if at is not None and names and len(experts) == len(names):
            experts = self._references.at(experts, at, f"{draft.where}.at")
        compares = cast("type[Merge]", part.cls).compares
        # a merge of tensors brings the rows of different vocabularies into one order, where it is told to
        freed = TOKENS if _aligns(part) else frozenset[str]()
        merged = [ref for name, ref in others.items() if not _lends_tokenizer(part, name)]
        difference = self._shapes.difference([*experts, *merged], compares, draft.indices(point), freed)
        if difference:
            listed = part.node.mapping.get("models", part.node)
            what = f"{part.use} cannot combine {difference}"
            right = "the models must have the same shapes"
            if issubclass(cast("type[Merge]", part.cls), TensorMerge) and "vocab" in difference:
                right += "; vocabulary: base or union brings different tokens into one order"
            self._problems.add(listed.place, f"{draft.where}.models", what, right)
        self._check_fit(draft, point, part.component, part.use, part.node, [ref.name for ref in experts])
        if part.component is None:
            return None
        merge = cast("Merge", part.component)
        return MergeVariant(part.use, merge, tuple(experts), others, part.trainer_use, part.trainer)

    def _model_of(self, draft: Draft, name: str) -> ModelRef | None:
        """A model or merge that a merge names; what is wrong with it has been reported by `_check_names`."""
        return self._silent.ingredient(name, draft.place, draft.where)

    # --------------------------------------------------------------------------------------------- what fits models

    def _check_trainings(self, section: str) -> None:
        """Whether trainers go with the models that they train; asked when all models are known."""
        for draft in self._drafts.section(section).values():
            for point, part in draft.parts.items():
                train = part.node.mapping.get("train")
                if train is not None and part.trainer_use is not None:
                    names = [draft.name] if section == "models" else part.fields.get("models", ())
                    models = [ref.name for name in names if (ref := self._model_of(draft, name))]
                    self._check_fit(draft, point, part.trainer, part.trainer_use, train, models, ".train")

    def _check_fit(
        self,
        draft: Draft,
        point: Point,
        component: Component | None,
        use: str,
        node: Node,
        models: Collection[str],
        inside: str = "",
    ) -> None:
        if not isinstance(component, FitsModels):
            return
        at = draft.indices(point)
        for facts in (facts for name in models for facts in self._shapes.architectures(name, at)):
            with self._problems.of_plugin(use, node.place, draft.where + inside):
                misfit = component.misfit(facts)
                if misfit:
                    self._problems.add(node.place, draft.where + inside, misfit)
                    return

    # ------------------------------------------------------------------------------------------------- helpers

    def _check_names(self, draft: Draft, part: Part, *, of_merge: bool = False) -> None:
        """Check the tasks and models that the plugins of a part name."""
        self._references.check_names(part.fields, part.node, draft.place, draft.where, of_merge=of_merge)
        train = part.node.mapping.get("train")
        if train is not None and part.trainer_fields:
            self._references.check_names(part.trainer_fields, train, train.place, f"{draft.where}.train")


def _changed_by(part: Part) -> frozenset[str]:
    """What is known of the model whose config a merge takes over, and may not hold for what the merge makes."""
    if part.cls is None or not issubclass(part.cls, TensorMerge):
        return frozenset()
    of_tokens = TOKENS if _aligns(part) else frozenset[str]()
    return of_tokens if part.cls.blocks is TensorMerge.blocks else of_tokens | DEPTH


def _aligns(part: Part) -> bool:
    """See `TensorMerge.aligns`."""
    of_tensors = part.cls is not None and issubclass(part.cls, TensorMerge)
    return of_tensors and (part.fields.get("vocabulary", "same") != "same" or part.fields.get("tokenizer") is not None)


def _lends_tokenizer(part: Part, name: str) -> bool:
    """Whether a model that a merge names gives its tokenizer, and nothing else."""
    elsewhere = {key: value for key, value in part.fields.items() if key != "tokenizer"}
    return _aligns(part) and name == part.fields.get("tokenizer") and name not in beside(elsewhere, "models")
