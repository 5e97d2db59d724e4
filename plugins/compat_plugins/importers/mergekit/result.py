"""What the result of a merge of mergekit is: the type that it is stored in, and its tokenizer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from compat_plugins.importers.mergekit.inputs import given
from compat_plugins.importers.mergekit.merge import Declared
from compat_plugins.importers.mergekit.models import Models

if TYPE_CHECKING:
    from compat_spec.spec.nodes import Node
    from compat_spec.spec.problems import Problems

_DTYPES = ("float64", "float32", "bfloat16", "float16")

_NOT_CONVERTED = {
    "tokens": "rows of single tokens cannot be chosen: each token has that of the models that know it; leave it out",
    "pad_to_multiple_of": "the result has as many rows as the tokenizer needs or its model has; leave it out",
}
"""Why a key of `tokenizer` cannot be converted."""


@dataclass(frozen=True)
class Result:
    """What a configuration says of its result, for each of the merges that make it.

    Attributes:
        base: the base model.
    """

    document: Node
    models: Models
    problems: Problems
    base: str | None

    def declare(self, declared: Declared) -> None:
        self._dtype(declared)
        self._vocabulary(declared)

    def _dtype(self, declared: Declared) -> None:
        """What the result is stored in. In what it is computed is the engine's affair."""
        key = "out_dtype" if given(self.document, "out_dtype") else "dtype"
        node = given(self.document, key)
        if node is None:
            return
        name = str(node.value).removeprefix("torch.")
        if name not in _DTYPES:
            what = f"a result cannot be stored in {node.in_words()}"
            self.problems.add(node.place, key, what, f"there are {', '.join(_DTYPES)}")
        declared.add("dtype", name, node.place, key)

    def _vocabulary(self, declared: Declared) -> None:
        """`tokenizer_source`, or `tokenizer: {source: …}`, whose default is union."""
        tokenizer = self.document.mapping.get("tokenizer")
        if tokenizer is not None and not isinstance(tokenizer.value, dict):
            if tokenizer.value is not None:
                advice = "expected {source: union}, base, or a model"
                self.problems.add(tokenizer.place, "tokenizer", f"{tokenizer.in_words()} does not fit", advice)
            tokenizer = None
        for key, why in _NOT_CONVERTED.items():
            inner = given(tokenizer, key) if tokenizer else None
            if inner is not None:
                self.problems.add(inner.place, f"tokenizer.{key}", why)
        if tokenizer is not None:
            node, where = given(tokenizer, "source"), "tokenizer.source"
        else:
            node, where = given(self.document, "tokenizer_source"), "tokenizer_source"
        if node is None and tokenizer is None:
            return
        place = (node or tokenizer or self.document).place
        if node is None or node.value in ("union", "base"):
            declared.add("vocabulary", "union" if node is None else node.value, place, where)
            return
        name = self.models.name_of(replace(node, value=_without_prefix(node.value)), where)
        owner = self.base or next(iter(declared.params.get("models", ())), None)
        if name is not None and name == owner:
            declared.add("vocabulary", "base", place, where)
        elif name is not None:
            declared.add("tokenizer", name, place, where)


def _without_prefix(value: Any) -> Any:
    """A tokenizer's source without the `model:` that older versions of mergekit ask for."""
    return value.removeprefix("model:") if isinstance(value, str) else value
