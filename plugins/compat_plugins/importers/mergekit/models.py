"""The models that a configuration of mergekit refers to, as models of a spec."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compat_spec.spec.nodes import Node
    from compat_spec.spec.problems import Problems


@dataclass(frozen=True)
class Reference:
    """A model as mergekit knows it: a folder, or the id of a hub with a revision; and the folder of an adapter."""

    path: str
    revision: str | None = None
    adapter: str | None = None


class Models:
    """Gives names to the models that are referred to; one that is referred to again keeps its name.

    Args:
        folder: where paths start.
        merges: what the file calls its merges: it may refer to them like to models.
        unnamed: what the spec calls a merge without a name.
    """

    def __init__(self, folder: Path, problems: Problems, merges: Iterable[str], unnamed: str) -> None:
        self._folder = folder
        self._problems = problems
        self._names: dict[Reference, str] = {}
        self._taken = {"all", unnamed}
        self.merges: Mapping[str, str] = {written: self.free_name(written) for written in dict.fromkeys(merges)}
        """The names of merges in the spec, by what the file calls them."""

    def name_of(self, node: Node | None, where: str) -> str | None:
        """What a model is called in the spec; None when it is none, which has been reported then."""
        reference = self._reference(node, where) if node is not None else None
        if reference is None or node is None:
            return None
        if reference.path in self.merges:
            if reference.adapter:
                what = f"{reference.path} is a merge of this file, and an adapter cannot be folded into it"
                self._problems.add(node.place, where, what)
            return self.merges[reference.path]
        if reference not in self._names:
            self._check_place(reference, node, where)
            self._names[reference] = self._new_name(reference)
        return self._names[reference]

    def free_name(self, stem: str) -> str:
        """A name that nothing else has, like the stem."""
        plain = re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-") or "model"
        if not re.match(r"[A-Za-z_]", plain):
            plain = f"model-{plain}"
        found = next(name for name in (plain, *(f"{plain}-{i}" for i in range(2, 10_000))) if name not in self._taken)
        self._taken.add(found)
        return found

    def depth(self, name: str) -> int | None:
        """How many blocks a model has, when it lies here."""
        reference = next((one for one, called in self._names.items() if called == name), None)
        if reference is None:
            return None
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
        if (self._folder / reference.path).is_file():
            declared = {"use": "tensors", "path": self._from_here(reference.path)}
            return declared | ({"adapter": self._from_here(reference.adapter)} if reference.adapter else {})
        declared = {"use": "causal_lm"}
        if (self._folder / reference.path).is_dir():
            declared["path"] = self._from_here(reference.path)
        else:
            declared["hub"] = reference.path
            if reference.revision:
                declared["revision"] = reference.revision
        if reference.adapter:
            declared["adapter"] = self._from_here(reference.adapter)
        return {**declared, "dtype": "auto"}

    def _from_here(self, path: str) -> str:
        """The path of a folder from the working folder, where the spec is: as it is written, if that holds there."""
        whole = os.path.realpath(self._folder / path)
        return path if os.path.realpath(path) == whole else whole

    def _new_name(self, reference: Reference) -> str:
        last = self._last_part(reference.path)
        if (self._folder / reference.path).is_file():
            last = last.removesuffix(".safetensors")
        return self.free_name(f"{last}-{self._last_part(reference.adapter)}" if reference.adapter else last)

    def _last_part(self, path: str) -> str:
        last = path.rstrip("/").rpartition("/")[2]
        return last if last not in ("", ".", "..") else (self._folder / path).resolve().name

    def _check_place(self, reference: Reference, node: Node, where: str) -> None:
        """Report what can be neither a folder beside the file nor the id of a hub."""
        path, place = reference.path, self._folder / reference.path
        if place.is_file() and place.suffix != ".safetensors":
            self._problems.add(node.place, where, f"{path} is not safetensors; pickles are never opened", "convert it")
        elif not place.exists() and not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", path.removesuffix("/")):
            what = f"there is no folder {path}, and it cannot be the id of a model on a hub"
            self._problems.add(node.place, where, what, f"paths start at {self._folder}")
        elif not place.exists() and path.startswith("."):
            self._problems.add(node.place, where, f"there is no folder {path}", f"paths start at {self._folder}")

    # -------------------------------------------------------------------------------------------------- references

    def _reference(self, node: Node, where: str) -> Reference | None:
        if isinstance(node.value, str) and node.value:
            model, plus, lora_path = node.value.partition("+")
            found = self._path(node, where, model)
            return self._with_adapter(found, node, where, lora_path) if plus else found
        if "model" not in node.mapping and "path" not in node.mapping:
            self._problems.add(node.place, where, f"{node.in_words()} is not a model", "name a folder or a hub's id")
            return None
        other = node.mapping.get("override_architecture")
        if other is not None and other.value is not None:
            self._problems.add(other.place, f"{where}.override_architecture", "a model is what its config says")
        if "model" not in node.mapping:
            plain, revision = node.mapping["path"].value, node.mapping.get("revision")
            return Reference(str(plain), str(revision.value) if revision is not None and revision.value else None)
        reference = self._reference(node.mapping["model"], f"{where}.model")
        lora = node.mapping.get("lora")
        if lora is None or lora.value is None:
            return reference
        adapter = str(lora.mapping["path"].value if "path" in lora.mapping else lora.value)
        return self._with_adapter(reference, lora, f"{where}.lora", adapter)

    def _path(self, node: Node, where: str, text: str) -> Reference | None:
        if text.count("@") > 1:
            self._problems.add(node.place, where, f"{text!r} has more than one `@`", "one is before the revision")
            return None
        path, _, revision = text.partition("@")
        return Reference(path, revision or None)

    def _with_adapter(self, reference: Reference | None, node: Node, where: str, adapter: str) -> Reference | None:
        if not (self._folder / adapter).is_dir():
            what = f"the adapter {adapter} is no folder beside this file"
            self._problems.add(node.place, where, what, "fetch it, and name its folder")
        return replace(reference, adapter=adapter) if reference is not None else None
