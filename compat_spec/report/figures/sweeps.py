"""What each swept parameter does: lines over numbers, maps over two of them, panels for words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import altair as alt

from compat_spec.report.data.gathered import LOWER_IS_BETTER, Gathered, Target
from compat_spec.report.data.points import Point, points
from compat_spec.report.data.similarities import spread
from compat_spec.report.figures import parts
from compat_spec.report.figures.figure import Figure
from compat_spec.report.leaderboard import standings
from compat_spec.report.wording import counted, label, listed, name, number, short

MOST_FIGURES = 12
MOST_COLOURS = 7


def figures(data: Gathered) -> Iterator[Figure]:
    drawable = list(_swept(data))
    for target, quantity, merge, own, axes in drawable[:MOST_FIGURES]:
        figure = _figure(target, quantity, merge, own, axes)
        last = (target, merge) == (drawable[:MOST_FIGURES][-1][0], drawable[:MOST_FIGURES][-1][2])
        if last and len(drawable) > MOST_FIGURES:
            more = f"Left out: the sweeps of {counted(len(drawable) - MOST_FIGURES, 'more merge')}, which are worse."
            figure = replace(figure, left_out=" ".join(filter(None, (figure.left_out, more))))
        yield figure


def _swept(data: Gathered) -> Iterator[tuple[Target, str, str, list[Point], Axes]]:
    """What can be drawn: for each task the merges that sweep something, the best first."""
    for target in data.targets:
        quantity = data.quantities(target)[0]
        means = [mean for mean in data.of_target(target) if mean.quantity == quantity]
        by_merge: dict[str, list[Point]] = {}
        for point in points(means):
            by_merge.setdefault(point.model, []).append(point)
        for standing in standings(means, quantity):
            own = by_merge[standing.model]
            axes = axes_of(own)
            if axes is not None and _has_point(own, axes):
                yield target, quantity, standing.model, own, axes


def _has_point(own: Sequence[Point], axes: Axes) -> bool:
    """Whether any point has a number and a place: all points of a merge may have diverged."""
    return any(point.interval.is_number and point.settings.get(axes.x) is not None for point in own)


@dataclass(frozen=True)
class Axes:
    """Which swept parameter is shown by what. Over the `rest`, the best is taken."""

    x: str
    numeric: bool
    y: str | None
    """For a map of two numbers."""
    colour: str | None
    panel: str | None
    rest: tuple[str, ...]


def axes_of(own: Sequence[Point]) -> Axes | None:
    """How to draw the points of one merge; None where only its step was varied, or nothing."""
    values = {key: _values(own, key) for key in sorted({key for point in own for key in point.settings})}
    swept = [key for key, of in values.items() if len(of) > 1 and key != "step"]
    if not swept:
        return None
    numbers = sorted(
        (key for key in swept if all(map(parts.is_number, values[key]))), key=lambda key: -len(values[key])
    )
    words = [key for key in swept if key not in numbers]
    steps = ["step"] if len(values.get("step", ())) > 1 else []
    if not numbers:
        x, *others = words
        queue = steps + others
        return Axes(x, False, None, *_two(queue), tuple(queue[2:]))
    x, *more = numbers
    if more and len(values[more[0]]) > 3 and len(values[x]) > 3:
        queue = steps + words + more[1:]
        return Axes(x, True, more[0], None, queue[0] if queue else None, tuple(queue[1:]))
    queue = steps + more + words
    return Axes(x, True, None, *_two(queue), tuple(queue[2:]))


def _two(queue: Sequence[str]) -> tuple[str | None, str | None]:
    return (queue[0] if queue else None, queue[1] if len(queue) > 1 else None)


def _values(own: Sequence[Point], key: str) -> list[Any]:
    known = {short(point.settings[key]): point.settings[key] for point in own if point.settings.get(key) is not None}
    numeric = all(map(parts.is_number, known.values()))
    return sorted(known.values()) if numeric else list(known.values())


def _figure(target: Target, quantity: str, merge: str, own: Sequence[Point], axes: Axes) -> Figure:
    lower = quantity in LOWER_IS_BETTER
    cells: dict[tuple[Any, ...], dict[str, Any]] = {}
    panels = [short(value) for value in _values(own, axes.panel)] if axes.panel else []
    kept = [panels[i] for i in spread(list(range(len(panels))), parts.MOST_PANELS)]
    for point in own:
        interval, settings = point.interval, point.settings
        if not interval.is_number or settings.get(axes.x) is None:
            continue
        row = {
            "x": settings[axes.x] if axes.numeric else short(settings[axes.x]),
            "y": settings.get(axes.y) if axes.y else None,
            "colour": _shown(settings, axes.colour),
            "panel": f"{axes.panel} {_shown(settings, axes.panel)}" if axes.panel else None,
            "value": interval.mean,
            "low": interval.low,
            "high": interval.high,
            "seeds": interval.seeds,
        }
        if axes.panel and _shown(settings, axes.panel) not in kept:
            continue
        key = tuple(row[part] for part in ("x", "y", "colour", "panel"))
        if key not in cells or (interval.mean < cells[key]["value"]) == lower:
            cells[key] = row
    rows = list(cells.values())
    task, split = target
    columns = {"x": axes.x, "y": axes.y, "colour": axes.colour, "panel": axes.panel}
    by = listed(key for key in (axes.colour, axes.panel) if key)
    over = axes.x if axes.y is None else f"{axes.x} and {axes.y}"
    left_out = (
        f"{len(kept)} of {counted(len(panels), 'value')} of {axes.panel} are shown." if len(kept) < len(panels) else ""
    )
    spreads = " Bands are 95 % confidence intervals over seeds." if parts.has_intervals(rows) and not axes.y else ""
    what = f"{name(quantity).capitalize()} of {merge} against {over}" + (f", by {by}" if by else "")
    return Figure(
        name=f"sweep-{merge}-{task}",
        title=f"{what}, on {task} ({split} split)",
        caption=f"{'Brighter' if axes.y else 'Lower' if lower else 'Higher'} is better.{spreads}"
        + (f" Each at the best of {listed(axes.rest)}." if axes.rest else ""),
        summary=_summary(rows, axes, lower),
        rows=rows,
        columns={key: title for key, title in columns.items() if title}
        | {"value": name(quantity), "low": "low", "high": "high", "seeds": "seeds"},
        chart=_chart(rows, axes, quantity, [f"{axes.panel} {value}" for value in kept]),
        left_out=left_out,
    )


def _shown(settings: dict[str, Any], key: str | None) -> str | None:
    if key is None:
        return None
    value = settings.get(key)
    return "not set" if value is None else short(value)


def _summary(rows: Sequence[dict[str, Any]], axes: Axes, lower: bool) -> str:
    if not rows:
        return "No point has a number."
    best = (min if lower else max)(rows, key=lambda row: float(row["value"]))
    worst = (max if lower else min)(rows, key=lambda row: float(row["value"]))

    def place(row: dict[str, Any]) -> str:
        parts_ = [f"{axes.x} {short(row['x'])}"]
        parts_ += [f"{axes.y} {short(row['y'])}"] if axes.y else []
        parts_ += [f"{axes.colour} {row['colour']}"] if axes.colour else []
        parts_ += [row["panel"]] if axes.panel else []
        return ", ".join(parts_)

    return f"Best: {number(best['value'])} at {place(best)}; worst: {number(worst['value'])} at {place(worst)}."


def _chart(rows: Sequence[dict[str, Any]], axes: Axes, quantity: str, panels: Sequence[str]) -> Any:
    size = parts.panel_size(len(panels))
    width, height = (size, size) if panels else (parts.WIDTH, parts.HEIGHT)
    base = parts.chart(width=width, height=height)
    if axes.y:
        drawn = _map(base, axes, quantity)
    elif axes.numeric:
        drawn = _curves(base, rows, axes, quantity)
    else:
        values = {row["x"] for row in rows}
        drawn = _dots(parts.chart(width=width, height=26 * len(values)), axes, quantity, rows)
    return (
        drawn.facet(alt.Facet("panel:N", title=None, sort=list(panels)), columns=parts.columns_of(len(panels)))
        if panels
        else drawn
    )


def _map(base: Any, axes: Axes, quantity: str) -> Any:
    best_is_bright = alt.Scale(zero=False, reverse=quantity in LOWER_IS_BETTER)
    return base.mark_rect().encode(
        x=alt.X("x:O", title=axes.x, axis=alt.Axis(labelAngle=0, format=".4~g")),
        y=alt.Y("y:O", title=axes.y, sort="descending", axis=alt.Axis(format=".4~g")),
        color=alt.Color("value:Q", scale=best_is_bright, legend=alt.Legend(title=label(quantity), orient="bottom")),
        tooltip=parts.tooltip(x=axes.x, y=str(axes.y), panel="panel", value=name(quantity), low="from", high="to"),
    )


def _curves(base: Any, rows: Sequence[dict[str, Any]], axes: Axes, quantity: str) -> Any:
    xs = sorted({row["x"] for row in rows})
    x = alt.X(
        "x:Q",
        title=axes.x,
        scale=parts.spaced(xs, padding=10),
        axis=alt.Axis(values=_ticks(xs), format=".4~g", labelOverlap=True),
    )
    ends = [row[key] for row in rows for key in ("value", "low", "high") if row[key] is not None]
    scale = parts.scale_of(ends)
    channels: dict[str, Any] = {}
    marks: dict[str, Any] = {}
    if axes.colour:
        values = list(dict.fromkeys(row["colour"] for row in rows))
        values.sort(key=_as_number)
        few = len(values) <= MOST_COLOURS
        ordered = axes.colour == "step" or all(_as_number(value)[0] == 0 for value in values)
        legend = parts.legend_below(title=axes.colour)
        scale_of = alt.Scale(domain=values, scheme="viridis") if ordered else alt.Scale(domain=values)
        channels["color"] = alt.Color("colour:N", sort=values, scale=scale_of, legend=legend)
        if few:
            marks["shape"] = alt.Shape("colour:N", sort=values, scale=parts.shape_of(values), legend=legend)
    band = base.mark_area(opacity=0.14).encode(
        x=x, y=alt.Y("low:Q", title=label(quantity), scale=scale), y2="high:Q", **channels
    )
    y = alt.Y("value:Q", title=label(quantity), scale=scale)
    line = base.mark_line().encode(x=x, y=y, **channels)
    tooltip = parts.tooltip(x=axes.x, colour=axes.colour or "", panel=axes.panel or "", value=name(quantity))
    tooltip = [one for one, shown in zip(tooltip, (True, axes.colour, axes.panel, True), strict=True) if shown]
    dots = base.mark_point(opacity=1, size=42).encode(
        x=x, y=y, **channels, **marks, tooltip=tooltip + parts.tooltip(low="from", high="to", seeds="seeds")
    )
    return alt.layer(band, line, dots) if parts.has_intervals(rows) else alt.layer(line, dots)


def _ticks(xs: Sequence[float]) -> list[float]:
    return list(xs[:: -(-len(xs) // 12)])


def _dots(base: Any, axes: Axes, quantity: str, rows: Sequence[dict[str, Any]]) -> Any:
    ends = [row[key] for row in rows for key in ("value", "low", "high") if row[key] is not None]
    scale = parts.scale_of(ends)
    y = alt.Y("x:N", title=axes.x, sort=None, axis=alt.Axis(grid=True, ticks=False))
    channels: dict[str, Any] = {}
    marks: dict[str, Any] = {}
    if axes.colour:
        legend = parts.legend_below(title=axes.colour)
        values = sorted({str(row["colour"]) for row in rows}, key=_as_number)
        channels["color"] = alt.Color("colour:N", sort=values, legend=legend)
        marks["shape"] = alt.Shape("colour:N", sort=values, scale=parts.shape_of(values), legend=legend)
    title = label(quantity)
    rules = base.mark_rule(strokeWidth=2).encode(
        x=alt.X("low:Q", title=title, scale=scale), x2="high:Q", y=y, **channels
    )
    dots = base.mark_point(size=70, opacity=1).encode(
        x=alt.X("value:Q", title=title, scale=scale),
        y=y,
        **channels,
        **marks,
        tooltip=parts.tooltip(x=axes.x, value=name(quantity), low="from", high="to", seeds="seeds"),
    )
    return alt.layer(rules, dots) if parts.has_intervals(rows) else dots


def _as_number(text: Any) -> tuple[int, float, str]:
    try:
        return (0, float(text), "")
    except (TypeError, ValueError):
        return (1, 0.0, str(text))
