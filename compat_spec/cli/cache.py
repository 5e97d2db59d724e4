"""`compat cache ls|du|verify|gc`: look after the folder of artifacts."""

from __future__ import annotations

import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import nullcontext
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from compat_spec.cli.options import DEFAULT_RESULTS, DEFAULT_STORE, ResultsUrl, StoreFolder
from compat_spec.cli.runs import ago
from compat_spec.cli.words import counted, size_in_words, time_in_words

app = typer.Typer(help="List, check and clear the folder of artifacts.", no_args_is_help=True)

SECONDS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


@app.command("ls", epilog="Example: compat cache ls --steps")
def ls(
    store: StoreFolder = DEFAULT_STORE,
    steps: Annotated[bool, typer.Option("--steps", help="List every artifact.")] = False,
) -> None:
    """Show what the store holds: how many artifacts of each kind, and how large they are."""
    from compat_spec.store import Manifest, open_store

    opened = open_store(store)
    found = opened.manifests().values()
    manifests = [manifest for manifest in found if manifest is not None]
    console = Console(highlight=False, markup=False)
    if steps:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in ("artifact", "kind", "what", "size", "took", "last used"):
            right = column in ("size", "took")
            table.add_column(column, no_wrap=column != "what", justify="right" if right else "left")
        for one in sorted(manifests, key=lambda one: one.created):
            used = time_in_words(time.time() - opened.last_used(one.fingerprint))
            took = f"{one.seconds:.1f} s"
            table.add_row(one.fingerprint[:12], one.kind, one.label, size_in_words(one.size), took, f"{used} ago")
    else:
        table = _table("kind", "artifacts", "size", "took")
        kinds: dict[str, list[Manifest]] = defaultdict(list)
        for manifest in manifests:
            kinds[manifest.kind].append(manifest)
        for kind, of_kind in [*sorted(kinds.items()), ("all", manifests)]:
            size = size_in_words(sum(one.size for one in of_kind))
            table.add_row(kind, str(len(of_kind)), size, time_in_words(sum(one.seconds for one in of_kind)))
    console.print(table)
    if broken := len(found) - len(manifests):
        console.print(f"{broken} more cannot be read; see compat cache verify", style="red")


@app.command(epilog="Example: compat cache du")
def du(store: StoreFolder = DEFAULT_STORE, results: ResultsUrl = DEFAULT_RESULTS) -> None:
    """Show where the space goes: the parts of the store, and what each run has in it.

    `its own` is what nothing else in the results needs: what `gc` could free if the run were not kept.
    """
    from compat_spec.errors import CompatError
    from compat_spec.results import open_results
    from compat_spec.store import open_store

    opened = open_store(store)
    console = Console(highlight=False, markup=False)
    parts = _table("what", "size")
    sizes = opened.space()
    for what, size in [*sizes.items(), ("all", sum(sizes.values()))]:
        parts.add_row(what, size_in_words(size))
    console.print(parts)
    try:
        history = open_results(results, create=False)
    except CompatError:  # without results, there is nothing to say of runs
        return
    of_artifact = {one: manifest.size for one, manifest in opened.manifests().items() if manifest is not None}
    of_runs = [
        (run, of_artifact.keys() & {step.fingerprint for step in history.steps(run.id)}) for run in history.runs()
    ]
    users = Counter(fingerprint for _, fingerprints in of_runs for fingerprint in fingerprints)
    table = _table("run", "experiment", "ago", "artifacts", "size", "its own", left=2)
    for run, fingerprints in of_runs:
        size = sum(of_artifact[one] for one in fingerprints)
        own = sum(of_artifact[one] for one in fingerprints if users[one] == 1)
        table.add_row(run.id, run.experiment, ago(run), str(len(fingerprints)), size_in_words(size), size_in_words(own))
    unknown = [one for one in of_artifact if one not in users]
    left = size_in_words(sum(of_artifact[one] for one in unknown))
    table.add_row("none", "", "", str(len(unknown)), left, left)
    console.print()
    console.print(table)


def _table(*columns: str, left: int = 1) -> Table:
    """Whose first `left` columns are words, and the others numbers."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index < left else "right", no_wrap=True)
    return table


@app.command(epilog="Example: compat cache verify")
def verify(
    store: StoreFolder = DEFAULT_STORE,
    remove: Annotated[bool, typer.Option("--remove", help="Remove what is broken, to be made again.")] = False,
) -> None:
    """Compare every file of the store with its checksum. Exit status 1 when something is wrong."""
    from compat_spec.store import open_store

    opened = open_store(store)
    broken = 0
    count = 0
    for fingerprint in opened:
        count += 1
        problems = opened.verify(fingerprint)
        for problem in problems:
            typer.echo(problem)
        if problems:
            broken += 1
            if remove:
                opened.remove(fingerprint)
    typer.echo(
        f"{counted(count, 'artifact')}, {broken or 'none'} broken" + (" and removed" if broken and remove else "")
    )
    if broken and not remove:
        typer.echo("compat cache verify --remove takes them away; the next run makes them again")
        raise typer.Exit(1)


@app.command(epilog="Example: compat cache gc --older-than 7d --keep-run last")
def gc(
    store: StoreFolder = DEFAULT_STORE,
    older_than: Annotated[
        str, typer.Option(help="Remove artifacts that no run has used for so long: 12h, 30d, 4w; 0d is all of them.")
    ] = "30d",
    keep_run: Annotated[
        list[str] | None,
        typer.Option(metavar="RUN", help="Keep what this run is made of, however old: its id, last, or an experiment."),
    ] = None,
    results: ResultsUrl = DEFAULT_RESULTS,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and remove nothing.")] = False,
) -> None:
    """Remove artifacts that have not been used for a while, and what killed runs left behind.

    What a run needs that is under way is kept.
    """
    from compat_spec.errors import UsageError
    from compat_spec.store import open_store

    match = re.fullmatch(r"(\d+(?:\.\d+)?)([mhdw])", older_than)
    if match is None:
        raise UsageError(f"--older-than {older_than}: not a time; write 12h, 30d or 4w")
    limit = time.time() - float(match[1]) * SECONDS[match[2]]
    opened = open_store(store)
    keep = _steps_of_runs(results, keep_run or ())
    with nullcontext() if dry_run else opened.clearing():
        needed = opened.needed_by_users()
        old = opened.unused_since(limit, keep | (needed or set()))
        manifests = opened.manifests()
        size = sum(manifest.size for fingerprint in old if (manifest := manifests[fingerprint]) is not None)
        if not dry_run:
            for fingerprint in old:
                opened.remove(fingerprint)
            if needed is None:
                opened.clear_leftovers(limit)
    typer.echo(f"{'would remove' if dry_run else 'removed'} {counted(len(old), 'artifact')}, {size_in_words(size)}")
    if needed is not None:
        typer.echo("a run is under way: what it needs is kept, and leftovers of killed runs, until it has ended")


def _steps_of_runs(results: str, runs: Iterable[str]) -> set[str]:
    """The fingerprints of all steps of these runs."""
    from compat_spec.results import open_results

    wanted = list(runs)
    if not wanted:
        return set()
    opened = open_results(results, create=False)
    return {step.fingerprint for run in wanted for step in opened.steps(opened.run(run).id)}
