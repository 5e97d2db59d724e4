"""Each declaration on its own: its sweeps spelled out, its plugins found, the parameters of every point validated."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

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
from compat_spec.spec.problems import Place, Problems, nearest
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
    """A declaration at one point of its sweeps."""

    node: Node
    use: str | None
    component: Component | None
    """None for a model that descends `from:` another."""
    trainer_use: str | None
    trainer: Trainer | None
    saved_steps: tuple[int, ...] = ()
    """The steps that the training keeps, besides the last."""
    last_step: int | None = None


@dataclass
class Draft:
    """A declaration whose names have not been resolved yet.

    A broken one has been reported: it has no parts, and what refers to it is not checked any further.
    """

    section: str
    name: str
    place: Place
    """Where its name stands."""
    node: Node
    axes: list[Axis] = field(default_factory=list)
    parts: dict[Point, Part] = field(default_factory=dict)
    broken: bool = False

    @property
    def where(self) -> str:
        return f"{self.section}.{self.name}"

    def indices(self, point: Point) -> Indices:
        return dict(zip((axis.name for axis in self.axes), point, strict=True))

    def kept_steps(self) -> set[tuple[tuple[int, ...], int | None]]:
        """For the points of a model: the steps that its training keeps, and its last step where that is known."""
        return {(part.saved_steps, part.last_step) for part in self.parts.values()}

    def keeps_step(self, step: int) -> bool:
        """Whether a model keeps checkpoints, and among them this step, at every point."""
        return all(saved and (step in saved or step == last) for saved, last in self.kept_steps())


class Drafts:
    """All declarations of a spec, by section and name."""

    def __init__(self, drafts: Mapping[tuple[str, str], Draft]) -> None:
        self._drafts = drafts

    def __iter__(self) -> Iterator[Draft]:
        return iter(self._drafts.values())

    def section(self, section: str) -> dict[str, Draft]:
        return {draft.name: draft for draft in self if draft.section == section}

    def get(self, section: str, name: str) -> Draft | None:
        return self._drafts.get((section, name))


def read_declarations(document: Node, folder: Path, problems: Problems) -> Drafts:
    """Every declaration of the spec, checked by itself.

    Args:
        folder: where the spec lies.
    """
    drafts = {(draft.section, draft.name): draft for draft in _declared(document, problems)}
    sweeps = find_sweeps({key: draft.node for key, draft in drafts.items()}, problems)
    axes = axes_of(sweeps.found)
    for key, draft in drafts.items():
        own = axes.get(key, [])
        draft.axes = [axis for axis, _ in own]
        draft.broken = any(place in sweeps.broken for place in _places(draft.node))
        count = math.prod(len(axis.values) for axis in draft.axes)
        if count > MAX_POINTS:
            what = f"the sweeps span {count:,} points"
            problems.add(draft.place, draft.where, what, f"at most {MAX_POINTS:,} in one declaration")
            draft.broken = True
            own = []
        reader = _Reader(draft, folder, sweeps.broken, problems)
        for point, node in expand(draft.node, own):
            part = reader.read(node)
            if part is not None:
                draft.parts[point] = part
            else:
                draft.broken = True
    return Drafts(drafts)


def _places(node: Node) -> Iterator[Place]:
    yield node.place
    for inner in (*node.mapping.values(), *node.items):
        yield from _places(inner)


def _declared(document: Node, problems: Problems) -> Iterator[Draft]:
    for section in SECTIONS:
        declared = document.mapping.get(section)
        if declared is None or declared.value is None:
            continue
        if not isinstance(declared.value, dict):
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
                draft.node, draft.broken = Node({}, node.place), True
            yield draft


class _Reader:
    """Reads one declaration at each of its points."""

    def __init__(self, draft: Draft, folder: Path, ignored: set[Place], problems: Problems) -> None:
        self._draft = draft
        self._folder = folder
        self._ignored = ignored
        self._problems = problems

    def read(self, node: Node) -> Part | None:
        """The declaration at a point, or None when it has mistakes."""
        before = len(self._problems)
        draft = self._draft
        if draft.broken and not draft.node.mapping:
            return None
        train = node.mapping.get("train") if draft.section in ("models", "merges") else None
        use, cls = self._plugin(node)
        component = None
        if cls is not None and use is not None:
            component = self._component(cls, use, node)
        trainer_use, trainer = self._trainer(train) if train is not None else (None, None)
        self._check_training(cls, node)
        if len(self._problems) > before or (use is not None and component is None) or (train and trainer is None):
            return None
        part = Part(node, use, component, trainer_use, trainer)
        if trainer is None or trainer_use is None:
            return part
        with self._problems.of_plugin(
            trainer_use, self._draft.node.place_of("train"), f"{draft.where}.train"
        ) as attempt:
            part = replace(part, saved_steps=tuple(sorted(set(trainer.saved_steps()))), last_step=trainer.last_step())
        return None if attempt.failed else part

    def _plugin(self, node: Node) -> tuple[str | None, type[Component] | None]:
        draft = self._draft
        use = node.mapping.get("use")
        origin = node.mapping.get("from") if draft.section == "models" else None
        if origin is not None:
            if use is not None:
                advice = "a model either is a source (`use`) or descends from another (`from`)"
                self._problems.add(node.place_of("use"), draft.where, "both `use` and `from`", advice)
            return None, None
        if use is None:
            wanted = "needs `use` or `from`" if draft.section == "models" else "needs `use`"
            self._problems.add(draft.place, draft.where, wanted, "it names the plugin: {use: …}")
            return None, None
        return self._class(use, CONTRACTS[draft.section].namespace, draft.where)

    def _class(self, use: Node, namespace: str, where: str) -> tuple[str | None, type[Component] | None]:
        if use.place in self._ignored:
            return None, None
        if not isinstance(use.value, str):
            what = f"{use.in_words()} does not fit"
            self._problems.add(use.place, f"{where}.use", what, "expected the name of a plugin")
            return None, None
        return use.value, find_class(namespace, use.value, use.place, f"{where}.use", self._problems)

    def _component(self, cls: type[Component], use: str, node: Node) -> Component | None:
        draft = self._draft
        keys = [key for key in KEYS[draft.section] if key != "from"]
        if issubclass(cls, Metric):
            keys.remove(MODEL_ONLY if issubclass(cls, PairMetric) else PAIR_ONLY)
        setting = Setting(draft.where, draft.place, keys, self._ignored)
        return make(cls, use, node.without(*keys), setting, self._folder, self._problems)

    def _trainer(self, train: Node) -> tuple[str | None, Trainer | None]:
        where = f"{self._draft.where}.train"
        if train.place in self._ignored:
            return None, None
        if not isinstance(train.value, dict):
            what = f"{train.in_words()} does not fit"
            self._problems.add(train.place, where, what, "expected a mapping: {on: …, steps: …}")
            return None, None
        use, cls = self._class(train.mapping.get("use", Node(DEFAULT_TRAINER, train.place)), Trainer.namespace, where)
        if cls is None or use is None:
            return None, None
        setting = Setting(where, self._draft.node.place_of("train"), ("use",), self._ignored)
        trainer = make(cls, use, train.without("use"), setting, self._folder, self._problems)
        return use, trainer if isinstance(trainer, Trainer) else None

    def _check_training(self, cls: type[Component] | None, node: Node) -> None:
        """What a `train:` block is needed for, and where it has no place."""
        draft, problems = self._draft, self._problems
        if "from" in node.mapping and draft.section == "models":
            if "train" not in node.mapping:
                advice = "a model that is not trained any further is the model that it descends from"
                problems.add(draft.place, draft.where, "a model with `from` needs `train`", advice)
            for key in node.mapping:
                if key not in KEYS["models"]:
                    advice = nearest(
                        key, ("from", "train"), "parameters of the training stand under `train`; there are"
                    )
                    what = f"{key!r} has no place beside `from`"
                    problems.add(node.place_of(key), f"{draft.where}.{key}", what, advice)
        if cls is None or draft.section != "merges":
            return
        if issubclass(cls, TensorMerge) and "train" in node.mapping:
            what = "a merge of parameters has nothing to train"
            problems.add(node.place_of("train"), f"{draft.where}.train", what, "leave `train` out")
        if issubclass(cls, ModuleMerge) and cls.needs_training and "train" not in node.mapping:
            what = "needs `train`: its routers start at random"
            problems.add(draft.place, draft.where, what, "train them on a task: train: {on: …, steps: …}")
