"""Each declaration on its own: its sweeps spelled out, its plugins found, the parameters of every point validated."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from compat_spec.components import (
    Component,
    Merge,
    Metric,
    ModelSource,
    ModuleMerge,
    PairMetric,
    Task,
    TensorMerge,
    Trainer,
)
from compat_spec.spec.axes import Indices, axes_of
from compat_spec.spec.keys import KEYS, SECTIONS
from compat_spec.spec.problems import Place, Problems
from compat_spec.spec.spec import Axis, Point
from compat_spec.spec.sweeps import MAX_POINTS, expand, find_sweeps
from compat_spec.spec.validation import Setting, find_class, make
from compat_spec.spec.yaml_nodes import Node

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
DEFAULT_TRAINER = "finetune"

CONTRACTS: dict[str, type[Component]] = {"tasks": Task, "models": ModelSource, "merges": Merge, "metrics": Metric}

PAIR_ONLY, MODEL_ONLY = "between", "of"


@dataclass(frozen=True)
class Part:
    """A declaration at one point of its sweeps. What has mistakes is None; its fields are those that have none."""

    node: Node
    use: str | None = None
    cls: type[Component] | None = None
    component: Component | None = None
    """None also for a model that descends `from:` another."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    trainer_use: str | None = None
    trainer: Trainer | None = None
    trainer_fields: Mapping[str, Any] = field(default_factory=dict)
    saved_steps: tuple[int, ...] = ()
    """The steps that the training keeps, besides the last."""
    last_step: int | None = None


@dataclass
class Draft:
    """A declaration whose names have not been resolved yet."""

    section: str
    name: str
    place: Place
    """Where its name stands."""
    node: Node
    axes: list[Axis] = field(default_factory=list)
    parts: dict[Point, Part] = field(default_factory=dict)

    @property
    def where(self) -> str:
        return f"{self.section}.{self.name}"

    def indices(self, point: Point) -> Indices:
        return dict(zip((axis.name for axis in self.axes), point, strict=True))

    def kept_steps(self) -> set[tuple[tuple[int, ...], int | None]]:
        """For the points of a model: the steps that its training keeps, and its last step where that is known."""
        return {(part.saved_steps, part.last_step) for part in self.parts.values()}

    def knows_steps(self) -> bool:
        """Whether `kept_steps` can be relied on: not when the training has mistakes."""
        return bool(self.parts) and all(
            part.trainer is not None or not part.node.mapping.keys() & {"train", "from"} for part in self.parts.values()
        )

    def keeps_step(self, step: int) -> bool:
        """Whether a model keeps checkpoints, and among them this step, at every point."""
        return all(saved and (step in saved or step == last) for saved, last in self.kept_steps())


class Drafts:
    """All declarations of a spec, by section and name."""

    def __init__(self, drafts: Mapping[tuple[str, str], Draft], unreadable: Collection[str]) -> None:
        self._drafts = drafts
        self.unreadable = unreadable
        """The sections that are no mappings: which names they meant to declare is not known."""

    def __iter__(self) -> Iterator[Draft]:
        return iter(self._drafts.values())

    def section(self, section: str) -> dict[str, Draft]:
        return {draft.name: draft for draft in self if draft.section == section}


def read_declarations(document: Node, folder: Path, problems: Problems) -> Drafts:
    """Every declaration of the spec, checked by itself.

    Args:
        folder: where the spec lies.
    """
    drafts = {(draft.section, draft.name): draft for draft in _declared(document, problems)}
    sweeps = find_sweeps({key: draft.node for key, draft in drafts.items()}, problems)
    problems.mute(sweeps.broken)
    axes = axes_of(sweeps.found)
    for key, draft in drafts.items():
        own = axes.get(key, [])
        draft.axes = [axis for axis, _ in own]
        count = math.prod(len(axis.values) for axis in draft.axes)
        if count > MAX_POINTS:
            what = f"the sweeps span {count:,} points"
            problems.add(draft.place, draft.where, what, f"at most {MAX_POINTS:,} in one declaration")
        reader = _Reader(draft, folder, problems)
        if isinstance(draft.node.value, dict):
            points = islice(expand(draft.node, own), MAX_POINTS if count <= MAX_POINTS else 1)
            draft.parts = {point: reader.read(node) for point, node in points}
    unreadable = [key for key in SECTIONS if key in document.mapping and not _is_section(document.mapping[key])]
    return Drafts(drafts, unreadable)


def _is_section(node: Node) -> bool:
    return node.value is None or isinstance(node.value, dict)


def _declared(document: Node, problems: Problems) -> Iterator[Draft]:
    for section in SECTIONS:
        declared = document.mapping.get(section)
        if declared is None:
            continue
        if not _is_section(declared):
            advice = f"expected a mapping from names to {section}"
            problems.add(declared.place, section, f"{declared.in_words()} does not fit", advice)
            continue
        for name, node in declared.mapping.items():
            place = declared.place_of(name)
            where = f"{section}.{name}"
            draft = Draft(section, name, place, node)
            if not NAME.fullmatch(name):
                advice = "a name has letters, digits, `_` and `-`, and starts with a letter"
                problems.add(place, where, f"{name!r} is not a name", advice)
            elif section in ("models", "merges") and name == "all":
                problems.add(place, where, "'all' cannot be a name here", "`of: all` means every model and merge")
            elif section == "merges" and name in document.mapping.get("models", node).mapping:
                problems.add(place, where, f"{name!r} is a model already", "models and merges need different names")
            if not isinstance(node.value, dict):
                advice = "write {use: …}" if section != "models" else "write {use: …} or {from: …, train: …}"
                problems.add(node.place, where, f"{node.in_words()} does not fit", advice)
            yield draft


class _Reader:
    """Reads one declaration at each of its points."""

    def __init__(self, draft: Draft, folder: Path, problems: Problems) -> None:
        self._draft = draft
        self._folder = folder
        self._problems = problems

    def read(self, node: Node) -> Part:
        """The declaration at a point."""
        part = Part(node)
        use = self._use(node)
        if use is not None:
            part = self._with_component(part, use)
        self._check_needs_training(part)
        if "train" in node.mapping and self._may_train(part):
            part = self._with_trainer(part, node.mapping["train"])
        return part

    # -------------------------------------------------------------------------------------------- the plugin itself

    def _use(self, node: Node) -> Node | None:
        """What names the plugin; None for a model that descends from another, and when it is missing."""
        draft = self._draft
        use = node.mapping.get("use")
        if self._descends(node):
            if use is not None:
                what, advice = "both `use` and `from`", "a model is a source (`use`) or descends from another (`from`)"
                self._report(node.place_of("use"), draft.where, what, advice)
            self._check_descendant(node)
            return None
        if use is None:
            what = "needs `use` or `from`" if draft.section == "models" else "needs `use`"
            self._report(draft.place, draft.where, what, "it names the plugin: {use: …}")
        return use

    def _descends(self, node: Node) -> bool:
        return self._draft.section == "models" and "from" in node.mapping

    def _check_descendant(self, node: Node) -> None:
        draft = self._draft
        if "train" not in node.mapping:
            what, advice = "needs `train`", "a model with `from` is one that is trained further"
            self._report(draft.place, draft.where, what, advice)
        for key in node.mapping:
            if key not in KEYS["models"]:
                what = f"{key!r} has no place beside `from`"
                advice = "parameters of the training stand under `train`"
                self._report(node.place_of(key), f"{draft.where}.{key}", what, advice)

    def _class(self, use: Node, namespace: str, where: str) -> type[Component] | None:
        if self._problems.is_muted(use.place):
            return None
        if not isinstance(use.value, str):
            what = f"{use.in_words()} does not fit"
            self._report(use.place, f"{where}.use", what, "expected the name of a plugin")
            return None
        return find_class(namespace, use.value, use.place, f"{where}.use", self._problems)

    def _with_component(self, part: Part, use: Node) -> Part:
        draft = self._draft
        cls = self._class(use, CONTRACTS[draft.section].namespace, draft.where)
        if cls is None:
            return part
        keys = [key for key in KEYS[draft.section] if key != "from"]
        if issubclass(cls, Metric):
            keys.remove("of" if issubclass(cls, PairMetric) else "between")
        setting = Setting(draft.where, draft.place, keys)
        name = str(use.value)
        component, fields = make(cls, name, part.node.without(*keys), setting, self._folder, self._problems)
        return replace(part, use=name, cls=cls, component=component, fields=fields)

    # ------------------------------------------------------------------------------------------------- its training

    def _may_train(self, part: Part) -> bool:
        """Whether a `train:` has a place here."""
        draft = self._draft
        if draft.section not in ("models", "merges"):
            return False
        if part.cls is not None and issubclass(part.cls, TensorMerge):
            what = f"{part.use} combines parameters and has nothing to train"
            self._report(part.node.place_of("train"), f"{draft.where}.train", what, "leave `train` out")
            return False
        return True

    def _check_needs_training(self, part: Part) -> None:
        draft, cls = self._draft, part.cls
        if cls is not None and issubclass(cls, ModuleMerge) and cls.needs_training and "train" not in part.node.mapping:
            what, advice = "needs `train`", f"{part.use} is of no use untrained: train: {{on: …, steps: …}}"
            self._report(draft.place, draft.where, what, advice)

    def _with_trainer(self, part: Part, train: Node) -> Part:
        draft = self._draft
        where, place = f"{draft.where}.train", draft.node.place_of("train")
        if self._problems.is_muted(train.place):
            return part
        if not isinstance(train.value, dict):
            what = f"{train.in_words()} does not fit"
            self._report(train.place, where, what, "expected a mapping: {on: …, steps: …}")
            return part
        use = train.mapping.get("use", Node(DEFAULT_TRAINER, place))
        cls = self._class(use, Trainer.namespace, where)
        if cls is None:
            return part
        name = str(use.value)
        setting = Setting(where, place, ("use",))
        trainer, fields = make(cls, name, train.without("use"), setting, self._folder, self._problems)
        part = replace(part, trainer_use=name, trainer_fields=fields)
        if not isinstance(trainer, Trainer):
            return part
        with self._problems.of_plugin(name, place, where):
            steps = tuple(sorted(set(trainer.saved_steps())))
            return replace(part, trainer=trainer, saved_steps=steps, last_step=trainer.last_step())
        return part

    def _report(self, place: Place, where: str, what: str, advice: str) -> None:
        self._problems.add(place, where, what, advice)
