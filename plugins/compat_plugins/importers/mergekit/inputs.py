"""What goes into a merge of mergekit: the models of `models`, or those of each of its `slices`, with their settings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
        sources: of its parameters, from the first that is asked to the last; the first is its own.
        where, place: where it stands in the file.
    """

    name: str
    sources: tuple[Source, ...]
    where: str
    place: Place
    layers: tuple[int, int] = (0, 0)

    @property
    def count(self) -> int:
        return self.layers[1] - self.layers[0]


@dataclass(frozen=True)
class Slice:
    """Blocks of the result, and what they are made of.

    Attributes:
        base: the base model of this slice, where it names one.
    """

    inputs: tuple[Input, ...]
    base: str | None
    where: str
    place: Place


def given(parent: Node, key: str) -> Node | None:
    """What a key has, unless that is nothing."""
    node = parent.mapping.get(key)
    return None if node is None or node.value in (None, [], {}, "") else node


class Inputs:
    """Reads the models and slices of one configuration.

    Attributes:
        node: what they stand in: the configuration, or its only module.
        shared: the sources of the parameters of the whole merge.
        where: the path of that.
        refused: whether there are several modules, which has been reported.
        ignored: the paths of keys that mergekit does not know.
    """

    def __init__(self, document: Node, models: Models, problems: Problems) -> None:
        self._models = models
        self._problems = problems
        self.ignored: list[str] = []
        self.refused = False
        self.node, self.where = self._scope(document)
        places = [(self.node, self.where), (document, "")] if self.where else [(document, "")]
        self.shared = tuple(self.source(node, where) for node, where in places)

    def _scope(self, document: Node) -> tuple[Node, str]:
        """What has the models or slices, and its path."""
        modules = given(document, "modules")
        if modules is None:
            return document, ""
        if len(modules.mapping) != 1:
            what = f"{', '.join(modules.mapping) or 'modules'} cannot be merged one by one"
            advice = "name whole `models`, or one module"
            self._problems.add(document.place_of("modules"), "modules", what, advice)
            self.refused = True
            return document, ""
        ((name, module),) = modules.mapping.items()
        self._note_ignored(module, f"modules.{name}", ("models", "slices", "parameters"))
        return module, f"modules.{name}"

    def listed(self) -> list[Input]:
        """The models of `models`."""
        found = []
        for entry, where in self._entries(self.node, "models", self.where):
            name = self._name(entry, where)
            self._note_ignored(entry, where, ("model", "parameters"))
            if name is not None:
                found.append(Input(name, (self.source(entry, where), *self.shared), where, entry.place))
        return found

    def slices(self) -> list[Slice]:
        """The slices of `slices`."""
        return [self._slice(entry, where) for entry, where in self._entries(self.node, "slices", self.where)]

    def source(self, parent: Node, where: str) -> Source:
        """The parameters that a part of the file gives."""
        node = given(parent, "parameters")
        path = _join(where, "parameters")
        if node is not None and not isinstance(node.value, dict):
            self._problems.add(node.place, path, f"{node.in_words()} does not fit", "expected {weight: 0.5, …}")
        return Source(node or parent.without(*parent.mapping), path)

    def _slice(self, entry: Node, where: str) -> Slice:
        base = self._models.name_of(given(entry, "base_model"), f"{where}.base_model")
        self._note_ignored(entry, where, ("sources", "parameters", "base_model"))
        if given(entry, "sources") is None:
            self._problems.add(entry.place, where, "the slice has no `sources`")
        return Slice(tuple(self._of_slice(entry, where)), base, where, entry.place)

    def _of_slice(self, entry: Node, where: str) -> Iterator[Input]:
        shared = (self.source(entry, where), *self.shared)
        for one, path in self._entries(entry, "sources", where):
            name = self._name(one, path)
            layers = self._layers(one, path)
            self._note_ignored(one, path, ("model", "layer_range", "parameters"))
            if name is not None and layers is not None:
                yield Input(name, (self.source(one, path), *shared), path, one.place, layers)

    def _entries(self, parent: Node, key: str, where: str) -> Iterator[tuple[Node, str]]:
        """The entries of a list, each with its path."""
        node = given(parent, key)
        if node is not None and not isinstance(node.value, list):
            what = f"{node.in_words()} does not fit"
            self._problems.add(node.place, _join(where, key), what, "expected a list: each entry begins with `- `")
        for i, entry in enumerate(node.items if node else ()):
            yield entry, f"{_join(where, key)}.{i}"

    def _name(self, entry: Node, where: str) -> str | None:
        node = given(entry, "model")
        if node is None:
            self._problems.add(entry.place, where, f"{entry.in_words()} names no `model`", "write {model: …}")
            return None
        return self._models.name_of(node, f"{where}.model")

    def _layers(self, entry: Node, where: str) -> tuple[int, int] | None:
        node = given(entry, "layer_range")
        match node.plain() if node else None:
            case [int(start), int(stop)] if 0 <= start < stop:
                return start, stop
        what = f"{node.in_words()} is not a range of layers" if node else "there is no range of layers"
        advice = "write [the first, the last + 1]"
        self._problems.add((node or entry).place, f"{where}.layer_range", what, advice)
        return None

    def _note_ignored(self, node: Node, where: str, known: Sequence[str]) -> None:
        self.ignored += [_join(where, key) for key in node.mapping if key not in known]


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key
