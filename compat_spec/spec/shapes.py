"""Whether models can be combined: what their sources say of their shapes, compared before anything is loaded."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compat_spec.components import ModelSource
from compat_spec.spec.axes import Indices, agree
from compat_spec.spec.spec import Declaration, ModelRef, ModelVariant

TOKENS = frozenset({"tokenizer", "vocab_size"})
"""What two models must share to be compared on the same tokens."""


@dataclass(frozen=True)
class Origin:
    """A source that a model descends from, with the points of sweeps at which it does."""

    source: str
    at: Indices
    facts: Mapping[str, Any]


class Shapes:
    """What is known of the architecture of every model: that of the source it descends from."""

    def __init__(self, models: Mapping[str, Declaration[ModelVariant]]) -> None:
        self._models = models
        self._facts: dict[int, Mapping[str, Any]] = {}
        self._origins: dict[str, list[Origin]] = {}

    def difference(self, refs: Sequence[ModelRef], keys: frozenset[str] | None, at: Indices) -> str:
        """How the first two models that cannot go together differ, in words; empty when all can.

        Args:
            keys: the facts that must agree; None is all that both sources know.
            at: the point of the sweeps of what uses the models.
        """
        first, *rest = refs
        for other in rest:
            for a in self.origins(first.name):
                for b in self.origins(other.name):
                    if a.source == b.source or not agree(a.at, b.at, at):
                        continue  # descendants of one source stand on the same point of its sweeps
                    differing = _differing(a.facts, b.facts, keys)
                    if differing:
                        return f"{first} and {other}: {differing}"
        return ""

    def origins(self, name: str) -> list[Origin]:
        """Every source of a model; several where `from` or the source's shapes are swept."""
        if name not in self._origins:
            self._origins[name] = []  # what descends from itself has no origin
            declaration = self._models.get(name)
            if declaration is not None:
                self._origins[name] = _distinct(self._find(declaration))
        return self._origins[name]

    def _find(self, declaration: Declaration[ModelVariant]) -> Iterable[Origin]:
        parents = {variant.parent.name if variant.parent else None for variant in declaration.variants.values()}
        facts = [self.facts(variant.source) for variant in declaration.variants.values() if variant.source]
        same = len(parents) == 1 and all(other == facts[0] for other in facts)
        for point, variant in declaration.variants.items():
            own: Indices = {} if same else dict(zip((axis.name for axis in declaration.axes), point, strict=True))
            if variant.source is not None:
                yield Origin(declaration.name, own, self.facts(variant.source))
            elif variant.parent is not None:
                for origin in self.origins(variant.parent.name):
                    if agree(own, origin.at):
                        yield Origin(origin.source, {**origin.at, **own}, origin.facts)
            if same:
                break

    def facts(self, source: ModelSource) -> Mapping[str, Any]:
        """Raises: whatever the plugin's `architecture` raises."""
        if id(source) not in self._facts:
            self._facts[id(source)] = dict(source.architecture() or {})
        return self._facts[id(source)]


def _distinct(origins: Iterable[Origin]) -> list[Origin]:
    found = {}
    for origin in origins:
        found[json.dumps([origin.source, origin.at, origin.facts], sort_keys=True, default=str)] = origin
    return list(found.values())


def _differing(a: Mapping[str, Any], b: Mapping[str, Any], keys: frozenset[str] | None) -> str:
    compared = sorted((a.keys() & b.keys()) if keys is None else (a.keys() & b.keys() & keys))
    return ", ".join(f"{key} is {_short(a[key])} and {_short(b[key])}" for key in compared if a[key] != b[key])


def _short(fact: Any) -> str:
    text = str(fact)
    return text if len(text) <= 60 else f"{text[:57]}…"
