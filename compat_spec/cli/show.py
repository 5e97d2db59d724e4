"""`compat show`: one run, from its spec to its scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from compat_spec.cli.options import DEFAULT_RESULTS, ResultsUrl, RunName
from compat_spec.cli.runs import STYLES, ago, started
from compat_spec.cli.words import size_in_words, time_in_words

if TYPE_CHECKING:
    from compat_spec.results import ModelRow, Results, Run, StepRow


def show(
    run: RunName = "last",
    results: ResultsUrl = DEFAULT_RESULTS,
    steps: Annotated[bool, typer.Option("--steps", help="List every step, with its time and memory.")] = False,
    spec: Annotated[
        bool, typer.Option("--spec", help="Print the run's whole spec, as YAML, and nothing else.")
    ] = False,
) -> None:
    """Show a run: where it came from, how it ended, its tasks and models, and its scores, best first.

    Example: [bold]compat show last --steps[/bold]
    """
    from compat_spec.report.leaderboard import closing_table
    from compat_spec.results import open_results

    opened = open_results(results, create=False)
    found = opened.run(run)
    if spec:
        typer.echo(found.spec_text, nl=not found.spec_text.endswith("\n"))
        return
    console = Console(highlight=False, markup=False)
    _show_header(console, found)
    _show_parts(console, opened, found)
    console.print(closing_table(opened, found.id))
    recorded = opened.steps(found.id)
    if failed := [step for step in recorded if step.status == "failed"]:
        console.print("\nfailed steps", style="bold")
        for step in failed:
            console.print(f"{step.label}: {step.error or 'no message'}", style="red", soft_wrap=True)
    if steps:
        console.print()
        console.print(_step_table(recorded))


def _show_header(console: Console, run: Run) -> None:
    console.print(f"{run.experiment}, run {run.id}: {run.status}", style=f"bold {STYLES[run.status]}".strip())
    took = "" if run.seconds is None else f", took {time_in_words(run.seconds)}"
    order = ("computed", "reused", "failed", "skipped")
    facts = {
        "spec": run.spec_path + (f", commit {run.commit[:12]}{'+' * run.commit.endswith('+')}" if run.commit else ""),
        "command": run.command,
        "started": f"{started(run)}, {ago(run)} ago{took}",
        "on": f"{run.host}, {run.device}, executor {run.executor}",
        "with": ", ".join(f"{name} {version}" for name, version in run.versions.items()),
        "sweeps": ", ".join(run.parameters),
        "steps": ", ".join(f"{run.steps[status]} {status}" for status in order if run.steps.get(status)),
        "error": run.error or "",
    }
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for name, value in facts.items():
        if value:
            table.add_row(name, value)
    console.print(table)


def _show_parts(console: Console, results: Results, run: Run) -> None:
    tasks = [
        (task.name, task.use, ", ".join(f"{count:,} {split}" for split, count in task.examples.items()))
        for task in results.tasks(run.id)
    ]
    models = [(model.name, model.role, _origin(model)) for model in results.models(run.id)]
    for title, columns, rows in (
        ("tasks", ("name", "use", "examples"), tasks),
        ("models and merges", ("name", "role", "what"), models),
    ):
        if rows:
            console.print(f"\n{title}", style="bold")
            console.print(_plain_table(columns, rows))


def _origin(model: ModelRow) -> str:
    if model.experts:
        return f"{model.use} of {', '.join(model.experts)}"
    return " ".join(part for part in (model.use, model.parent and f"from {model.parent}") if part)


def _step_table(steps: Sequence[StepRow]) -> Table:
    """Where a step was computed, and its memory on a GPU, are shown where they say something."""
    columns: dict[str, Callable[[StepRow], str]] = {
        "step": lambda step: step.fingerprint[:12],
        "kind": lambda step: step.kind,
        "what": lambda step: step.label,
        "status": lambda step: step.status,
        "took": lambda step: "" if step.seconds is None else time_in_words(step.seconds),
        "CPU": lambda step: "" if step.cpu_seconds is None else time_in_words(step.cpu_seconds),
        "memory": lambda step: "" if step.peak_bytes is None else size_in_words(step.peak_bytes),
        "on GPU": lambda step: "" if step.gpu_peak_bytes is None else size_in_words(step.gpu_peak_bytes),
        "where": lambda step: " ".join(filter(None, (step.host, step.device))),
    }
    if all(step.gpu_peak_bytes is None for step in steps):
        del columns["on GPU"]
    if len({(step.host, step.device) for step in steps}) == 1:
        del columns["where"]
    rows = [[column(step) for column in columns.values()] for step in steps]
    return _plain_table(list(columns), rows, right=("took", "CPU", "memory", "on GPU"))


def _plain_table(columns: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[str] = ()) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table
