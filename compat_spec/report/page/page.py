"""Puts the page together. Everything that a spec or plugin could have written is escaped by the template."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from compat_spec.report import wording
from compat_spec.report.drawing import drawn
from compat_spec.report.errors import MissingExtra, NothingToShow
from compat_spec.report.figures import theme
from compat_spec.report.page.highlight import highlighted
from compat_spec.report.page.verdict import Verdict, verdicts
from compat_spec.report.page.warnings import warnings

if TYPE_CHECKING:
    from compat_spec.report.data.gathered import Gathered

EVERYTHING = "window.vegaEmbed = vegaEmbed;"
"""What of the bundle the page can reach."""

MOST_ROWS = 200
"""Of a table of data below a chart."""


def page(data: Gathered) -> str:
    """The whole page, as HTML.

    Raises:
        MissingExtra: without vl-convert or Altair.
        NothingToShow: the run has recorded nothing at all.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    if not (data.means or data.maps or data.routing or data.steps):
        raise NothingToShow(
            f"run {data.run.id} of {data.run.experiment} ({data.run.status}) has no steps and no numbers yet: there is "
            "nothing to report"
        )
    sections = drawn(data)
    found = verdicts(data)
    decisive = [verdict for verdict in found if verdict.has_merges] or found
    scripts = [vega(), _file("report.js")]
    environment = Environment(
        loader=PackageLoader("compat_spec.report.page", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {
        "number": wording.number,
        "interval": wording.with_interval,
        "label": wording.label,
        "quantity": wording.name,
        "cell": _cell,
        "moment": _moment,
        "duration": wording.duration,
    }
    from markupsafe import Markup

    charts = {
        figure.name: {"spec": figure.vega_lite(titled=False), "marks": len(figure.rows)}
        for figures in sections.values()
        for figure in figures
    }
    template = environment.get_template("report.html.j2")
    return template.render(
        data=data,
        run=data.run,
        description=description(data.run.spec_text),
        sections=sections,
        verdicts=decisive,
        others=[verdict for verdict in found if verdict not in decisive],
        over=_over(found),
        warnings=warnings(data),
        spec=Markup(highlighted(data.run.spec_text)),  # escaped by the highlighter
        most_rows=MOST_ROWS,
        charts=Markup(embedded({"charts": charts, "themes": {"light": theme.LIGHT, "dark": theme.DARK}})),
        style=Markup(_file("report.css")),
        scripts=[Markup(script) for script in scripts],
        hashes=[_hash(script) for script in scripts],
    )


def description(spec: str) -> str:
    """What the spec says of itself; nothing for a spec that is none."""
    import yaml

    try:
        told = yaml.safe_load(spec)
    except yaml.YAMLError:
        return ""
    return str(told.get("description") or "") if isinstance(told, dict) else ""


def embedded(value: Any) -> str:
    """JSON that a script element can hold: nothing in it can end the element, or be read as HTML."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


@cache
def vega() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script."""
    try:
        import vl_convert
    except ImportError:
        raise MissingExtra("vl-convert") from None
    return str(vl_convert.javascript_bundle(EVERYTHING)).replace("</script", "<\\/script")


def _file(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8")


def _hash(script: str) -> str:
    """By which the page's policy knows its own scripts: any other, however it came in, is not run."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _over(verdicts: Sequence[Verdict]) -> str:
    """What intervals are over: of several tasks, on each, where their numbers of examples differ."""
    tasks: dict[str, list[str]] = {}
    for verdict in verdicts:
        if verdict.over:
            tasks.setdefault(verdict.over, []).append(verdict.task)
    if len(tasks) < 2:
        return next(iter(tasks), "")
    return wording.listed(f"{over} on {wording.listed(on, 3)}" for over, on in tasks.items())


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return wording.number(value) if isinstance(value, float) else str(value)


def _moment(moment: datetime | None) -> str:
    return "" if moment is None else moment.strftime("%Y-%m-%d %H:%M UTC")
