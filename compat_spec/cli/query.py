"""`compat query`: a question in SQL to the results."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import StrEnum
from itertools import islice
from typing import Annotated, Any, TypeAlias

import typer
from rich.cells import cell_len

from compat_spec.cli.options import DEFAULT_RESULTS, ResultsUrl

Columns: TypeAlias = Sequence[str]
Rows: TypeAlias = Iterable[Sequence[Any]]


class Format(StrEnum):
    table = "table"
    csv = "csv"
    json = "json"
    markdown = "markdown"


def query(
    sql: Annotated[str, typer.Argument(help="One SELECT.", metavar="SQL", show_default=False)],
    results: ResultsUrl = DEFAULT_RESULTS,
    format: Annotated[Format, typer.Option("--format", "-f", help="How to print the answer.")] = Format.table,
    limit: Annotated[int | None, typer.Option(min=0, help="Print so many rows at most.", show_default="all")] = None,
) -> None:
    """Ask the results a question in SQL. Nothing is ever changed.

    The views show the newest run of each experiment, with a column for each swept
    parameter: accuracy, loss, perplexity, answers, cka, routing, leaderboard and
    critical_steps. Every run is in all_scores and all_similarities.

    Example: [bold]compat query "SELECT merge, avg(value) AS loss FROM loss GROUP BY merge ORDER BY loss"[/bold]
    """
    from compat_spec.results import open_results

    with open_results(results, create=False).stream(sql) as (columns, rows):
        for line in FORMATS[format](columns, islice(rows, limit)):
            sys.stdout.write(line)


def _table(columns: Columns, rows: Rows) -> Iterator[str]:
    kept = list(rows)
    texts = [list(columns), *([_text(value) for value in row] for row in kept)]
    widths = [max(map(cell_len, column)) for column in zip(*texts, strict=True)]
    right = [
        any(isinstance(value, int | float) for value in column)
        and all(value is None or isinstance(value, int | float) for value in column)
        for column in zip(*kept, strict=True)
    ] or [False] * len(columns)
    for line in texts:
        cells = zip(line, widths, right, strict=True)
        padded = (
            " " * (width - cell_len(text)) + text if to_right else text + " " * (width - cell_len(text))
            for text, width, to_right in cells
        )
        yield "  ".join(padded).rstrip() + "\n"


def _markdown(columns: Columns, rows: Rows) -> Iterator[str]:
    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"

    yield line(map(_text, columns))
    yield line("---" for _ in columns)
    for row in rows:
        yield line(map(_text, row))


def _csv(columns: Columns, rows: Rows) -> Iterator[str]:
    lines: list[str] = []

    class Lines:
        def write(self, line: str) -> None:
            lines.append(line)

    writer = csv.writer(Lines(), lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow(row)
        yield lines.pop(0)
    yield from lines


def _json(columns: Columns, rows: Rows) -> Iterator[str]:
    """A list of objects, one to a line."""
    names = [json.dumps(name, ensure_ascii=False) for name in _unique(columns)]
    start = "["
    for row in rows:
        pairs = ", ".join(f"{name}: {_json_value(value)}" for name, value in zip(names, row, strict=True))
        yield f"{start}\n  {{{pairs}}}"
        start = ","
    yield "[]\n" if start == "[" else "\n]\n"


FORMATS: dict[Format, Callable[[Columns, Rows], Iterator[str]]] = {
    Format.table: _table,
    Format.csv: _csv,
    Format.json: _json,
    Format.markdown: _markdown,
}


def _text(value: Any) -> str:
    """A value for people: six digits, nothing for NULL, one line."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _json_value(value: Any) -> str:
    if isinstance(value, float) and math.isinf(value):  # JSON has no word for it, but numbers of any size
        return "1e999" if value > 0 else "-1e999"
    return json.dumps(value, ensure_ascii=False, default=str)


def _unique(columns: Columns) -> list[str]:
    """Names for the keys of an object: a repeated one gets a number, as in `value`, `value_2`."""
    names: list[str] = []
    for column in columns:
        number = 1
        name = column
        while name in names:
            number += 1
            name = f"{column}_{number}"
        names.append(name)
    return names
