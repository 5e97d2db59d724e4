"""What is made of results for people to look at: tables in a terminal, charts, and a page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compat_spec.report.errors import NothingToShow

if TYPE_CHECKING:
    from collections.abc import Mapping

    from compat_spec.report.figures.figure import Figure
    from compat_spec.results import Results

__all__ = ["NothingToShow", "charts", "html_report"]


def charts(results: Results, run: str | None = None) -> Mapping[str, Figure]:
    """The charts for which a run has data, by name, in the order of the page. Each shows itself in a notebook.

    Args:
        run: its id or the beginning of it, the name of an experiment (its newest run); None is the newest of all.

    Raises:
        MissingExtra: without `compat-spec[plot]`.
        ResultsError: there is no such run.
    """
    from compat_spec.report.data.gathered import gather
    from compat_spec.report.drawing import drawn

    return {figure.name: figure for of_section in drawn(gather(results, run)).values() for figure in of_section}


def html_report(results: Results, run: str | None = None) -> str:
    """A page about one run, with everything in it: it opens from a file, and asks no network for anything.

    Args:
        run: as of `charts`.

    Raises:
        MissingExtra: without `compat-spec[plot]`.
        NothingToShow: the run has neither scores nor similarities nor steps.
        ResultsError: there is no such run.
    """
    from compat_spec.report.data.gathered import gather
    from compat_spec.report.page.page import page

    return page(gather(results, run))
