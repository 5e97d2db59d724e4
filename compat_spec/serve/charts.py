"""The charts of canned queries, as Vega-Lite. Their rows are those of the page; the script `chart.js` adds them."""

from __future__ import annotations

from typing import Any

QUANTITATIVE = {"type": "quantitative", "scale": {"zero": False}}
PANEL = {"type": "nominal", "columns": 3}
SIDE = 26
"""Pixels of a cell of a heat map."""


TASK = "datum.task + (datum.split ? ' (' + datum.split + ' split)' : '') + (datum.metric ? ', ' + datum.metric : '')"
"""For titles of panels. Similarities have no split, and means over metrics no metric."""

ROLES = ["merge", "expert", "fine-tuned", "base"]
"""In the order of the report, so that each has its colour there."""

X = "x of the chart"
"""What the script calls the column of a swept parameter, whose own name may be none for Vega's expressions."""


def over(x: str, y: str = "loss", *, colour: str = "step", title: str | None = None) -> dict[str, Any]:
    """Curves in a colour for each step, in panels by merge and task; or in other colours, in panels by task."""
    by_merge = colour == "step"
    ordered = {"type": "ordinal", "scale": {"scheme": "viridis"}} if by_merge else {"type": "nominal"}
    panel = f"datum.merge + ' on ' + {TASK}" if by_merge else TASK
    return {
        "usermeta": {"rename": {x: X}},
        "transform": [{"calculate": panel, "as": "panel"}],
        "mark": {"type": "line", "point": True, "tooltip": {"content": "data"}},
        "width": 260 if by_merge else 460,
        "height": 200,
        "encoding": {
            "x": {"field": X, "title": title or x, **QUANTITATIVE},
            "y": {"field": y, **QUANTITATIVE},
            "color": {"field": colour, **ordered},
            "facet": {"field": "panel", "title": None, **PANEL, **({} if by_merge else {"columns": 1})},
        },
    }


def heat_map(x: str, y: str, value: str, *, panel: str, order: str | None = None) -> dict[str, Any]:
    """Cells from 0, dark, to 1; in a panel for each value of an expression of Vega, in the order of a column."""
    sort = {"field": order, "op": "min"} if order else "ascending"
    return {
        "transform": [{"calculate": panel, "as": "panel"}],
        "mark": {"type": "rect", "tooltip": {"content": "data"}},
        "width": {"step": SIDE},
        "height": {"step": SIDE},
        "encoding": {
            "x": {"field": x, "type": "ordinal", "title": x.replace("_", " "), "axis": {"labelAngle": 0}},
            "y": {"field": y, "type": "ordinal", "title": y.replace("_", " "), "sort": "descending"},
            "color": {"field": value, "type": "quantitative", "scale": {"scheme": "viridis", "domain": [0, 1]}},
            "facet": {"field": "panel", "title": None, "sort": sort, **PANEL},
        },
    }


INTERVALS: dict[str, Any] = {
    "transform": [{"calculate": TASK, "as": "panel"}],
    "facet": {"field": "panel", "type": "nominal", "title": None},
    "columns": 1,
    "resolve": {"scale": {"y": "independent"}},
    "spec": {
        "width": 460,
        "encoding": {
            "y": {"field": "merge", "type": "nominal", "title": None, "sort": None},
            "color": {"field": "role", "type": "nominal", "scale": {"domain": ROLES}},
        },
        "layer": [
            {
                "mark": {"type": "point", "filled": True, "size": 60, "tooltip": {"content": "data"}},
                "encoding": {
                    "x": {"field": "loss", "title": "loss, with its 95 % interval over seeds", **QUANTITATIVE}
                },
            },
            {
                "mark": {"type": "rule", "strokeWidth": 2},
                "encoding": {"x": {"field": "low", "type": "quantitative"}, "x2": {"field": "high"}},
            },
        ],
    },
}

POINTS: dict[str, Any] = {
    "transform": [{"calculate": TASK, "as": "panel"}],
    "mark": {"type": "point", "filled": True, "size": 50, "tooltip": {"content": "data"}},
    "width": 460,
    "height": 280,
    "encoding": {
        "x": {"field": "cka", **QUANTITATIVE},
        "y": {"field": "loss", **QUANTITATIVE},
        "color": {"field": "merge", "type": "nominal"},
        "facet": {"field": "panel", "title": None, **PANEL, "columns": 1},
    },
}

BARS: dict[str, Any] = {
    "transform": [{"window": [{"op": "row_number", "as": "place"}]}, {"filter": "datum.place <= 25"}],
    "mark": {"type": "bar", "tooltip": {"content": "data"}},
    "width": 460,
    "encoding": {
        "x": {"field": "seconds", "type": "quantitative"},
        "y": {"field": "label", "type": "nominal", "title": None, "sort": "-x"},
        "color": {"field": "kind", "type": "nominal"},
    },
}
