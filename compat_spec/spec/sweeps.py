"""Sweeps: `{sweep: [1, 2]}` and `{sweep: {from: 0, to: 1, num: 11}}` -> the values, and the points that they span."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from compat_spec.spec.nodes import Node
from compat_spec.spec.problems import Place, Problems, enumerate_words, nearest
from compat_spec.spec.spec import Axis, Point

MAX_POINTS = 10_000
RANGE_KEYS = ("from", "to", "num", "scale")


@dataclass(frozen=True, eq=False)
class Sweep:
    """One sweep of the spec."""

    section: str
    name: str
    """The declaration that it stands in."""
    path: tuple[str, ...]
    """Where it stands in the declaration."""
    node: Node
    """What it stands in for: the mapping with the key `sweep`."""
    values: tuple[Node, ...]
    label: str | None
    """The `zip:` that makes it vary together with others."""

    @property
    def where(self) -> str:
        return ".".join((self.section, self.name, *self.path))


@dataclass
class Sweeps:
    """The sweeps of a spec, and the places of those that have mistakes."""

    found: list[Sweep] = field(default_factory=list)
    broken: set[Place] = field(default_factory=set)

    def of(self, section: str, name: str) -> list[Sweep]:
        return [sweep for sweep in self.found if (sweep.section, sweep.name) == (section, name)]


def find_sweeps(declarations: Mapping[tuple[str, str], Node], problems: Problems) -> Sweeps:
    """Every sweep in the declarations, which are named by section and name."""
    sweeps = Sweeps()
    for (section, name), node in declarations.items():
        for path, swept in _swept(node, ()):
            sweep = _parse(section, name, path, swept, problems)
            if sweep is None:
                sweeps.broken.add(swept.place)
            else:
                sweeps.found.append(sweep)
    _check_zips(sweeps, problems)
    return sweeps


def expand(node: Node, axes: Sequence[tuple[Axis, Sequence[Sweep]]]) -> Iterator[tuple[Point, Node]]:
    """Every point of a declaration, and the declaration there: each sweep replaced by its value."""
    for point in itertools.product(*(range(len(axis.values)) for axis, _ in axes)):
        chosen = {
            id(sweep.node): sweep.values[index]
            for index, (_, sweeps) in zip(point, axes, strict=True)
            for sweep in sweeps
        }
        yield point, _substitute(node, chosen)


def _substitute(node: Node, chosen: Mapping[int, Node]) -> Node:
    if is_sweep(node):
        return chosen.get(id(node)) or Node(None, node.place)
    if isinstance(node.value, dict):
        mapping = {key: _substitute(inner, chosen) for key, inner in node.value.items()}
        return Node(mapping, node.place, node.key_places)
    if isinstance(node.value, list):
        return Node([_substitute(inner, chosen) for inner in node.value], node.place)
    return node


def is_sweep(node: Node) -> bool:
    return "sweep" in node.mapping


def _swept(node: Node, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Node]]:
    if is_sweep(node):
        yield path, node
        return
    for key, inner in node.mapping.items():
        yield from _swept(inner, (*path, key))
    for index, inner in enumerate(node.items):
        yield from _swept(inner, (*path, str(index)))


def _parse(section: str, name: str, path: tuple[str, ...], node: Node, problems: Problems) -> Sweep | None:
    where = ".".join((section, name, *path))
    before = len(problems)
    if not path or path[-1] == "use":
        advice = "declare one for each" if path else "sweep over single parameters"
        problems.add(node.place, where, "this cannot be swept", advice)
    for key in node.mapping:
        if key not in ("sweep", "zip"):
            advice = nearest(key, ("sweep", "zip"), "beside `sweep` there may be")
            problems.add(node.place_of(key), where, f"{key!r} cannot stand beside `sweep`", advice)
    label = node.mapping.get("zip")
    if label is not None and (not isinstance(label.value, str) or not label.value):
        problems.add(label.place, where, f"`zip` is {label.in_words()}", "give the sweeps that vary together one word")
    swept = node.mapping["sweep"]
    values = _values(swept, where, problems)
    for value in values:
        for _, inner in _swept(value, ()):
            problems.add(inner.place, where, "a sweep inside a sweep", "write all values into one list")
    if len(problems) > before:
        return None
    return Sweep(section, name, path, node, values, str(label.value) if label else None)


def _values(swept: Node, where: str, problems: Problems) -> tuple[Node, ...]:
    if isinstance(swept.value, dict):
        return tuple(Node(value, swept.place) for value in _range(swept, where, problems))
    if not isinstance(swept.value, list):
        advice = "write a list, or {from: 0, to: 1, num: 11}"
        problems.add(swept.place, where, f"a sweep over {swept.in_words()}", advice)
    elif not swept.value:
        problems.add(swept.place, where, "a sweep over no values", "give at least one")
    elif len(swept.value) > MAX_POINTS:
        problems.add(swept.place, where, f"a sweep over {len(swept.value):,} values", f"at most {MAX_POINTS:,}")
    else:
        return tuple(swept.value)
    return ()


def _range(node: Node, where: str, problems: Problems) -> list[float] | list[int]:
    before = len(problems)
    for key in node.mapping:
        if key not in RANGE_KEYS:
            advice = nearest(key, RANGE_KEYS, "a range has")
            problems.add(node.place_of(key), where, f"{key!r} is not a part of a range", advice)
    for key in ("from", "to", "num"):
        if key not in node.mapping:
            problems.add(node.place, where, f"the range needs `{key}`", "write {from: 0, to: 1, num: 11}")
    parts = {key: inner for key, inner in node.mapping.items() if key in RANGE_KEYS}
    for key in ("from", "to"):
        if key in parts and not _is_number(parts[key].value):
            problems.add(parts[key].place, where, f"`{key}` is {parts[key].in_words()}", "expected a number")
    if "num" in parts:
        num = parts["num"].value
        if not isinstance(num, int) or isinstance(num, bool) or not 1 <= num <= MAX_POINTS:
            advice = f"expected a whole number from 1 to {MAX_POINTS:,}"
            problems.add(parts["num"].place, where, f"`num` is {parts['num'].in_words()}", advice)
    scale = parts["scale"].value if "scale" in parts else "linear"
    if scale not in ("linear", "log"):
        advice = "expected 'linear' or 'log'"
        problems.add(parts["scale"].place, where, f"`scale` is {parts['scale'].in_words()}", advice)
    if len(problems) > before:
        return []
    start, end, count = (parts[key].value for key in ("from", "to", "num"))
    assert isinstance(start, int | float)
    assert isinstance(end, int | float)
    assert isinstance(count, int)
    if scale == "log":
        for key in ("from", "to"):
            bound = parts[key].value
            assert isinstance(bound, int | float)
            if bound <= 0:
                what = f"`{key}` is {parts[key].in_words()}"
                problems.add(parts[key].place, where, what, "a range with `scale: log` is above 0")
        return [] if len(problems) > before else _log_range(start, end, count)
    return _linear_range(start, end, count)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _linear_range(start: float, end: float, count: int) -> list[float] | list[int]:
    """Computed in decimals, so that a third step of 0.1 is 0.3; whole numbers stay whole where all are."""
    first, last = Decimal(str(start)), Decimal(str(end))
    values = [first + (last - first) * index / (count - 1) for index in range(count)] if count > 1 else [first]
    if isinstance(start, int) and isinstance(end, int) and all(value == int(value) for value in values):
        return [int(value) for value in values]
    return [float(f"{value:.12g}") for value in values]


def _log_range(start: float, end: float, count: int) -> list[float]:
    """Equal ratios from one value to the next."""
    low, high = math.log(start), math.log(end)
    steps = max(count - 1, 1)
    inner = [float(f"{math.exp(low + (high - low) * index / steps):.12g}") for index in range(1, count - 1)]
    return [float(start), *inner, float(end)][:count]


def _check_zips(sweeps: Sweeps, problems: Problems) -> None:
    """Sweeps that vary together have equally many values."""
    first: dict[str, Sweep] = {}
    for sweep in list(sweeps.found):
        if sweep.label is None:
            continue
        other = first.setdefault(sweep.label, sweep)
        if len(sweep.values) != len(other.values):
            counts = enumerate_words([f"{len(sweep.values)} values", f"{other.where} has {len(other.values)}"], "but")
            advice = "sweeps that vary together need equally many"
            problems.add(sweep.node.place, sweep.where, f"{counts} under `zip: {sweep.label}`", advice)
            sweeps.found.remove(sweep)
            sweeps.broken.add(sweep.node.place)
