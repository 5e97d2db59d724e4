"""A chart with the words and the data that belong to it."""

from __future__ import annotations

import copy
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from compat_spec.report.figures import theme

if TYPE_CHECKING:
    import altair as alt

DATA = "data"
"""The name under which every chart finds its rows."""

LOOKALIKES = str.maketrans({'"': "\u201d", "\\": "\u2216"} | dict.fromkeys(map(chr, range(32)), " "))

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One chart of one run. In a notebook it shows itself; `altair()` makes a chart of it to go on with.

    Attributes:
        name: what `compat plot` calls it, and its file.
        title: what one sees.
        caption: how to read it.
        summary: what it shows, in words, for those who do not see it.
        rows: the data, every number that is drawn.
        columns: of the fields of the rows those worth reading, with their headings.
        chart: the chart without title and data; its fields have fixed names, whatever a spec calls its parameters.
        left_out: what was too much to draw.
    """

    name: str
    title: str
    caption: str
    summary: str
    rows: Sequence[Row]
    columns: Mapping[str, str]
    chart: alt.TopLevelMixin = field(repr=False)
    left_out: str = ""

    def vega_lite(self, *, titled: bool = True) -> dict[str, Any]:
        """The chart as a Vega-Lite specification with its data, and its title and caption unless told otherwise."""
        spec: dict[str, Any] = copy.deepcopy(self._bare)
        spec["description"] = f"{self.title}. {self.summary}"
        spec["datasets"] = {DATA: [{key: _plain(value) for key, value in row.items()} for row in self.rows]}
        if titled:
            spec["title"] = {
                "text": self.title,
                "subtitle": _lines(" ".join(filter(None, (self.caption, self.left_out)))),
            }
            spec["config"] = theme.PAPER
        return spec

    def altair(self) -> Any:
        """The chart for Altair, with its data and title."""
        import altair as alt

        return alt.Chart.from_dict(self.vega_lite())

    def _repr_mimebundle_(self, *_: Any, **__: Any) -> Any:
        return self.altair()._repr_mimebundle_()

    @property
    def _bare(self) -> dict[str, Any]:
        spec = _safe_titles(self.chart.to_dict())
        spec.pop("config", None)  # the theme of whoever shows it
        spec.pop("datasets", None)
        return dict(spec)


def _safe_titles(part: Any) -> Any:
    """Titles without quotes and backslashes, which Vega-Lite 6 writes into expressions as they are."""
    if isinstance(part, dict):
        return {
            key: value.translate(LOOKALIKES) if key == "title" and isinstance(value, str) else _safe_titles(value)
            for key, value in part.items()
        }
    return [_safe_titles(one) for one in part] if isinstance(part, list) else part


def _plain(value: Any) -> Any:
    """What JSON has: no infinity, and no more digits than are seen."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def _lines(text: str, width: int = 92) -> list[str]:
    return textwrap.wrap(text, width, break_on_hyphens=False)
