"""`compat runs`: what has been run."""

from __future__ import annotations

from collections.abc import Callable
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
COUNTS = ("computed", "reused", "failed")
WIDE = 10_000
ROOMY = 100
"""From this width on, a terminal shows dates besides how long ago."""


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
    columns: dict[str, Callable[[Run], str]] = {
        "run": lambda run: run.id,
        "experiment": lambda run: run.experiment,
        "status": lambda run: run.status,
        "started": started,
        "ago": ago,
        "computed": lambda run: str(run.steps.get("computed", 0)),
        "reused": lambda run: str(run.steps.get("reused", 0)),
        "failed": lambda run: str(run.steps.get("failed", 0)),
        "took": lambda run: "" if run.seconds is None else time_in_words(run.seconds),
        "device": lambda run: run.device,
    }
    if console.width < ROOMY:
        del columns["started"]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in COUNTS else "left", overflow="fold")
    for run in found:
        table.add_row(*(text(run) for text in columns.values()), style=STYLES[run.status])
    console.print(table)


def started(run: Run) -> str:
    """The local time, in ISO 8601 without seconds."""
    return run.started.astimezone().strftime("%Y-%m-%d %H:%M")


def ago(run: Run) -> str:
    """How long ago it started, in the largest unit: `3 min`."""
    words = time_in_words(max(0.0, (datetime.now(UTC) - run.started).total_seconds()))
    return " ".join(words.split()[:2])
