"""The charts of a run, under the headings of the page."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from compat_spec.report.errors import MissingExtra
from compat_spec.report.figures import sections

if TYPE_CHECKING:
    from compat_spec.report.data.gathered import Gathered
    from compat_spec.report.figures.figure import Figure


def drawn(data: Gathered) -> dict[str, list[Figure]]:
    """The figures of each section that has any. Their names are fit for files and links, and each is there once.

    Raises:
        MissingExtra: without Altair.
    """
    try:
        import altair  # noqa: F401
    except ImportError:
        raise MissingExtra("Altair") from None
    taken: set[str] = set()
    found: dict[str, list[Figure]] = {}
    for heading, kinds in sections().items():
        figures = [figure for kind in kinds for figure in kind(data)]
        named = [replace(figure, name=_fresh(figure.name, taken)) for figure in figures]
        if named:
            found[heading] = named
    return found


def _fresh(name: str, taken: set[str]) -> str:
    plain = re.sub(r"[^\w.]+", "-", name.lower()).strip("-.")[:80] or "chart"
    fresh, count = plain, 1
    while fresh in taken:
        count += 1
        fresh = f"{plain}-{count}"
    taken.add(fresh)
    return fresh
