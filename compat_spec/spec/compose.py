"""One tree out of a spec, the files that it extends, and the `--set`s of the command line."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from compat_spec.spec.keys import SECTIONS, TOP_LEVEL, is_removable
from compat_spec.spec.nodes import Node
from compat_spec.spec.problems import Place, Problems, nearest
from compat_spec.spec.writing import as_yaml
from compat_spec.spec.yaml_files import read_file, read_value

OVERRIDE_RANK = 1000


def compose(path: Path, overrides: Sequence[str], problems: Problems) -> Node | None:
    """The whole spec as one mapping, `extends` left in; None when there is nothing to go on with."""
    document = _read(path, str(path), None, (), problems)
    if document is None:
        return None
    for index, override in enumerate(overrides):
        document = _override(document, override, OVERRIDE_RANK + index, problems)
    return document


def text_of(document: Node) -> str:
    """The spec as YAML; comments are lost."""
    return as_yaml(document.without("extends").plain())


# -------------------------------------------------------------------------------------------------------- extends


def _read(path: Path, shown: str, asked_at: Place | None, chain: tuple[Path, ...], problems: Problems) -> Node | None:
    """A file on top of what it extends.

    Args:
        asked_at: where another file names this one in its `extends`.
        chain: the files that led here.
    """
    node = read_file(path, shown, len(chain), problems, asked_at)
    if node is None:
        return None
    extends = node.mapping.get("extends")
    if extends is None:
        return node
    if not isinstance(extends.value, str) or not extends.value:
        problems.add(extends.place, "extends", f"{extends.in_words()} is not a file", "name one YAML file")
        return node
    other = path.parent / extends.value
    line = (*chain, path)
    if any(_same(other, above) for above in line):
        names = " → ".join([*(above.name for above in line), other.name])
        problems.add(extends.place, "extends", f"the spec extends itself: {names}")
        return node
    beneath = _read(other, os.path.normpath(Path(shown).parent / extends.value), extends.place, line, problems)
    return node if beneath is None else _merge(beneath, node)


def _same(a: Path, b: Path) -> bool:
    return os.path.realpath(a) == os.path.realpath(b)


def _merge(beneath: Node, above: Node, path: tuple[str, ...] = ()) -> Node:
    """Mappings are merged deeply; anything else replaces what it stands on.

    Null removes a declaration or a key of the language. A sweep is a value: it is replaced as a whole.
    """
    if not _mergeable(beneath) or not _mergeable(above):
        return above
    entries, places = dict(beneath.mapping), dict(beneath.key_places)
    for key, node in above.mapping.items():
        if key not in entries:
            entries[key] = node
        elif node.value is None and is_removable((*path, key)):
            del entries[key]
            continue
        else:
            entries[key] = _merge(entries[key], node, (*path, key))
        places[key] = above.key_places[key]
    return Node(entries, above.place, places)


def _mergeable(node: Node) -> bool:
    return isinstance(node.value, dict) and "sweep" not in node.value


# ------------------------------------------------------------------------------------------------------ overrides


def _override(document: Node, override: str, rank: int, problems: Problems) -> Node:
    place = Place(rank, 0, 0, f"--set {override}")
    dotted, equals, text = override.partition("=")
    path = dotted.strip().split(".")
    if not equals or not all(path):
        problems.add(place, "", "this is not an override", "write --set merges.router.span=2")
        return document
    value = read_value(text, place, dotted.strip(), problems)
    if value is None:
        return document
    if path[0] not in TOP_LEVEL:
        problems.add(place, dotted, f"a spec has no {path[0]!r}", nearest(path[0], TOP_LEVEL, "it has"))
        return document
    if path[0] in SECTIONS and len(path) > 2:
        section = document.mapping.get(path[0])
        declared = section.mapping if section else {}
        if path[1] not in declared:
            advice = nearest(path[1], list(declared), "declared")
            problems.add(place, dotted, f"no {path[0].removesuffix('s')} {path[1]!r} is declared", advice)
            return document
    try:
        return _set(document, path, value, place)
    except _NoSuchPlaceError as error:
        problems.add(place, dotted, str(error))
        return document


class _NoSuchPlaceError(Exception):
    """The path of a `--set` leads nowhere."""


def _set(node: Node, path: Sequence[str], value: Node, place: Place, above: tuple[str, ...] = ()) -> Node:
    """A copy of `node` with the value at `path`; mappings on the way are made. `above` is the path of `node`."""
    if not path:
        return value
    key, *rest = path
    here, inner = ".".join(above), (*above, key)
    if isinstance(node.value, list):
        if not key.isdecimal() or int(key) >= len(node.value):
            raise _NoSuchPlaceError(f"{here} is a list with the places 0 to {len(node.value) - 1}, not {key!r}")
        entries = list(node.value)
        entries[int(key)] = _set(entries[int(key)], rest, value, place, inner)
        return Node(entries, node.place)
    if not isinstance(node.value, dict) and node.value is not None:
        raise _NoSuchPlaceError(f"{here} is {node.in_words()} and has no part {key!r}")
    mapping, places = dict(node.mapping), dict(node.key_places)
    if not rest and value.value is None and key in mapping and is_removable(inner):
        del mapping[key]
    else:
        mapping[key] = _set(mapping.get(key, Node({}, place)), rest, value, place, inner)
        places[key] = place if not rest or key not in places else places[key]
    return Node(mapping, node.place, places)
