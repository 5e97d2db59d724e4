"""`compat report`: a page about a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from compat_spec.cli.options import DEFAULT_RESULTS, ResultsUrl, RunName
from compat_spec.cli.words import size_in_words
from compat_spec.errors import UsageError


def report(
    run: RunName = "last",
    results: ResultsUrl = DEFAULT_RESULTS,
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write.", metavar="FILE")] = Path("report.html"),
    open_it: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Write a page about a run: what is best and how sure that is, pictures, what was asked, what it cost.

    It is one file that holds everything: it opens without a network, and may be
    sent to others or kept with a paper.

    Example: [bold]compat report routing --out routing.html --open[/bold]
    """
    from compat_spec.report import html_report
    from compat_spec.results import open_results

    if out.is_dir():
        raise UsageError(f"{out} is a folder; name a file: --out {out / 'report.html'}")
    page = html_report(open_results(results, create=False), run)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(page, "utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {out}: {error.strerror}") from None
    typer.echo(f"{out} ({size_in_words(len(page.encode()))})")
    if open_it:
        typer.launch(out.absolute().as_uri())
