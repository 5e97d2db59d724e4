"""Reads the declarations of a spec, each by itself: its name, its sweeps, and what it is at every point of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from compat_spec.spec.axes import axes_of
from compat_spec.spec.drafts import Draft, Drafts
from compat_spec.spec.keys import NAME, SECTIONS
from compat_spec.spec.nodes import Node
from compat_spec.spec.parts import PartReader
from compat_spec.spec.problems import Problems
from compat_spec.spec.sweeps import MAX_POINTS, expand, find_sweeps


def read_declarations(document: Node, folder: Path, problems: Problems) -> Drafts:
    """Every declaration of the spec, checked by itself.

    Args:
        folder: where the spec lies.
    """
    drafts = {(draft.section, draft.name): draft for draft in _declared(document, problems)}
    sweeps = find_sweeps({key: draft.node for key, draft in drafts.items()}, problems)
    problems.mute(sweeps.broken)
    axes = axes_of(sweeps.found, _families(drafts.values()))
    for key, draft in drafts.items():
        own = axes.get(key, [])
        draft.axes = [axis for axis, _ in own]
        count = math.prod(len(axis.values) for axis in draft.axes)
        if count > MAX_POINTS:
            what = f"the sweeps span {count:,} points"
            problems.add(draft.place, draft.where, what, f"at most {MAX_POINTS:,} in one declaration")
        reader = PartReader(draft, folder, problems)
        if isinstance(draft.node.value, dict):
            points = islice(expand(draft.node, own), MAX_POINTS if count <= MAX_POINTS else 1)
            draft.parts = {point: reader.read(node) for point, node in points}
    unreadable = [key for key in SECTIONS if key in document.mapping and not _is_section(document.mapping[key])]
    return Drafts(drafts, unreadable)


def _families(drafts: Iterable[Draft]) -> dict[str, str]:
    """For each merge the first of those that it is made of, or helps to make, over however many steps."""
    merges = {draft.name: draft.node for draft in drafts if draft.section == "merges"}
    families = {name: name for name in merges}
    for name, node in merges.items():
        for other in {text.partition("@")[0] for text in _texts(node)} & merges.keys():
            joined = {families[name], families[other]}
            families = {one: min(joined) if family in joined else family for one, family in families.items()}
    return families


def _texts(node: Node) -> Iterator[str]:
    if isinstance(node.value, str):
        yield node.value
    for inner in (*node.mapping.values(), *node.items):
        yield from _texts(inner)


def _is_section(node: Node) -> bool:
    return node.value is None or isinstance(node.value, dict)


def _declared(document: Node, problems: Problems) -> Iterator[Draft]:
    for section in SECTIONS:
        declared = document.mapping.get(section)
        if declared is None:
            continue
        if not _is_section(declared):
            advice = f"expected a mapping from names to {section}"
            problems.add(declared.place, section, f"{declared.in_words()} does not fit", advice)
            continue
        for name, node in declared.mapping.items():
            place = declared.place_of(name)
            where = f"{section}.{name}"
            draft = Draft(section, name, place, node)
            if not NAME.fullmatch(name):
                advice = "a name has letters, digits, `_` and `-`, and starts with a letter"
                problems.add(place, where, f"{name!r} is not a name", advice)
            elif section in ("models", "merges") and name == "all":
                problems.add(place, where, "'all' cannot be a name here", "`of: all` means every model and merge")
            elif section == "merges" and name in document.mapping.get("models", node).mapping:
                problems.add(place, where, f"{name!r} is a model already", "models and merges need different names")
            if not isinstance(node.value, dict):
                advice = "write {use: …}" if section != "models" else "write {use: …} or {from: …, train: …}"
                problems.add(node.place, where, f"{node.in_words()} does not fit", advice)
            yield draft
