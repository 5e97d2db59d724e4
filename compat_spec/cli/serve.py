"""`compat serve`: the results in a browser."""

from __future__ import annotations

from typing import Annotated

import typer

from compat_spec.cli.options import DEFAULT_RESULTS, ResultsUrl


def serve(
    results: ResultsUrl = DEFAULT_RESULTS,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port of this machine; 0 finds a free one.")] = 8001,
    open_: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Show the results in a browser: runs, reports, charts, tables, and any SELECT. Nothing can be changed there.

    It serves this machine only, until Ctrl-C, also while runs are writing.

    Example: [bold]compat serve --open[/bold]
    """
    from compat_spec.serve import serve as serve_results

    serve_results(
        results,
        port,
        ready=lambda address: typer.echo(f"{address} shows {results}, for reading only. Ctrl-C ends it."),
        open_browser=open_,
    )
