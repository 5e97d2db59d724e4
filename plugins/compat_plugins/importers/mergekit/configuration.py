"""One configuration of mergekit as merges of a spec."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from compat_plugins.importers.mergekit.checking import check
from compat_plugins.importers.mergekit.inputs import Input, Inputs, Slice, given
from compat_plugins.importers.mergekit.merge import Declared, check_depth
from compat_plugins.importers.mergekit.methods import METHODS, WITHOUT_EFFECT
from compat_plugins.importers.mergekit.models import Models
from compat_plugins.importers.mergekit.result import Result

if TYPE_CHECKING:
    from compat_spec.spec.nodes import Node
    from compat_spec.spec.problems import Problems

_KEYS = (
    *("merge_method", "base_model", "models", "slices", "modules", "parameters"),
    *("dtype", "out_dtype", "tokenizer_source", "tokenizer", "chat_template"),
)

_OTHER_TOOLS = {
    "experts": "a configuration of mergekit-moe, which makes a mixture of experts; the merge `routing` is one here",
    "genome": "a configuration of mergekit-evolve, which searches for a merge; sweeps try out many here",
}
"""What a file with such a key is."""


class Configuration:
    """One document of the file.

    Attributes:
        name: what its merge is called.
        merges: its merge, after the merges that this one is made of.
        notes: what the reader of the spec should know.
    """

    def __init__(self, document: Node, name: str, models: Models, problems: Problems) -> None:
        self.document = document
        self.name = name
        self.notes: list[str] = []
        self._models = models
        self._problems = problems
        self._cuts: dict[tuple[str, tuple[int, int]], str] = {}
        self._declared: dict[str, Declared] = {}
        self._base: str | None = None

    @property
    def merges(self) -> dict[str, dict[str, Any]]:
        return {name: declared.plain() for name, declared in self._declared.items()}

    def uses(self) -> set[str]:
        """The models and merges that its merges name."""
        every = [name for declared in self._declared.values() for name in declared.params.get("models", ())]
        return {*every, *(declared.params["base"] for declared in self._declared.values() if "base" in declared.params)}

    def convert(self) -> None:
        """Fill `merges` and `notes`; what cannot be said is reported."""
        for key, what in _OTHER_TOOLS.items():
            if given(self.document, key):
                self._problems.add(self.document.place_of(key), key, f"this is {what}")
                return
        before = len(self._problems)
        self._base = self._models.name_of(given(self.document, "base_model"), "base_model")
        method = self._method()
        inputs = Inputs(self.document, self._models, self._problems)
        merging = self._merges_of(method, inputs)
        result = Result(self.document, self._models, self._problems, self._base)
        for declared in merging or [Declared("", self.document, self._problems)]:  # report what is wrong all the same
            result.declare(declared)
        if len(self._problems) == before:
            for declared in self._declared.values():
                check(declared, self.document, self._problems)
        named = ["name"] if self._models.merges else []
        ignored = [key for key in self.document.mapping if key not in (*_KEYS, *named)]
        if ignored or inputs.ignored:
            self.notes.append(f"Left out, as mergekit ignores it: {', '.join([*ignored, *inputs.ignored])}.")
        if given(self.document, "chat_template"):
            self.notes.append("Left out: chat_template. The result has that of its tokenizer.")

    def _method(self) -> str:
        """The name of the method; empty when there is none, which has been reported then."""
        node = given(self.document, "merge_method")
        if node is None:
            self._problems.add(self.document.place, "merge_method", "no merge method is named")
            return ""
        name = str(node.value)
        if name in METHODS:
            return name
        if name == "moe":
            self._problems.add(node.place, "merge_method", f"this is {_OTHER_TOOLS['experts']}")
            return ""
        close = get_close_matches(name, METHODS, n=1)
        advice = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(METHODS)}"
        self._problems.add(node.place, "merge_method", f"mergekit 0.1.5 has no method {node.in_words()}", advice)
        return ""

    # ------------------------------------------------------------------------------------------------- the merges

    def _merges_of(self, method: str, inputs: Inputs) -> list[Declared]:
        """Declare the merge; those that take parameters, which are several where slices are merged one by one."""
        node = inputs.node
        if (given(node, "models") is None) == (given(node, "slices") is None) and not inputs.refused:
            self._problems.add(node.place, inputs.where, "there must be either `models` or `slices`")
        listed, slices = inputs.listed(), inputs.slices()
        self._note_unused(method, [*listed, *(one for part in slices for one in part.inputs)])
        if not method or not (listed or slices):
            return []
        if method == "passthrough":
            declared = self._new(self.name, method, renumbered=True)
            if slices:
                declared.stack(slices, self._base, self._models)
            else:
                declared.keep(listed, self._base)
            return [declared]
        if slices and not self._are_whole(slices):
            return self._one_by_one(method, slices)
        if slices:
            self._base = slices[0].base or self._base
            listed = list(slices[0].inputs)
        sources = listed[0].sources[1:] if listed else inputs.shared
        return [self._combined(self.name, method, listed, self._base, sources)]

    def _new(self, name: str, use: str, *, renumbered: bool = False) -> Declared:
        self._declared[name] = Declared(use, self.document, self._problems, renumbered=renumbered)
        return self._declared[name]

    def _combined(
        self,
        name: str,
        method: str,
        listed: Sequence[Input],
        base: str | None,
        sources: Sequence[Any],
        *,
        renumbered: bool = False,
    ) -> Declared:
        """A merge of the same layers of all its models."""
        if METHODS[method].alone and base is not None and all(one.name == base for one in listed):
            self.notes.append(f"{method} of nothing but the base is the base.")
            declared = self._new(name, "passthrough")
            declared.add("models", [base], self.document.place_of("base_model"), "base_model")
            return declared
        declared = self._new(name, method, renumbered=renumbered)
        declared.combine(listed, base, sources)
        return declared

    def _are_whole(self, slices: Sequence[Slice]) -> bool:
        """Whether slices are a merge of whole models, as far as is known."""
        inputs = slices[0].inputs
        if len(slices) > 1 or not inputs or inputs[0].layers[0] != 0:
            return False
        if any(one.layers != inputs[0].layers for one in inputs):
            return False
        depths = {self._models.depth(one.name) for one in inputs}
        if depths - {None, inputs[0].layers[1]}:
            return False
        if None in depths:
            self.notes.append(f"Taken for granted: layers {list(inputs[0].layers)} are all that the models have.")
        return True

    def _one_by_one(self, method: str, slices: Sequence[Slice]) -> list[Declared]:
        """The stack of the slices: of merges of models that are cut to a slice's layers, or of layers as they are."""
        made: list[Declared] = []
        stack: list[tuple[str, tuple[int, int]]] = []
        for number, one in enumerate(slices, 1):
            counts = {source.count for source in one.inputs}
            if len(counts) > 1:
                what = f"the sources of a slice have different numbers of layers: {', '.join(map(str, sorted(counts)))}"
                self._problems.add(one.place, one.where, what)
            if not one.inputs:
                continue
            if self._keeps(one, method):
                check_depth(one.inputs[0], self._models, self._problems)
                stack.append((one.inputs[0].name, one.inputs[0].layers))
                continue
            base = self._base_of(one, method)
            name = self.name if len(slices) == 1 else self._models.free_name(f"{self.name}-{number}")
            cut = [replace(source, name=self._cut(source)) for source in one.inputs]
            made.append(self._combined(name, method, cut, base, cut[0].sources[1:], renumbered=True))
            stack.append((name, (0, one.inputs[0].count)))
        if self.name in self._declared or not stack:
            return made
        place = self.document.place_of("slices")
        whole = self._new(self.name, "passthrough")
        whole.add("models", list(dict.fromkeys(name for name, _ in stack)), place, "slices")
        whole.add("slices", [{"model": name, "layers": list(layers)} for name, layers in stack], place, "slices")
        if made:
            self.notes.append(
                f"{self.name} stacks merges of slices, which are of models that are cut to a slice's layers."
            )
        return [*made, whole]

    def _keeps(self, one: Slice, method: str) -> bool:
        """Whether a slice is layers of a model as they are."""
        source = one.inputs[0]
        if len(one.inputs) > 1:
            return False
        if METHODS[method].alone:
            return source.name == (one.base or self._base)
        given_by = [part.parameters.mapping for part in source.sources]
        weight = next((mapping["weight"].value for mapping in given_by if "weight" in mapping), None)
        normalized = not any("normalize" in mapping for mapping in given_by)
        return method == "linear" and normalized and isinstance(weight, int | float) and weight > 0

    def _base_of(self, one: Slice, method: str) -> str | None:
        """What the base model is called in the merge of a slice."""
        wanted = one.base or self._base
        found = next((source for source in one.inputs if source.name == wanted), None)
        if found is None and wanted is not None and METHODS[method].base != "among":
            what = f"the base model {wanted} is not among the sources, so its layers are not known"
            self._problems.add(one.place, one.where, what, "add it, with a `layer_range`")
        return self._cut(found) if found else None

    def _cut(self, one: Input) -> str:
        """The merge that is some layers of a model, or the model where these are all."""
        if one.layers == (0, self._models.depth(one.name)):
            return one.name
        key = one.name, one.layers
        if key not in self._cuts:
            check_depth(one, self._models, self._problems)
            start, stop = one.layers
            self._cuts[key] = self._models.free_name(f"{one.name}-{start}-{stop}")
            cut = self._new(self._cuts[key], "passthrough")
            cut.add("models", [one.name], one.place, one.where)
            cut.add("slices", [{"model": one.name, "layers": [start, stop]}], one.place, one.where)
        return self._cuts[key]

    def _note_unused(self, method: str, inputs: Sequence[Input]) -> None:
        """Say which parameters are left out, and why."""
        if not method:
            return
        known = {parameter.name: parameter for parameter in METHODS[method].parameters}
        sources = dict.fromkeys(source for one in inputs for source in one.sources)
        keys = dict.fromkeys(key for source in sources for key in source.parameters.mapping)
        unused = [key for key in keys if key not in known and key not in WITHOUT_EFFECT]
        if unused:
            self.notes.append(f"Left out, as {method} does not take it: {', '.join(unused)}.")
        of_models = [(one, key) for one in inputs for key in one.sources[0].parameters.mapping if key in known]
        if method != "passthrough":
            lost = [f"{one.sources[0].where}.{key}" for one, key in of_models if not known[key].per_model]
            if lost:
                self.notes.append(f"Left out, as mergekit takes it for all models only: {', '.join(lost)}.")
        if METHODS[method].base in ("apart", "optional"):
            lost = [f"{one.sources[0].where}.{key}" for one, key in of_models if one.name == self._base]
            if lost:
                self.notes.append(f"Left out, as this is the base model: {', '.join(lost)}.")
