"""How charts look: for paper, and on light and dark pages. Specs name no colours of their own but those of schemes.

Categories have the colours of Okabe and Ito ("Color Universal Design", 2008), which people with any colour vision tell
apart, lightened for dark pages; numbers have viridis, whose lightness rises evenly.
"""

from __future__ import annotations

from typing import Any

OKABE_ITO = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#444444", "#F0E442"]
ON_DARK = ["#56B4E9", "#F0803C", "#2CC295", "#E79CC6", "#F5C242", "#8FB4FF", "#C8CCD4", "#A8D65C"]

SANS = "system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', Helvetica, Arial, sans-serif"


def _config(ink: str, quiet: str, grid: str, background: str | None, colours: list[str]) -> dict[str, Any]:
    return {
        "background": background,
        "font": SANS,
        "view": {"stroke": None},
        "title": {
            "color": ink,
            "subtitleColor": quiet,
            "anchor": "start",
            "frame": "group",
            "fontSize": 14,
            "subtitleFontSize": 11.5,
            "fontWeight": 600,
            "offset": 12,
            "subtitlePadding": 4,
        },
        "axis": {
            "labelColor": quiet,
            "titleColor": ink,
            "domainColor": grid,
            "tickColor": grid,
            "gridColor": grid,
            "gridOpacity": 0.6,
            "titleFontWeight": "normal",
            "titleFontSize": 12,
            "labelFontSize": 11,
            "titlePadding": 8,
            "labelLimit": 240,
            "titleLimit": 300,
            "labelFlush": False,
        },
        "axisQuantitative": {"tickCount": 7},
        "header": {"labelColor": ink, "titleColor": ink, "labelFontSize": 11, "labelLimit": 166},
        "legend": {
            "labelColor": ink,
            "titleColor": ink,
            "titleFontWeight": "normal",
            "labelFontSize": 11,
            "titleFontSize": 11,
            "labelLimit": 160,
            "symbolStrokeWidth": 1.5,
            "symbolOpacity": 1,
            "columns": 4,
        },
        "text": {"color": ink, "font": SANS},
        "rule": {"color": quiet},
        "point": {"size": 60, "filled": True},
        "line": {"strokeWidth": 1.8},
        "mark": {"color": colours[0]},
        "range": {"category": colours, "ramp": {"scheme": "viridis"}, "heatmap": {"scheme": "viridis"}},
    }


LIGHT = _config("#1d1d1f", "#5b6068", "#d9dce1", None, OKABE_ITO)
DARK = _config("#e8e9eb", "#a4a9b3", "#3a3f48", None, ON_DARK)
PAPER = _config("#111111", "#444444", "#dddddd", "white", OKABE_ITO)
