"""`compat plot`: the charts of a run as files."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compat_spec.cli.options import DEFAULT_RESULTS, ResultsUrl, RunName
from compat_spec.errors import UsageError

if TYPE_CHECKING:
    from compat_spec.report.figures.figure import Figure

ALL = "all"


def plot(
    chart: Annotated[str, typer.Argument(help="The name of a chart, from --list, or `all`.", metavar="CHART")] = ALL,
    run: RunName = "last",
    results: ResultsUrl = DEFAULT_RESULTS,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="A file that ends in .svg, .png, .pdf, .html or .json (Vega-Lite), or a folder.",
            metavar="FILE|FOLDER",
            show_default="CHART.svg; plots/ for all",
        ),
    ] = None,
    format: Annotated[str, typer.Option("--format", "-f", help="Of the files in a folder.")] = "svg",
    scale: Annotated[float, typer.Option(min=0.1, max=20, help="Pixels of a PNG for each pixel of the chart.")] = 2.0,
    titles: Annotated[bool, typer.Option("--titles/--no-titles", help="Title and caption in the picture.")] = True,
    list_: Annotated[bool, typer.Option("--list", help="Say which charts the run has, and write none.")] = False,
) -> None:
    """Write charts of a run as files for a paper or a talk. Without a name: all of them.

    Example: [bold]compat plot loss-program routing --out loss.pdf --no-titles[/bold]
    """
    from compat_spec.report import NothingToShow, charts
    from compat_spec.report.export import FORMATS, write
    from compat_spec.results import open_results

    opened = open_results(results, create=False)
    found = charts(opened, run)
    if not found:
        raise NothingToShow(f"run {opened.run(run).id} has no numbers to draw yet")
    if list_:
        for name, figure in found.items():
            typer.echo(f"{name:<{max(map(len, found))}}  {figure.title}")
        return
    if format not in FORMATS:
        raise UsageError(f"there is no format {format!r}; there are {', '.join(FORMATS)}")
    for name, path in _files(found, chart, out, format, FORMATS).items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write(found[name], path, scale=scale, titled=titles)
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror}") from None
        typer.echo(str(path))


def _files(
    found: Mapping[str, Figure], chart: str, out: Path | None, format: str, formats: tuple[str, ...]
) -> dict[str, Path]:
    """The file of each chart that is asked for."""
    if chart == ALL:
        if out is not None and out.suffix[1:].lower() in formats:
            raise UsageError(f"{out} is one file for {len(found)} charts; name a folder, or a chart from --list")
        folder = out or Path("plots")
        return {name: folder / f"{name}.{format}" for name in found}
    if chart not in found:
        close = get_close_matches(chart, found, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        there = f"there are {', '.join(found)}\nall charts of a run: compat plot all RUN"
        raise UsageError(f"the run has no chart {chart!r}{hint}\n{there}")
    if out is None:
        return {chart: Path(f"{chart}.{format}")}
    if out.suffix[1:].lower() in formats:
        return {chart: out}
    if out.suffix and not out.is_dir():
        raise UsageError(f"{out} should end in one of .{', .'.join(formats)}")
    return {chart: out / f"{chart}.{format}"}
