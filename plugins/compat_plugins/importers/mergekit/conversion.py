"""The importer of mergekit's configurations: `compat import mergekit merge.yml`."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from compat_plugins.importers.mergekit.inputs import Input, given, listed_models, sliced_models
from compat_plugins.importers.mergekit.merge import Declared
from compat_plugins.importers.mergekit.methods import METHODS, WITHOUT_EFFECT
from compat_plugins.importers.mergekit.models import MERGE, Models
from compat_spec import registry
from compat_spec.importers import Imported

if TYPE_CHECKING:
    from compat_spec.spec.nodes import Node
    from compat_spec.spec.problems import Problems

_DTYPES = ("float64", "float32", "bfloat16", "float16")

_KEYS = (
    *("merge_method", "base_model", "models", "slices", "modules", "parameters"),
    *("dtype", "out_dtype", "tokenizer_source", "tokenizer", "chat_template"),
)


def convert(document: Node, problems: Problems, folder: Path) -> Imported:
    """The importer of mergekit's configurations; see `Importer`."""
    conversion = _Conversion(document, problems, folder)
    method = conversion.method()
    conversion.inputs(method)
    conversion.dtype()
    conversion.vocabulary()
    if not len(problems):
        conversion.check(method)
    merge = {"use": method, **conversion.declared.params}
    return Imported({"models": conversion.models.declarations(), "merges": {MERGE: merge}}, conversion.notes())


class _Conversion:
    """The conversion of one file, step by step."""

    def __init__(self, document: Node, problems: Problems, folder: Path) -> None:
        self.models = Models(folder, problems)
        self.declared = Declared(document, self.models, problems)
        self._document = document
        self._problems = problems
        self._notes: list[str] = []
        self._base = self.models.name_of(given(document, "base_model"), "base_model")

    def method(self) -> str:
        """The name of the method; empty when there is none, which has been reported then."""
        node = given(self._document, "merge_method")
        if node is None:
            self._problems.add(self._document.place, "merge_method", "no merge method is named")
            return ""
        name = str(node.value)
        if name in METHODS:
            return name
        close = get_close_matches(name, METHODS, n=1)
        advice = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(METHODS)}"
        self._problems.add(node.place, "merge_method", f"mergekit 0.1.5 has no method {node.in_words()}", advice)
        return ""

    def inputs(self, method: str) -> None:
        """The models, and the parameters."""
        modules = given(self._document, "modules")
        if modules is not None:
            what = "modules cannot be merged one by one"
            self._problems.add(self._document.place_of("modules"), "modules", what, "name whole `models`")
        elif (given(self._document, "models") is None) == (given(self._document, "slices") is None):
            self._problems.add(self._document.place, "", "there must be either `models` or `slices`")
        listed = listed_models(self._document, self.models, self._problems)
        slices = sliced_models(self._document, self.models, self._problems)
        if method == "passthrough" and slices:
            self.declared.stack(slices, self._base)
        elif method == "passthrough":
            self.declared.keep(listed, self._base)
        elif method and (listed or slices):
            self.declared.combine(listed or self._whole(slices), self._base, method)
        self._note_unused(method, [*listed, *(one for inputs in slices for one in inputs)])

    def dtype(self) -> None:
        """What the result is stored in. In what it is computed is the engine's affair."""
        key = "out_dtype" if given(self._document, "out_dtype") else "dtype"
        node = given(self._document, key)
        if node is None:
            return
        name = str(node.value).removeprefix("torch.")
        if name not in _DTYPES:
            what = f"a result cannot be stored in {node.in_words()}"
            self._problems.add(node.place, key, what, f"there are {', '.join(_DTYPES)}")
        self.declared.add("dtype", name, node.place, key)

    def vocabulary(self) -> None:
        """`tokenizer_source`, or `tokenizer: {source: …}`, whose default is union."""
        tokenizer = given(self._document, "tokenizer")
        for key in ("tokens", "pad_to_multiple_of"):
            inner = given(tokenizer, key) if tokenizer else None
            if inner is not None:
                self._problems.add(inner.place, f"tokenizer.{key}", f"{key} of a tokenizer cannot be said")
        if tokenizer is not None:
            node, where = given(tokenizer, "source"), "tokenizer.source"
        else:
            node, where = given(self._document, "tokenizer_source"), "tokenizer_source"
        if node is None and tokenizer is None:
            return
        wanted = node.value if node is not None else "union"
        if wanted not in ("union", "base"):
            first = next(iter(self.declared.params.get("models", ())), None)
            if self.models.name_of(node, where) == (self._base or first):
                wanted = "base"
            elif node is not None:
                what = "the tokenizer of one model can only be that of the base model"
                self._problems.add(node.place, where, what, "write base or union")
        place = (node or tokenizer or self._document).place
        self.declared.add("vocabulary", wanted, place, where)

    def check(self, method: str) -> None:
        """Ask our own component whether it takes all this."""
        node = self._document.mapping["merge_method"]
        try:
            registry.component("compat.merges", method).model_validate(self.declared.params)
        except registry.PluginError as error:
            self._problems.add(node.place, "merge_method", str(error))
        except ValidationError as error:
            for one in error.errors(include_url=False):
                key = str(one["loc"][0]) if one["loc"] else ""
                place, where = self.declared.origins.get(key, (node.place, "merge_method"))
                message = str(one.get("ctx", {}).get("error", one["msg"]))
                self._problems.add(place, where, f"{method} does not take this: {message}")

    def notes(self) -> list[str]:
        ignored = [key for key in self._document.mapping if key not in _KEYS]
        if ignored:
            self._notes.append(f"Left out, as mergekit ignores it: {', '.join(ignored)}.")
        if given(self._document, "chat_template"):
            self._notes.append("Left out: chat_template. The result has that of its tokenizer.")
        return self._notes

    def _whole(self, slices: Sequence[Sequence[Input]]) -> list[Input]:
        """The models of slices that are a merge of whole models."""
        if len(slices) != 1:
            place = self._document.place_of("slices")
            what = f"{len(slices)} slices cannot be merged one by one"
            self._problems.add(place, "slices", what, "only passthrough takes slices apart: name whole `models`")
            return []
        (inputs,) = slices
        for one in inputs:
            depth = self.models.depth(one.name)
            if one.layers[0] != 0 or one.layers != inputs[0].layers or depth not in (None, one.layers[1]):
                has = f"{one.name}, which has {depth}" if depth is not None else one.name
                what = f"layers {list(one.layers)} are taken of {has}"
                advice = "only passthrough takes slices apart: the layers must be all, of all models"
                self._problems.add(one.place, f"{one.where}.layer_range", what, advice)
            elif depth is None:
                note = f"Taken for granted: layers {list(one.layers)} are all that the models have."
                self._notes += [note] if note not in self._notes else []
        base = given(self._document.mapping["slices"].items[0], "base_model")
        self._base = self.models.name_of(base, "slices.0.base_model") or self._base
        return list(inputs)

    def _note_unused(self, method: str, inputs: Sequence[Input]) -> None:
        if not method:
            return
        taken = {parameter.name for parameter in METHODS[method].parameters} | WITHOUT_EFFECT
        keys = dict.fromkeys(key for one in inputs for source in one.sources for key in source.parameters.mapping)
        unused = [key for key in keys if key not in taken]
        if unused:
            self._notes.append(f"Left out, as {method} does not take it: {', '.join(unused)}.")
