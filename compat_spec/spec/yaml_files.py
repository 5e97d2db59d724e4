"""Reads YAML into a tree of plain values that know where they stand in the file. Nothing in a file is executed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import Composer
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.scanner import Scanner

from compat_spec.errors import CompatError
from compat_spec.spec.nodes import Node
from compat_spec.spec.problems import Place, Problems
from compat_spec.spec.scalars import SCALARS, CoreResolver
from compat_spec.spec.yaml_words import syntax_problems

MAX_BYTES = 256 * 1024
MAX_NODES = 100_000
MAX_DEPTH = 50


class _Loader(Reader, Scanner, Parser, Composer, CoreResolver):
    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        CoreResolver.__init__(self)


def read_file(path: Path, shown: str, rank: int, problems: Problems, asked_at: Place | None = None) -> Node | None:
    """The mapping that a file holds, or None when there is nothing to go on with; the reason is in `problems`.

    Args:
        path: the file.
        shown: the file as the user named it.
        rank: see `Place`.
        asked_at: the `extends` that names it; there it is reported when it cannot be read.
    """
    try:
        data = bytes_of(path)
    except CompatError as error:
        if asked_at is None:
            problems.add(Place(rank, 0, 0, shown), "", str(error))
        else:
            problems.add(asked_at, "extends", f"{shown}: {error}")
        return None
    text = _text_of(data, shown, rank, problems)
    if text is None:
        return None
    start = Place(rank, 1, 1, shown)
    node = _parse(text, lambda mark: Place(rank, mark.line + 1, mark.column + 1, shown), start, problems)
    if node is None:
        return None
    if node.value is None:
        problems.add(start, "", "the file is empty", "a spec declares `tasks`, `models`, `merges` and `metrics`")
        return None
    if not isinstance(node.value, dict):
        what = f"the file holds {node.in_words()}, not a mapping"
        colon = isinstance(node.value, str) and ":" in node.value
        advice = "write a space after each `:`" if colon else "a spec starts with a key such as `tasks:`"
        problems.add(node.place, "", what, advice)
        return None
    return node


def read_documents(data: bytes, shown: str, problems: Problems) -> list[Node]:
    """The documents of a YAML file that another tool reads: several, and merge keys (`<<`), may be among them.

    Args:
        data: what the file holds, see `bytes_of`.
        shown: the file as the user named it.
    """
    text = _text_of(data, shown, 0, problems)
    if text is None:
        return []
    start = Place(0, 1, 1, shown)

    def place_of(mark: yaml.Mark) -> Place:
        return Place(0, mark.line + 1, mark.column + 1, shown)

    return _parse_all(text, place_of, start, problems)


def read_value(text: str, place: Place, where: str, problems: Problems) -> Node | None:
    """The value of a `--set`, as YAML."""
    before = Problems()
    node = _parse(text, lambda _mark: place, place, before, where)
    if node is None or len(before):
        problems.add(place, where, f"{text!r} is not a YAML value", "quote text that has special characters")
        return None
    return node


def bytes_of(path: Path) -> bytes:
    """What a file holds. Raises `CompatError` when it cannot be read or is too long."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise CompatError("there is no such file") from None
    except (OSError, ValueError) as error:
        if isinstance(error, IsADirectoryError):
            raise CompatError("this is a folder, not a file") from None
        raise CompatError(f"the file cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > MAX_BYTES:
        raise CompatError(f"the file has more than {MAX_BYTES // 1024} KiB; a spec is a short text")
    return data


def _text_of(data: bytes, shown: str, rank: int, problems: Problems) -> str | None:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, column = _line_and_column(data[: error.start].decode("utf-8", "replace"))
        what = "the file is binary" if b"\0" in data else f"byte 0x{data[error.start]:02x} is not UTF-8"
        problems.add(Place(rank, line, column, shown), "", what, "a spec is a YAML text in UTF-8")
        return None
    unprintable = Reader.NON_PRINTABLE.search(text)
    if unprintable:
        line, column = _line_and_column(text[: unprintable.start()])
        what = "the file is binary" if "\0" in text else f"the character U+{ord(unprintable[0]):04X} is not allowed"
        problems.add(Place(rank, line, column, shown), "", what, "a spec is a YAML text in UTF-8")
        return None
    return text


def _line_and_column(text_before: str) -> tuple[int, int]:
    return text_before.count("\n") + 1, len(text_before) - (text_before.rfind("\n") + 1) + 1


def _parse(
    text: str, place_of: Callable[[yaml.Mark], Place], start: Place, problems: Problems, where: str = ""
) -> Node | None:
    with _reporting(text, place_of, start, problems, where):
        composed = _Loader(text).get_single_node()
        if composed is None:
            return Node(None, start)
        return _Converter(place_of, problems).convert(composed, where)
    return None


def _parse_all(text: str, place_of: Callable[[yaml.Mark], Place], start: Place, problems: Problems) -> list[Node]:
    found: list[Node] = []
    with _reporting(text, place_of, start, problems):
        loader = _Loader(text)
        while loader.check_node() and (composed := loader.get_node()) is not None:
            found.append(_Converter(place_of, problems, merge_keys=True).convert(composed, ""))
    return found


@contextmanager
def _reporting(
    text: str, place_of: Callable[[yaml.Mark], Place], start: Place, problems: Problems, where: str = ""
) -> Iterator[None]:
    try:
        yield
    except yaml.MarkedYAMLError as error:
        for mark, what, advice in syntax_problems(error, text):
            problems.add(place_of(mark) if mark else start, where, what, advice)
    except yaml.YAMLError as error:
        problems.add(start, where, f"this is not YAML: {str(error).splitlines()[0]}")
    except RecursionError:
        problems.add(start, where, f"values are nested more than {MAX_DEPTH} deep")
    except _UnusableError:
        pass


class _UnusableError(Exception):
    """The tree cannot be built; the reason has been reported."""


class _Converter:
    """From PyYAML's nodes to ours; aliases are written out, within bounds.

    Args:
        merge_keys: whether `<<` means what it meant in YAML 1.1: the keys of other mappings, where they are not given.
    """

    def __init__(self, place_of: Callable[[yaml.Mark], Place], problems: Problems, *, merge_keys: bool = False) -> None:
        self._merge_keys = merge_keys
        self._place_of = place_of
        self._problems = problems
        self._count = 0
        self._open: list[yaml.Node] = []

    def convert(self, node: yaml.Node, where: str) -> Node:
        place = self._place_of(node.start_mark)
        self._count += 1
        if node in self._open:
            self._give_up(place, where, "an alias refers to the value that it stands in")
        if self._count > MAX_NODES:
            outermost = [*self._open, node][1]
            what = f"written out, the aliases make more than {MAX_NODES:,} values"
            self._give_up(self._place_of(outermost.start_mark), "", what)
        if len(self._open) > MAX_DEPTH:
            self._give_up(place, "", f"values are nested more than {MAX_DEPTH} deep")
        kind = node.tag.removeprefix("tag:yaml.org,2002:")
        self._open.append(node)
        if isinstance(node, yaml.MappingNode) and kind == "map":
            converted = self._mapping(node, place, where)
        elif isinstance(node, yaml.SequenceNode) and kind == "seq":
            entries = [self.convert(entry, _join(where, str(index))) for index, entry in enumerate(node.value)]
            converted = Node(entries, place)
        elif isinstance(node, yaml.ScalarNode) and kind in SCALARS:
            converted = Node(self._scalar(node, kind, place, where), place)
        else:
            tag = node.tag.replace("tag:yaml.org,2002:", "!!")
            self._problems.add(place, where, f"the tag {tag} is not known", "leave it out: values are plain YAML")
            self._problems.mute([place])
            converted = Node(None, place)
        self._open.pop()
        return converted

    def _mapping(self, node: yaml.MappingNode, place: Place, where: str) -> Node:
        entries: dict[str, Node] = {}
        places: dict[str, Place] = {}
        merged: list[Node] = []
        for key_node, value_node in node.value:
            key_place = self._place_of(key_node.start_mark)
            if not isinstance(key_node, yaml.ScalarNode) or not key_node.value:
                self._problems.add(key_place, where, "a key must be plain text")
                continue
            key = self._scalar(key_node, "str", key_place, where)
            if key == "<<" and self._merge_keys:
                value = self.convert(value_node, where)
                merged += value.items or [value]
                continue
            if key == "<<":
                advice = "write the keys out, or put what is shared into a file and extend it (`extends:`)"
                self._problems.add(key_place, where, "merge keys (`<<`) are not part of YAML 1.2", advice)
                continue
            value = self.convert(value_node, _join(where, key))
            if key in entries:
                first = places[key]
                on = f"on line {first.line}" if first.line else "before"
                self._problems.add(key_place, where, f"{key!r} is given twice, first {on}", "remove one of them")
                continue
            entries[key], places[key] = value, key_place
        for other in merged:
            if not isinstance(other.value, dict):
                self._problems.add(other.place, where, f"`<<` takes over a mapping, not {other.in_words()}")
            entries = {**other.mapping, **entries}
            places = {**other.key_places, **places}
        return Node(entries, place, places)

    def _scalar(self, node: yaml.ScalarNode, kind: str, place: Place, where: str) -> Any:
        try:
            node.value.encode()
            return SCALARS[kind](node.value)
        except UnicodeEncodeError:
            self._problems.add(place, where, "the text has an escape that is no character")
        except (ValueError, KeyError):
            self._problems.add(place, where, f"{node.value[:60]!r} cannot be read as {kind}")
        self._problems.mute([place])
        return None if kind != "str" else ""

    def _give_up(self, place: Place, where: str, what: str) -> None:
        self._problems.add(place, where, what, "write the values out")
        raise _UnusableError


def _join(where: str, part: str) -> str:
    return f"{where}.{part}" if where else part
