"""What several charts have in common."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import altair as alt

from compat_spec.report.figures.figure import DATA, Row

WIDTH = 560
"""Of a chart on paper, in pixels; on a page charts take the width that there is."""
HEIGHT = 260
MOST_PANELS = 12
MOST_LINES = 10

ROLES = ("merge", "expert", "fine-tuned", "base")
ROLE_SHAPES = ("circle", "square", "triangle-up", "diamond")
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-left")
"""One less than colours, so that a name has both with no other until there are 56."""


def chart(**properties: Any) -> Any:
    return alt.Chart(alt.NamedData(DATA), **properties)


def panel_size(panels: int) -> int:
    """The sides of each of so many maps side by side."""
    return 300 if panels == 1 else 216 if panels <= 3 else 168


def whole_cells(size: int, cells: int) -> int:
    """A side of about this size that so many cells divide into whole pixels: else, seams show between them."""
    return max(1, round(size / cells)) * cells


def columns_of(panels: int) -> int:
    """How many stand side by side where there is room; pages with less take fewer."""
    return 4 if panels == 4 or panels > 6 else 3


def legend_below(**more: Any) -> alt.Legend:
    return alt.Legend(**({"orient": "bottom", "title": None, "symbolOpacity": 1} | more))


def tooltip(**fields: str) -> list[alt.Tooltip]:
    """Fields of the rows with the words for them; `value` and the like are numbers with few digits."""
    return [
        alt.Tooltip(f"{field}:Q", title=title, format=",.4~r")
        if field in NUMBERS
        else alt.Tooltip(f"{field}:N", title=title)
        for field, title in fields.items()
    ]


NUMBERS = frozenset(("value", "low", "high", "loss", "similarity", "seconds", "load"))


def spacing(values: Iterable[float]) -> Any:
    """The scale on which these values are about evenly spaced: `log` for multiples, or `sqrt`."""
    known = sorted(set(values))
    if len(known) < 3:
        return "linear"
    gaps = [b - a for a, b in pairwise(known)]
    if max(gaps) <= 2.5 * min(gaps):
        return "linear"
    return "log" if known[0] > 0 else "sqrt" if known[0] == 0 else "linear"


def spaced(values: Iterable[float], **more: Any) -> alt.Scale:
    """For an axis of values that a spec chose."""
    kind = spacing(values)
    if kind != "log":
        more["zero"] = False
    return alt.Scale(type=kind, nice=False, **more)


def has_intervals(rows: Sequence[Row]) -> bool:
    return any(row.get("low") is not None for row in rows)


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def scale_of(values: Sequence[float]) -> alt.Scale:
    """For an axis of numbers that need not begin at zero; logarithmic where they differ a hundredfold."""
    known = [value for value in values if math.isfinite(value)]
    if known and min(known) > 0 and max(known) > 100 * min(known):
        return alt.Scale(type="log", nice=False)
    return alt.Scale(zero=False)


def shape_of(names: Sequence[str]) -> alt.Scale:
    """Marks that differ without colours, too; a name's stays the same over its charts."""
    return alt.Scale(domain=list(names), range=[SHAPES[i % len(SHAPES)] for i in range(len(names))])
