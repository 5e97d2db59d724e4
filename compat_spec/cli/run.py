"""`compat run`: from a spec to rows in the results."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from compat_spec.cli import completion
from compat_spec.cli.executors import make_executor
from compat_spec.cli.options import DEFAULT_RESULTS, DEFAULT_STORE, Overrides, ResultsUrl, SpecPath, StoreFolder
from compat_spec.cli.sinks import SinkTexts, make_sinks
from compat_spec.cli.terminal import display
from compat_spec.cli.words import counted, time_in_words

if TYPE_CHECKING:
    from compat_spec.run import RunSummary


def run(
    spec: SpecPath,
    set_: Overrides = None,
    devices: Annotated[
        str,
        typer.Option(
            "--device",
            "--devices",
            help="auto (every GPU, or else the CPU), or some of cpu, cuda, cuda:1, mps with commas between.",
        ),
    ] = "auto",
    executor: Annotated[
        str,
        typer.Option(help="Where steps run: the name of an executor plugin.", autocompletion=completion.executors),
    ] = "local",
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes that run steps at once: by default one per GPU, and one on a CPU."),
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="Where the cluster is, for an executor that has one: host:port, or auto.")
    ] = None,
    with_: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            metavar="NAME=VALUE",
            help="A parameter of the executor, see compat plugins show: --with gpus=1. May be repeated.",
        ),
    ] = None,
    retries: Annotated[
        int, typer.Option(min=0, help="How often a step is tried again when the process that ran it was lost.")
    ] = 2,
    store: StoreFolder = DEFAULT_STORE,
    results: ResultsUrl = DEFAULT_RESULTS,
    checkpoint_every: Annotated[
        float,
        typer.Option(min=0, metavar="SECONDS", help="How often a training is saved, to go on after a crash."),
    ] = 60.0,
    sink: SinkTexts = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Run an experiment: compute every step that the store does not have yet, and write the results.

    A run that was stopped, by Ctrl-C or by a crash, goes on where it was when it is started again.

    Example: [bold]compat run specs/routing.yaml --set seeds=[0,1,2][/bold]
    """
    from compat_spec.spec import load

    loaded = load(spec, set_ or ())
    sinks = make_sinks(sink or ())

    # only now the imports that take seconds: a mistake in a spec shows at once
    from compat_spec.plan import make_plan
    from compat_spec.report.leaderboard import closing_table, hint
    from compat_spec.results import open_results, without_password
    from compat_spec.run import resolve_devices, run_plan
    from compat_spec.store import open_store

    where = make_executor(executor, {"workers": workers, "address": address}, with_ or ())
    if devices != "auto":
        resolve_devices(devices)  # a device that is not there shows before the plan is made and the database
    planned = make_plan(loaded)
    opened = open_store(store)
    database = open_results(results, create=True)
    console = Console()
    with display(console, quiet=quiet) as listener:
        summary = run_plan(
            planned,
            opened,
            database,
            where,
            devices=devices,
            retries=retries,
            listener=listener,
            checkpoint_every=checkpoint_every,
            command=shlex.join(["compat", *map(without_password, sys.argv[1:])]),
            sinks=sinks,
        )
    errors = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)
    for failure in summary.failed:
        errors.print(f"failed: {failure.step.label}: {failure.error}")
    if not quiet:
        console.print(_closing_words(summary), markup=False, highlight=False, soft_wrap=True)
        if not summary.left:
            console.print(closing_table(database, summary.run_id))
            console.print(hint(without_password(results)), markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(summary.exit_status)


def _closing_words(summary: RunSummary) -> str:
    """`computed 43 steps in 2 min 3 s, 12 were in the store`."""
    took = time_in_words(summary.seconds)
    if not (summary.computed or summary.failed or summary.left):
        return f"Nothing to compute: all {summary.reused} steps are in the store ({took})."
    parts = [f"computed {counted(summary.computed, 'step')} in {took}"]
    if summary.reused:
        parts.append(f"{summary.reused} were in the store")
    if summary.failed:
        parts.append(f"{len(summary.failed)} failed")
    if summary.skipped:
        parts.append(f"{summary.skipped} skipped that need what failed")
    words = ", ".join(parts).capitalize() + "."
    if summary.left:
        words += f" Stopped with {counted(summary.left, 'step')} left: the same command goes on from here."
    return words
