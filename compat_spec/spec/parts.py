"""One declaration at one point of its sweeps: its plugin found, its parameters and those of its training validated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from compat_spec import registry
from compat_spec.components import (
    Component,
    LayerMetric,
    Merge,
    Metric,
    ModelSource,
    ModuleMerge,
    Task,
    TensorMerge,
    Trainer,
)
from compat_spec.spec.complaints import Setting
from compat_spec.spec.drafts import Draft, Part
from compat_spec.spec.keys import DEFAULT_TRAINER, KEYS
from compat_spec.spec.nodes import Node
from compat_spec.spec.problems import Problems
from compat_spec.spec.validation import find_class, make

CONTRACTS: dict[str, type[Component]] = {"tasks": Task, "models": ModelSource, "merges": Merge, "metrics": Metric}


class PartReader:
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
                self._problems.add(node.place_of("use"), draft.where, what, advice)
            self._check_descendant(node)
            return None
        if use is None:
            what = "needs `use` or `from`" if draft.section == "models" else "needs `use`"
            self._problems.add(draft.place, draft.where, what, "it names the plugin: {use: …}")
        return use

    def _descends(self, node: Node) -> bool:
        return self._draft.section == "models" and "from" in node.mapping

    def _check_descendant(self, node: Node) -> None:
        draft = self._draft
        if "train" not in node.mapping:
            what, advice = "needs `train`", "a model with `from` is one that is trained further"
            self._problems.add(draft.place, draft.where, what, advice)
        for key in node.mapping:
            if key not in KEYS["models"]:
                what = f"{key!r} has no place beside `from`"
                advice = "parameters of the training stand under `train`"
                self._problems.add(node.place_of(key), f"{draft.where}.{key}", what, advice)

    def _class(self, use: Node, namespace: str, where: str) -> type[Component] | None:
        if self._problems.is_muted(use.place):
            return None
        if not isinstance(use.value, str):
            what = f"{use.in_words()} does not fit"
            self._problems.add(use.place, f"{where}.use", what, "expected the name of a plugin")
            return None
        return find_class(namespace, use.value, use.place, f"{where}.use", self._problems)

    def _warn_of_clash(self, cls: type[Component], use: Node, where: str) -> None:
        doubt = registry.clash(cls.namespace, str(use.value))
        if doubt:
            self._problems.warn(use.place, f"{where}.use", doubt)

    def _with_component(self, part: Part, use: Node) -> Part:
        draft = self._draft
        cls = self._class(use, CONTRACTS[draft.section].namespace, draft.where)
        if cls is None:
            return part
        keys = [key for key in KEYS[draft.section] if key != "from"]
        if issubclass(cls, Metric):
            keys.remove("of" if issubclass(cls, LayerMetric) else "between")
        setting = Setting(draft.where, draft.place, keys)
        name = str(use.value)
        self._warn_of_clash(cls, use, draft.where)
        component, fields = make(cls, name, part.node.without(*keys), setting, self._folder, self._problems)
        canonical = registry.canonical(cls.namespace, name)
        return replace(part, use=canonical, cls=cls, component=component, fields=fields)

    # ------------------------------------------------------------------------------------------------- its training

    def _may_train(self, part: Part) -> bool:
        """Whether a `train:` has a place here."""
        draft = self._draft
        if draft.section not in ("models", "merges"):
            return False
        if part.cls is not None and _has_nothing_to_train(part.cls):
            what = f"{part.use} has nothing to train"
            self._problems.add(part.node.place_of("train"), f"{draft.where}.train", what, "leave `train` out")
            return False
        return True

    def _check_needs_training(self, part: Part) -> None:
        draft, cls = self._draft, part.cls
        needed = cls is not None and issubclass(cls, ModuleMerge) and cls.training == "needed"
        if needed and "train" not in part.node.mapping:
            what, advice = "needs `train`", f"{part.use} is of no use untrained: train: {{on: …, steps: …}}"
            self._problems.add(draft.place, draft.where, what, advice)

    def _with_trainer(self, part: Part, train: Node) -> Part:
        draft = self._draft
        where, place = f"{draft.where}.train", draft.node.place_of("train")
        if self._problems.is_muted(train.place):
            return part
        if not isinstance(train.value, dict):
            what = f"{train.in_words()} does not fit"
            self._problems.add(train.place, where, what, "expected a mapping: {on: …, steps: …}")
            return part
        use = train.mapping.get("use", Node(DEFAULT_TRAINER, place))
        cls = self._class(use, Trainer.namespace, where)
        if cls is None:
            return part
        name = str(use.value)
        if "use" in train.mapping:
            self._warn_of_clash(cls, use, where)
        setting = Setting(where, place, ("use",))
        trainer, fields = make(cls, name, train.without("use"), setting, self._folder, self._problems)
        part = replace(part, trainer_use=registry.canonical(Trainer.namespace, name), trainer_fields=fields)
        if not isinstance(trainer, Trainer):
            return part
        with self._problems.of_plugin(name, place, where):
            steps = tuple(sorted(set(trainer.saved_steps())))
            if steps and draft.section == "merges":
                kept, advice = train.place_of("save_at"), "what is measured is the end of its training"
                self._problems.add(kept, f"{where}.save_at", "a merge keeps no checkpoints", f"leave it out: {advice}")
            return replace(part, trainer=trainer, saved_steps=steps, last_step=trainer.last_step())
        return part


def _has_nothing_to_train(cls: type[Component]) -> bool:
    return issubclass(cls, TensorMerge) or (issubclass(cls, ModuleMerge) and cls.training == "none")
