"""How alike each layer of one network is to each layer of the other: heat maps, one for each step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import altair as alt

from compat_spec.report.data.gathered import Gathered
from compat_spec.report.data.similarities import Compared, LayerMap, spread
from compat_spec.report.figures import parts
from compat_spec.report.figures.figure import Figure, Row
from compat_spec.report.wording import counted, listed, name, number

MOST_CHOICES = 12
MOST_CELLS = 40_000
WITHIN_ONE = frozenset(("cka", "mutual_knn", "svcca", "pwcca", "procrustes"))
"""Measures that lie between 0 and 1, and are coloured from 0 to 1."""


def figures(data: Gathered) -> Iterator[Figure]:
    by_quantity: dict[str, dict[Compared, list[LayerMap]]] = {}
    for one in data.maps:
        by_quantity.setdefault(one.compared.quantity, {}).setdefault(one.compared, []).append(one)
    for quantity, series in by_quantity.items():
        if any(len(one.cells) > 1 for maps in series.values() for one in maps):
            yield _figure(data, quantity, series)


def _figure(data: Gathered, quantity: str, every: dict[Compared, list[LayerMap]]) -> Figure:
    series = dict(list(every.items())[:MOST_CHOICES])
    panels = list(dict.fromkeys(_panel(one) for maps in series.values() for one in _in_order(maps)))
    cells = max(len(one.cells) for maps in series.values() for one in maps)
    most = max(2, min(parts.MOST_PANELS, MOST_CELLS // (len(series) * cells)))
    kept = [panels[i] for i in spread(list(range(len(panels))), most)]
    steps = {(one.step_a, one.step_b) for one in data.diagonals if one.compared in series}
    rows = [
        {"which": str(compared), "panel": _panel(one), "a": a, "b": b, "value": value, "seeds": one.seeds}
        for compared, maps in series.items()
        for one in _in_order(maps)
        if _panel(one) in kept
        for (a, b), value in one.cells.items()
    ]
    first = next(iter(series))
    several = len(series) > 1
    of = f"{first.a} and {first.b} on {first.task}" if not several else "each pair of models"
    left_out = []
    if len(kept) < max(len(panels), len(steps)):
        left_out.append(f"{len(kept)} of {max(len(panels), len(steps))} steps are shown.")
    if len(series) < len(every):
        left_out.append(f"Left out: {counted(len(every) - len(series), 'comparison')}.")
    return Figure(
        name=f"layers-{quantity}",
        title=f"{name(quantity)} of every layer with every layer, {of}",
        caption=f"Rows are the layers of the first model{_named(first.a, several)}, columns those of the second"
        f"{_named(first.b, several)}, counted from 0; each map is one step of fine-tuning, where there are several. "
        "Means over seeds.",
        summary=_summary(rows, first, kept),
        rows=rows,
        columns={
            **({"which": "of"} if several else {}),
            "panel": "step",
            "a": "layer of the first",
            "b": "layer of the second",
            "value": name(quantity),
        },
        chart=_chart(rows, quantity, list(map(str, series)), kept, _sides(first, several)),
        left_out=" ".join(left_out),
    )


def _named(model: str, several: bool) -> str:
    return "" if several else f" ({model})"


def _sides(first: Compared, several: bool) -> tuple[str, str]:
    if several or first.a == first.b:
        return ("layer of the first", "layer of the second")
    return (f"layer of {first.a}", f"layer of {first.b}")


def _in_order(maps: Sequence[LayerMap]) -> list[LayerMap]:
    return sorted(maps, key=lambda one: (one.step_a or 0, one.step_b or 0))


def _panel(one: LayerMap) -> str:
    if one.step_a == one.step_b:
        return "all steps" if one.step_a is None else f"step {one.step_a}"
    return f"steps {one.step_a} and {one.step_b}"


def _summary(rows: Sequence[Row], first: Compared, panels: Sequence[str]) -> str:
    own = [row for row in rows if row["which"] == str(first) and row["value"] is not None]
    if not own:
        return "No layer has a number."
    words = []
    for panel in dict.fromkeys((panels[0], panels[-1])):
        here = [row for row in own if row["panel"] == panel]
        same = [row["value"] for row in here if row["a"] == row["b"]]
        if same:
            lowest, highest = min(here, key=_value), max(here, key=_value)
            words.append(
                f"{panel}: {number(sum(same) / len(same))} on average between equal layers; from "
                f"{number(lowest['value'])} (layers {lowest['a']} and {lowest['b']}) to {number(highest['value'])} "
                f"(layers {highest['a']} and {highest['b']})"
            )
    return f"{first}. {'; '.join(words)}." if words else f"{first}. Panels: {listed(panels)}."


def _value(row: Row) -> float:
    return float(row["value"])


def _chart(
    rows: Sequence[Row], quantity: str, series: Sequence[str], panels: Sequence[str], sides: Sequence[str]
) -> Any:
    layers = max(max(row["a"], row["b"]) for row in rows) + 1
    ticks = list(range(0, layers, max(1, layers // 8)))
    numbers = [row["value"] for row in rows if row["value"] is not None]
    within = quantity in WITHIN_ONE and all(-1e-6 <= value <= 1 + 1e-6 for value in numbers)
    legend = alt.Legend(title=name(quantity), orient="bottom", gradientLength=160)
    size = parts.panel_size(len(panels))
    wide, high = (parts.whole_cells(size, len({row[side] for row in rows})) for side in "ba")
    maps = (
        parts.chart(width=wide, height=high)
        .mark_rect()
        .encode(
            x=alt.X("b:O", title=sides[1], axis=alt.Axis(values=ticks, labelAngle=0, ticks=False)),
            y=alt.Y("a:O", title=sides[0], axis=alt.Axis(values=ticks, ticks=False)),
            color=alt.Color(
                "value:Q",
                scale=alt.Scale(domain=[0, 1]) if within else alt.Scale(zero=False),
                legend=legend,
            ),
            tooltip=parts.tooltip(which="of", panel="at", a=sides[0], b=sides[1]) + parts.tooltip(value=name(quantity)),
        )
    )
    if len(panels) > 1:
        maps = maps.facet(alt.Facet("panel:N", title=None, sort=list(panels)), columns=parts.columns_of(len(panels)))
    if len(series) > 1:
        which = alt.param(
            name="which", value=series[0], bind=alt.binding_select(options=list(series), name="compared ")
        )
        maps = maps.add_params(which).transform_filter("datum.which === which")
    return maps
