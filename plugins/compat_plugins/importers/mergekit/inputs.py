"""What goes into a merge of mergekit: the models of `models`, or those of each of its `slices`, with their settings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from compat_plugins.importers.mergekit.models import Models
from compat_plugins.importers.mergekit.parameters import Source

if TYPE_CHECKING:
    from compat_spec.spec.nodes import Node
    from compat_spec.spec.problems import Place, Problems


@dataclass(frozen=True)
class Input:
    """A model, or some blocks of one, that goes into the merge.

    Attributes:
        sources: of its parameters, from the first that is asked to the last.
        where, place: where it stands in the file.
    """

    name: str
    sources: tuple[Source, ...]
    where: str
    place: Place
    layers: tuple[int, int] = (0, 0)


def given(parent: Node, key: str) -> Node | None:
    """What a key has, unless that is nothing."""
    node = parent.mapping.get(key)
    return None if node is None or node.value in (None, [], {}, "") else node


def of_all(document: Node) -> Source:
    """The parameters of the whole merge."""
    return _source(document, "")


def listed_models(document: Node, models: Models, problems: Problems) -> list[Input]:
    """The models of `models`."""
    node = given(document, "models")
    found = []
    for i, entry in enumerate(node.items if node else ()):
        where = f"models.{i}"
        name = _name(entry, where, models, problems)
        if name is not None:
            found.append(Input(name, (_source(entry, where), of_all(document)), where, entry.place))
    return found


def sliced_models(document: Node, models: Models, problems: Problems) -> list[list[Input]]:
    """The sources of each of `slices`."""
    node = given(document, "slices")
    return [
        list(_of_slice(entry, f"slices.{i}", document, models, problems))
        for i, entry in enumerate(node.items if node else ())
    ]


def _of_slice(entry: Node, where: str, document: Node, models: Models, problems: Problems) -> Iterator[Input]:
    residual = given(entry, "residual_weight")
    if residual is not None:
        problems.add(residual.place, f"{where}.residual_weight", "a residual weight cannot be said")
    sources = given(entry, "sources")
    if sources is None or not sources.items:
        problems.add(entry.place, where, "the slice has no `sources`")
        return
    shared = (_source(entry, where), of_all(document))
    for j, one in enumerate(sources.items):
        path = f"{where}.sources.{j}"
        name = _name(one, path, models, problems)
        layers = _layers(one, path, problems)
        if name is not None and layers is not None:
            yield Input(name, (_source(one, path), *shared), path, one.place, layers)


def _name(entry: Node, where: str, models: Models, problems: Problems) -> str | None:
    node = given(entry, "model")
    if node is None:
        problems.add(entry.place, where, f"{entry.in_words()} names no `model`")
        return None
    return models.name_of(node, f"{where}.model")


def _layers(entry: Node, where: str, problems: Problems) -> tuple[int, int] | None:
    node = given(entry, "layer_range")
    match node.plain() if node else None:
        case [int(start), int(stop)] if 0 <= start < stop:
            return start, stop
    what = f"{node.in_words()} is not a range of layers" if node else "there is no range of layers"
    problems.add((node or entry).place, f"{where}.layer_range", what, "write [the first, the last + 1]")
    return None


def _source(parent: Node, where: str) -> Source:
    node = given(parent, "parameters")
    return Source(node or parent.without(*parent.mapping), f"{where}.parameters".removeprefix("."))
