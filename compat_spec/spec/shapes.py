"""Whether models can be combined: what their sources say of their shapes, compared before anything is loaded."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compat_spec.spec.axes import Indices, agree
from compat_spec.spec.spec import ModelRef

TOKENS = frozenset({"tokenizer", "vocab_size", "vocabulary"})
"""What two models must share to be compared on the same tokens."""

DEPTH = frozenset({"num_hidden_layers"})
"""What a stack of blocks changes."""

_OF_TEXTS = frozenset({"max_position_embeddings"})
"""How long a text may be: no shape that models must share."""


@dataclass(frozen=True)
class Origin:
    """A source that a model descends from, with the point of the sweeps at which it does."""

    source: str
    at: Indices
    facts: Mapping[str, Any]


class Shapes:
    """What is known of the architecture of every model and merge: that of the source that it descends from."""

    def __init__(self) -> None:
        self.ingredients: dict[str, set[str]] = {}
        """What each model descends from, and each merge is made of."""
        self._parents: dict[str, set[str]] = {}
        """What the architecture of each comes from; several where that is swept."""
        self._unknown: dict[str, frozenset[str]] = {}
        self._sources: dict[str, list[Origin]] = {}
        self._points: dict[str, list[tuple[Indices, str]]] = {}
        self._origins: dict[str, list[Origin]] = {}

    def add_source(self, name: str, at: Indices, facts: Mapping[str, Any] | None) -> None:
        self._sources.setdefault(name, []).append(Origin(name, at, facts or {}))

    def add_descendant(self, name: str, at: Indices, parent: str) -> None:
        self.ingredients.setdefault(name, set()).add(parent)
        self._parents.setdefault(name, set()).add(parent)
        self._points.setdefault(name, []).append((at, parent))

    def add_merge(
        self, name: str, at: Indices, first: str, others: Iterable[str], unknown: frozenset[str] = frozenset()
    ) -> None:
        """A merge, which has the architecture of one of its models.

        Args:
            first: that one.
            unknown: the facts that may not hold for the merge.
        """
        self.add_descendant(name, at, first)
        self.ingredients[name].update(others)
        self._unknown[name] = self._unknown.get(name, frozenset()) | unknown

    def difference(
        self,
        refs: Sequence[ModelRef],
        keys: frozenset[str] | None,
        at: Indices,
        freed: frozenset[str] = frozenset(),
    ) -> str:
        """How the first two models that cannot go together differ, in words; empty when all can.

        Args:
            keys: the facts that must agree; None is all that both sources know.
            at: the point of the sweeps of what uses the models.
            freed: the facts that need not agree after all.
        """
        for other in refs[1:]:
            first = refs[0]
            for a in self._of(first.name):
                for b in self._of(other.name):
                    if a.source == b.source or not agree(a.at, b.at, at):
                        continue  # descendants of one source stand on the same point of its sweeps
                    differing = _differing(a.facts, b.facts, keys, freed)
                    if differing:
                        return f"{first.name} and {other.name}: {differing}"
        return ""

    def architectures(self, name: str, at: Indices) -> Iterator[Mapping[str, Any]]:
        """What is known of a model at a point of the sweeps of what uses it."""
        for origin in self._of(name):
            if agree(origin.at, at):
                yield origin.facts

    def _of(self, name: str) -> list[Origin]:
        """Every source of a model; several where `from` or the shapes of the source are swept."""
        if name not in self._origins:
            self._origins[name] = []  # what descends from itself has no origin
            self._origins[name] = _distinct([*self._own(name), *self._inherited(name)])
        return self._origins[name]

    def _own(self, name: str) -> list[Origin]:
        origins = self._sources.get(name, [])
        if all(origin.facts == origins[0].facts for origin in origins):  # its sweeps do not change the shapes
            return [Origin(name, {}, origin.facts) for origin in origins[:1]]
        return origins

    def _inherited(self, name: str) -> Iterator[Origin]:
        points = self._points.get(name, [])
        if len(self._parents.get(name, ())) == 1:  # nor do the sweeps of training
            points = [({}, points[0][1])]
        for at, parent in points:
            for origin in self._of(parent):
                if agree(at, origin.at):
                    facts = {key: fact for key, fact in origin.facts.items() if key not in self._unknown.get(name, ())}
                    yield Origin(origin.source, {**origin.at, **at}, facts)


def _distinct(origins: Iterable[Origin]) -> list[Origin]:
    found = {}
    for origin in origins:
        found[json.dumps([origin.source, origin.at, origin.facts], sort_keys=True, default=str)] = origin
    return list(found.values())


def _differing(a: Mapping[str, Any], b: Mapping[str, Any], keys: frozenset[str] | None, freed: frozenset[str]) -> str:
    compared = (a.keys() & b.keys() - _OF_TEXTS) if keys is None else (a.keys() & b.keys() & keys)
    differing = sorted(key for key in compared if key not in freed and a[key] != b[key])
    short = [key for key in differing if _is_short(a[key]) and _is_short(b[key])]
    words = [f"{key} is {a[key]} and {b[key]}" for key in short]
    words += [f"{key} is not the same" for key in differing if key not in short]
    return ", ".join(words)


def _is_short(fact: Any) -> bool:
    return isinstance(fact, str | int | float) and len(str(fact)) <= 40
