"""`compat compare`: whether one model or merge is better than another, by how much, and how sure that is."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from compat_spec.cli import completion
from compat_spec.cli.options import DEFAULT_RESULTS, ResultsUrl
from compat_spec.cli.query import FORMATS, Format
from compat_spec.cli.runs import ROOMY

if TYPE_CHECKING:
    from compat_spec.report.compare import Compared


class CorrectionName(StrEnum):
    holm = "holm"
    bh = "bh"
    none = "none"


def compare(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            help="Models or merges: router, 'blend[alpha=0.5,step=160]', math@80, or RUN/router of another run.",
            metavar="A B …",
            show_default=False,
        ),
    ] = None,
    results: ResultsUrl = DEFAULT_RESULTS,
    run: Annotated[
        str,
        typer.Option(
            help="The beginning of a run's id, last, or the name of an experiment.", autocompletion=completion.runs
        ),
    ] = "last",
    metric: Annotated[str, typer.Option(help="A metric of the spec, or a quantity: loss, accuracy, answers.")] = "loss",
    task: Annotated[str | None, typer.Option(help="The task, where the metric was measured on several.")] = None,
    split: Annotated[str | None, typer.Option(help="The split, where the metric was measured on several.")] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where", metavar="NAME=VALUE", help="A setting of all that sweep it: --where alpha=0.5. May be repeated."
        ),
    ] = None,
    at: Annotated[int | None, typer.Option(help="The training step of all that were measured at several.")] = None,
    against: Annotated[
        str | None,
        typer.Option(help="Compare each with this one only; without A and B, all merges with it.", metavar="MODEL"),
    ] = None,
    correction: Annotated[
        CorrectionName,
        typer.Option(help="For several pairs: Holm's, Benjamini and Hochberg's (bh), or none."),
    ] = CorrectionName.holm,
    level: Annotated[float, typer.Option(help="How often an interval holds the true difference.")] = 0.95,
    format: Annotated[Format, typer.Option("--format", "-f", help="How to print the answer.")] = Format.table,
) -> None:
    """Compare models and merges in pairs, over the seeds and examples that they share.

    Says which is better, by how much, with a confidence interval, a p-value, an effect
    size and how often it wins. A merge with sweeps is taken at its best point, unless you
    name one.

    Example: [bold]compat compare router average --metric loss[/bold]
    """
    from compat_spec.errors import UsageError
    from compat_spec.report.compare import compare, words
    from compat_spec.report.compare.names import settings
    from compat_spec.results import open_results

    if not 0.5 <= level < 1:
        raise UsageError(f"--level {level:g} is none: give a share such as 0.95")
    chosen = settings(",".join(where or ()), "--where")
    found = compare(
        open_results(results, create=False),
        models or [],
        run=run,
        metric=metric,
        task=task,
        split=split,
        where=chosen if at is None else {**chosen, "step": at},
        against=against,
        correction=correction.value,
        level=level,
    )
    if format is not Format.table:
        sys.stdout.writelines(FORMATS[format](words.COLUMNS, words.rows(found)))
        return
    _print(found)


def _print(found: Compared) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from compat_spec.report.compare import words

    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 10_000  # whoever reads a pipe wants whole lines
    for sentence in words.sentences(found):
        console.print(sentence)
    narrow = console.width < ROOMY
    headings, rows = words.table(found, narrow=narrow)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        name = heading in ("A", "B")
        table.add_column(heading, justify="left" if name else "right", overflow="fold", no_wrap=not name)
    for row in rows:
        table.add_row(*row)
    measure = found.measure
    console.print(Text(f"\n{measure.metric} on {measure.task} ({measure.split} split)", style="bold"))
    console.print(table)
    console.print()
    for note in words.notes(found, narrow=narrow):
        console.print(note, style="dim")
