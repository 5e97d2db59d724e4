"""The values of a file, each with the place where it stands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from compat_spec.spec.problems import Place

Scalar: TypeAlias = str | int | float | bool | None


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """A value of the file: a scalar, a list of nodes, or a mapping of nodes."""

    value: Scalar | list[Node] | dict[str, Node]
    place: Place
    key_places: dict[str, Place] = field(default_factory=dict)
    """Where each key of a mapping stands."""

    @property
    def mapping(self) -> dict[str, Node]:
        """The entries of a mapping; empty for anything else."""
        return self.value if isinstance(self.value, dict) else {}

    @property
    def items(self) -> list[Node]:
        """The entries of a list; empty for anything else."""
        return self.value if isinstance(self.value, list) else []

    def place_of(self, key: str) -> Place:
        """Where a key stands, or the mapping itself when it lacks the key."""
        return self.key_places.get(key, self.place)

    def places(self) -> Iterator[Place]:
        """Where it and everything in it stands."""
        yield self.place
        for inner in (*self.mapping.values(), *self.items):
            yield from inner.places()

    def without(self, *keys: str) -> Node:
        return Node({key: node for key, node in self.mapping.items() if key not in keys}, self.place, self.key_places)

    def plain(self) -> Any:
        """The value without positions."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def in_words(self) -> str:
        """What the value is, for messages."""
        match self.value:
            case dict():
                return "a mapping"
            case list():
                return "a list" if self.value else "an empty list"
            case None:
                return "an empty value"
            case True | False:
                return str(self.value).lower()
            case str() as text:
                return repr(text if len(text) <= 60 else f"{text[:57]}…")
            case number:
                return str(number)
