"""The axes that sweeps span, and what the swept parameters are called in the results."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from compat_spec.spec.spec import Axis
from compat_spec.spec.sweeps import Sweep

_TAKEN = """
a accuracy accuracy_se answers answers_se b best_loss block critical_step example experiment expert fingerprint
last_loss last_step layer_a layer_b loss loss_se measure merge metric n other_block perplexity perplexity_se quantity
rank regression role run run_id se seed seeds split status step step_a step_b task token_class value weight
"""

_SQL = """
all and as asc between by case cast check column create cross default delete desc distinct drop else end except exists
from full group having in index inner insert intersect into is join key left like limit not null of offset on or order
outer over primary references right select set table then to transaction union unique update using values when where
with
"""

RESERVED = frozenset((_TAKEN + _SQL).split())
"""What a column may not be called: columns that the results have already, and words of SQL that would need quotes."""


def axes_of(
    sweeps: Sequence[Sweep], families: Mapping[str, str] | None = None
) -> dict[tuple[str, str], list[tuple[Axis, list[Sweep]]]]:
    """The axes of each declaration (by section and name), in the order of their sweeps, each with its sweeps there.

    Sweeps with one `zip:` label are one axis, within a declaration and across declarations of which one uses the
    other. Declarations that never meet in one row (two merges, two metrics) keep axes of their own.

    Args:
        families: for merges that are made of merges, and for these, one word that they share: they meet in one row.
    """
    families = families or {}
    columns = _columns(sweeps, families)
    shared = _shared_labels(sweeps)
    groups: dict[str, list[Sweep]] = {}
    for sweep in sweeps:
        groups.setdefault(_axis_name(sweep, shared, families), []).append(sweep)
    axes = {
        name: Axis(
            name=name,
            columns=tuple(columns[sweep] for sweep in group),
            values=tuple(zip(*([value.plain() for value in sweep.values] for sweep in group), strict=True)),
        )
        for name, group in groups.items()
    }
    found: dict[tuple[str, str], dict[str, list[Sweep]]] = {}
    for sweep in sweeps:
        own = found.setdefault((sweep.section, sweep.name), {})
        own.setdefault(_axis_name(sweep, shared, families), []).append(sweep)
    return {key: [(axes[name], group) for name, group in own.items()] for key, own in found.items()}


def _axis_name(sweep: Sweep, shared: set[str], families: Mapping[str, str]) -> str:
    if sweep.label is None:
        return sweep.where
    if sweep.label in shared:
        return f"zip:{sweep.label}"
    return f"zip:{sweep.section}.{_family(sweep, families)}.{sweep.label}"


def _family(sweep: Sweep, families: Mapping[str, str]) -> str:
    return families.get(sweep.name, sweep.name) if sweep.section == "merges" else sweep.name


def _shared_labels(sweeps: Sequence[Sweep]) -> set[str]:
    """The labels that join declarations: all but those which only merges, or only metrics, use."""
    sections: dict[str, set[str]] = {}
    for sweep in sweeps:
        if sweep.label is not None:
            sections.setdefault(sweep.label, set()).add(sweep.section)
    return {label for label, used_in in sections.items() if used_in not in ({"merges"}, {"metrics"})}


def _columns(sweeps: Sequence[Sweep], families: Mapping[str, str]) -> dict[Sweep, str]:
    """A column for each sweep: the shortest name that no other sweep of the same row has."""
    shared = _shared_labels(sweeps)
    taken: dict[str, list[Sweep]] = {}
    columns = {}
    for sweep in sweeps:
        for name in _candidates(sweep):
            others = taken.setdefault(name.lower(), [])
            if not any(_in_one_row(sweep, other, shared, families) for other in others):
                others.append(sweep)
                columns[sweep] = name
                break
    return columns


def _candidates(sweep: Sweep) -> Iterator[str]:
    path = _word("_".join(sweep.path))
    if sweep.path == ("at",):  # the planner knows this name: the results have it as the training step
        yield path
        return
    if sweep.section in ("merges", "metrics") and path.lower() not in RESERVED:
        yield path
    name = f"{_word(sweep.name)}_{path}"
    yield name
    name = f"{sweep.section.removesuffix('s')}_{name}"
    while True:
        yield name
        name += "_"


def _word(text: str) -> str:
    return re.sub(r"\W", "_", text, flags=re.ASCII)


def _in_one_row(a: Sweep, b: Sweep, shared: set[str], families: Mapping[str, str]) -> bool:
    """Whether a row of the results may depend on both."""
    if a.path == b.path == ("at",):
        return False
    if a.section != b.section or a.section in ("tasks", "models") or _family(a, families) == _family(b, families):
        return True
    return a.label is not None and a.label == b.label and a.label in shared


Indices: TypeAlias = Mapping[str, int]
"""A point of several declarations: the index of the value of each axis, by the axis's name."""


def agree(*points: Indices) -> bool:
    """Whether no axis that two of the points have stands at different values."""
    together: dict[str, int] = {}
    return all(together.setdefault(axis, index) == index for point in points for axis, index in point.items())
