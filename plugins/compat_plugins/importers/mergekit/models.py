"""The models that a configuration of mergekit refers to, as models of a spec."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compat_spec.spec.nodes import Node
    from compat_spec.spec.problems import Problems

MERGE = "merged"
"""What the merge is called; models and merges share their names."""

_TAKEN = frozenset({MERGE, "all"})


@dataclass(frozen=True)
class Reference:
    """A model as mergekit knows it: a folder, or the id of a hub with a revision."""

    path: str
    revision: str | None = None


class Models:
    """Gives names to the models that are referred to; one that is referred to again keeps its name.

    Args:
        folder: where paths start.
    """

    def __init__(self, folder: Path, problems: Problems) -> None:
        self._folder = folder
        self._problems = problems
        self._names: dict[Reference, str] = {}

    def name_of(self, node: Node | None, where: str) -> str | None:
        """What a model is called in the spec; None when it is none, which has been reported then."""
        reference = self._reference(node, where) if node is not None else None
        if reference is None:
            return None
        if reference not in self._names:
            self._names[reference] = self._new_name(reference.path)
        return self._names[reference]

    def depth(self, name: str) -> int | None:
        """How many blocks a model has, when it lies here."""
        reference = next(one for one, called in self._names.items() if called == name)
        try:
            config = json.loads((self._folder / reference.path / "config.json").read_text("utf-8"))
        except (OSError, ValueError):
            return None
        depth = next((config[key] for key in ("num_hidden_layers", "n_layer", "num_layers") if key in config), None)
        return depth if isinstance(depth, int) else None

    def declarations(self) -> dict[str, dict[str, Any]]:
        """All models that were referred to, as the spec declares them."""
        return {name: self._declaration(reference) for reference, name in self._names.items()}

    def _declaration(self, reference: Reference) -> dict[str, Any]:
        declared: dict[str, Any] = {"use": "causal_lm"}
        folder = self._folder / reference.path
        if folder.is_dir():
            # as it is written where that holds from the working folder, where the spec is
            same = os.path.realpath(reference.path) == os.path.realpath(folder)
            declared["path"] = reference.path if same else os.path.realpath(folder)
        else:
            declared["hub"] = reference.path
            if reference.revision:
                declared["revision"] = reference.revision
        return {**declared, "dtype": "auto"}

    def _new_name(self, path: str) -> str:
        last = path.rstrip("/").rpartition("/")[2]
        if last in ("", ".", ".."):
            last = (self._folder / path).resolve().name
        stem = re.sub(r"[^A-Za-z0-9_-]+", "-", last).strip("-") or "model"
        if not re.match(r"[A-Za-z_]", stem):
            stem = f"model-{stem}"
        taken = {*self._names.values(), *_TAKEN}
        return next(name for name in (stem, *(f"{stem}-{i}" for i in range(2, 1000))) if name not in taken)

    # -------------------------------------------------------------------------------------------------- references

    def _reference(self, node: Node, where: str) -> Reference | None:
        if isinstance(node.value, str) and node.value:
            model, plus, adapter = node.value.partition("+")
            if plus:
                self._no_adapter(node, where, adapter)
            return self._path(node, where, model)
        if "model" not in node.mapping and "path" not in node.mapping:
            self._problems.add(node.place, where, f"{node.in_words()} is not a model", "name a folder or a hub's id")
            return None
        lora = node.mapping.get("lora")
        if lora is not None and lora.value is not None:
            self._no_adapter(lora, f"{where}.lora", "")
        other = node.mapping.get("override_architecture")
        if other is not None and other.value is not None:
            self._problems.add(other.place, f"{where}.override_architecture", "a model is what its config says")
        if "model" in node.mapping:
            return self._reference(node.mapping["model"], f"{where}.model")
        path, revision = node.mapping["path"].value, node.mapping.get("revision")
        return Reference(str(path), str(revision.value) if revision is not None and revision.value else None)

    def _path(self, node: Node, where: str, text: str) -> Reference | None:
        if text.count("@") > 1:
            self._problems.add(node.place, where, f"{text!r} has more than one `@`", "one is before the revision")
            return None
        path, _, revision = text.partition("@")
        return Reference(path, revision or None)

    def _no_adapter(self, node: Node, where: str, adapter: str) -> None:
        what = f"the adapter {adapter} cannot be applied" if adapter else "an adapter cannot be applied"
        self._problems.add(node.place, where, what, "merge it into its model first, and name the folder of that")
