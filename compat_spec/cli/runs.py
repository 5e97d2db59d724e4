"""`compat runs`: what has been run."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from compat_spec.cli.options import DEFAULT_RESULTS, ResultsUrl
from compat_spec.cli.words import time_in_words

if TYPE_CHECKING:
    from compat_spec.results import Run

STYLES = {"running": "cyan", "finished": "", "failed": "red", "interrupted": "yellow", "died": "yellow"}
WIDE = 10_000


def runs(
    results: ResultsUrl = DEFAULT_RESULTS,
    limit: Annotated[int | None, typer.Option(min=1, help="Show the newest so many.", show_default="all")] = None,
) -> None:
    """List the runs, the newest first: when, how they ended, and how many steps they computed, reused and failed.

    Example: [bold]compat runs --limit 5[/bold]
    """
    from compat_spec.results import open_results

    found = open_results(results, create=False).runs()[:limit]
    if not found:
        typer.echo("no runs yet; start one with compat run SPEC")
        return
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = WIDE  # whoever reads a pipe wants whole lines
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("run", "experiment", "status", "started", "ago", "computed", "reused", "failed", "took", "device"):
        number = column in ("computed", "reused", "failed")
        table.add_column(column, justify="right" if number else "left", overflow="fold", no_wrap=column == "run")
    for run in found:
        counts = [str(run.steps.get(status, 0)) for status in ("computed", "reused", "failed")]
        took = "" if run.seconds is None else time_in_words(run.seconds)
        table.add_row(
            run.id,
            run.experiment,
            run.status,
            started(run),
            ago(run),
            *counts,
            took,
            run.device,
            style=STYLES[run.status],
        )
    console.print(table)


def started(run: Run) -> str:
    """The local time, in ISO 8601 without seconds."""
    return run.started.astimezone().strftime("%Y-%m-%d %H:%M")


def ago(run: Run) -> str:
    """How long ago it started, in its largest unit."""
    return time_in_words(max(0.0, (datetime.now(UTC) - run.started).total_seconds()))
