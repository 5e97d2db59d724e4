"""Names and checkpoints: what `math`, `math@100`, `at:`, `of:`, `on:` and `between:` stand for."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from compat_spec.components import ModelName, TaskName, TensorMerge, names_within
from compat_spec.spec.drafts import Draft, Drafts
from compat_spec.spec.nodes import Node
from compat_spec.spec.problems import Place, Problems, enumerate_words, nearest
from compat_spec.spec.spec import ModelRef

KINDS = {"tasks": "a task", "models": "a model", "merges": "a merge"}


class References:
    """Resolves the names of a spec, and reports those that stand for nothing."""

    def __init__(self, drafts: Drafts, problems: Problems) -> None:
        self.problems = problems
        self._unreadable = drafts.unreadable
        self.tasks = drafts.section("tasks")
        self.models = drafts.section("models")
        self.merges = drafts.section("merges")

    # ------------------------------------------------------------------------------------------------------- names

    def task(self, name: str, place: Place, where: str) -> str | None:
        """The name of a task; None when there is no such task."""
        if name in self.tasks:
            return name
        self._unknown("tasks", name, place, where)
        return None

    def model(self, written: str, place: Place, where: str, *, or_merge: bool = False) -> ModelRef | None:
        """`math` or `math@100`; None when there is no such model or checkpoint.

        Args:
            or_merge: whether a merge would do as well, for the message.
        """
        name, at, step = written.partition("@")
        if at and not re.fullmatch(r"[0-9]{1,18}", step):
            what = f"{written!r} is not a checkpoint"
            self.problems.add(place, where, what, f"a checkpoint is named by its step: {name}@100")
            return None
        if name not in self.models:
            if or_merge and not {"models", "merges"} & set(self._unreadable):
                advice = nearest(name, [*self.models, *self.merges], "declared")
                self.problems.add(place, where, f"no model or merge {name!r}", advice)
            elif not or_merge:
                self._unknown("models", name, place, where)
            return None
        draft = self.models[name]
        if not at:
            return ModelRef(name)
        return self.checkpoint(draft, int(step), place, where)

    def ingredient(self, written: str, place: Place, where: str) -> ModelRef | None:
        """What a merge may combine: a model, a checkpoint of one, or what another merge makes of tensors."""
        name, at, _ = written.partition("@")
        if name not in self.merges or name in self.models:
            return self.model(written, place, where)
        if at:
            self.problems.add(place, where, f"{name} is a merge, and merges keep no checkpoints", f"write {name}")
            return None
        classes = [part.cls for part in self.merges[name].parts.values() if part.cls is not None]
        if not all(issubclass(cls, TensorMerge) for cls in classes):
            what = f"{name!r} is a merge that runs its models, and what it makes is no model of its own"
            self.problems.add(place, where, what, "name a model, or a merge of tensors")
            return None
        return ModelRef(name)

    def checkpoint(self, draft: Draft, step: int, place: Place, where: str) -> ModelRef | None:
        """A model at a step; None when a point of the model does not keep that step."""
        for saved, last in draft.kept_steps() if draft.knows_steps() else ():
            if step not in saved and step != last:
                what = f"{draft.name} keeps no checkpoint of step {step}"
                self.problems.add(place, where, what, _kept_in_words(draft, saved, last))
                return None
        return ModelRef(draft.name, step)

    def check_names(
        self, fields: Mapping[str, Any], params: Node, fallback: Place, where: str, *, of_merge: bool = False
    ) -> None:
        """Check that every task, model and checkpoint that the fields of a component name exists.

        Args:
            of_merge: whether it is a merge, which may combine other merges as well.
        """
        model = self.ingredient if of_merge else self.model
        for key, value in fields.items():
            for kind, resolve in ((TaskName, self.task), (ModelName, model)):
                for name in dict.fromkeys(names_within(value, kind)):
                    given = params.mapping.get(key)
                    found = _find_text(given, params.place_of(key), name, key) if given else None
                    place, path = found or (fallback, key)
                    resolve(name, place, f"{where}.{path}")

    def _unknown(self, section: str, name: str, place: Place, where: str) -> None:
        if section in self._unreadable:
            return
        known: Mapping[str, Draft] = getattr(self, section)
        for other, kind in KINDS.items():
            if other != section and name in getattr(self, other):
                what = f"{name!r} is {kind}, not {KINDS[section]}"
                if section == "models" and other == "merges":
                    what = f"{name!r} is a merge, and a model is needed here"
                self.problems.add(place, where, what, f"{section}: {', '.join(known) or 'none'}")
                return
        advice = nearest(name, list(known), "declared")
        self.problems.add(place, where, f"no {section.removesuffix('s')} {name!r}", advice)

    # --------------------------------------------------------------------------------------------------------- at

    def at(self, refs: Sequence[ModelRef], step: Node, where: str) -> list[ModelRef]:
        """`at: step` applied: every model that keeps checkpoints stands at that step.

        A model named with a step of its own keeps it. A model whose training keeps no checkpoints stays at its end,
        unless the step is its last; one that keeps others but not this one is a mistake, and so is a step that no
        model has. Merges among them stay as they are.
        """
        number = self.step(step, where)
        if number is None:
            return list(refs)
        moved = []
        for ref in refs:
            if ref.name not in self.models:  # a merge, which has an `at` of its own
                moved.append(ref)
                continue
            draft = self.models[ref.name]
            kept = draft.kept_steps()
            moves = ref.step is None and (any(saved for saved, _ in kept) or all(last == number for _, last in kept))
            if moves:
                self.checkpoint(draft, number, step.place, where)
            moved.append(ModelRef(ref.name, number) if moves else ref)
        if all(ref.step is not None for ref in refs):
            self.problems.add(step.place, where, "every model is named with a step of its own", "leave `at` out")
        elif moved == list(refs) and all(
            self.models[ref.name].knows_steps() for ref in refs if ref.name in self.models
        ):
            what = f"none of these models keeps checkpoints, so none has a step {number}"
            self.problems.add(step.place, where, what, "let their training keep that step")
        return moved

    def step(self, node: Node, where: str) -> int | None:
        if isinstance(node.value, int) and not isinstance(node.value, bool) and node.value >= 0:
            return node.value
        advice = "expected a step, or a sweep over steps: {sweep: [50, 100]}"
        self.problems.add(node.place, where, f"{node.in_words()} does not fit", advice)
        return None


def _kept_in_words(draft: Draft, saved: Collection[int], last: int | None) -> str:
    if all(part.trainer is None for part in draft.parts.values()):
        return "it is not trained, so it has none"
    steps = sorted({*saved, *([last] if last is not None else [])})
    if not saved:
        return f"its training keeps only its end{f', step {last}' if last is not None else ''}"
    return f"it keeps {enumerate_words(steps)}"


def beside(fields: Mapping[str, Any], listed: str) -> Iterator[str]:
    """The models that the fields of a component name besides those of the field `listed`.

    A name of `listed` that stands inside another list or mapping (`weights: {math: 0.3}`) means that model again.
    """
    seen: set[str] = set()
    for key, value in fields.items():
        if key != listed:
            for name in names_within(value, ModelName):
                if name not in seen and (isinstance(value, ModelName) or name not in fields.get(listed, ())):
                    seen.add(name)
                    yield name


def _find_text(node: Node, place: Place, text: str, path: str) -> tuple[Place, str] | None:
    if node.value == text and isinstance(node.value, str):
        return node.place, path
    for key, inner in node.mapping.items():
        if key == text:
            return node.place_of(key), path
        if found := _find_text(inner, node.place_of(key), text, f"{path}.{key}"):
            return found
    for index, inner in enumerate(node.items):
        if found := _find_text(inner, inner.place, text, f"{path}.{index}"):
            return found
    return None
