"""`compat export`: results as files for other tools."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from compat_spec.cli import completion
from compat_spec.cli.options import DEFAULT_RESULTS, ResultsUrl


class KindName(StrEnum):
    parquet = "parquet"
    csv = "csv"
    duckdb = "duckdb"
    jsonl = "jsonl"


def export(
    to: Annotated[KindName, typer.Option(help="The kind of files.", show_default=False)],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="FOLDER|FILE", help="A folder; for duckdb, a file.", show_default=False),
    ],
    run: Annotated[
        str | None,
        typer.Argument(
            help="The beginning of a run's id, `last`, or the name of an experiment: only that run.",
            metavar="RUN",
            autocompletion=completion.runs,
            show_default="what the views show",
        ),
    ] = None,
    tables: Annotated[bool, typer.Option("--tables", help="The tables, too: runs, steps, models …")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that are there already.")] = False,
    results: ResultsUrl = DEFAULT_RESULTS,
) -> None:
    """Write the views as files, one each, with typed columns and a column for each swept parameter.

    Example: [bold]compat export last --to parquet --out exported[/bold]
    """
    from compat_spec.cli.words import counted
    from compat_spec.results import open_results
    from compat_spec.results.export import export

    found = export(open_results(results, create=False), to.value, out, run=run, tables=tables, force=force)
    width = max(len(one.name) for one in found)
    for one in found:
        typer.echo(f"{one.name:{width}}  {counted(one.rows, 'row')}")
    typer.echo(f"in {out}" + ("" if to is KindName.duckdb else f", as NAME.{to.value}"))
