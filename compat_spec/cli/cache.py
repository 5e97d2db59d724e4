"""`compat cache ls|verify|gc`: look after the folder of artifacts."""

from __future__ import annotations

import re
import time
from collections import defaultdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from compat_spec.cli.options import DEFAULT_STORE, StoreFolder
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
    table = Table(box=None, pad_edge=False, header_style="bold")
    if steps:
        for column in ("artifact", "kind", "what", "size", "took", "last used"):
            right = column in ("size", "took")
            table.add_column(column, no_wrap=column != "what", justify="right" if right else "left")
        for one in sorted(manifests, key=lambda one: one.created):
            used = time_in_words(time.time() - opened.last_used(one.fingerprint))
            took = f"{one.seconds:.1f} s"
            table.add_row(one.fingerprint[:12], one.kind, one.label, size_in_words(one.size), took, f"{used} ago")
    else:
        for column in ("kind", "artifacts", "size", "took"):
            table.add_column(column, justify="left" if column == "kind" else "right")
        kinds: dict[str, list[Manifest]] = defaultdict(list)
        for manifest in manifests:
            kinds[manifest.kind].append(manifest)
        for kind, of_kind in [*sorted(kinds.items()), ("all", manifests)]:
            size = size_in_words(sum(one.size for one in of_kind))
            table.add_row(kind, str(len(of_kind)), size, time_in_words(sum(one.seconds for one in of_kind)))
    console.print(table)
    if broken := len(found) - len(manifests):
        console.print(f"{broken} more cannot be read; see compat cache verify", style="red")


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


@app.command(epilog="Example: compat cache gc --older-than 30d")
def gc(
    store: StoreFolder = DEFAULT_STORE,
    older_than: Annotated[
        str, typer.Option(help="Remove artifacts that no run has used for so long: 12h, 30d, 4w; 0d is all of them.")
    ] = "30d",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and remove nothing.")] = False,
) -> None:
    """Remove artifacts that have not been used for a while, and what killed runs left behind."""
    from compat_spec.errors import CompatError, UsageError
    from compat_spec.store import open_store

    match = re.fullmatch(r"(\d+(?:\.\d+)?)([mhdw])", older_than)
    if match is None:
        raise UsageError(f"--older-than {older_than}: not a time; write 12h, 30d or 4w")
    limit = time.time() - float(match[1]) * SECONDS[match[2]]
    opened = open_store(store)
    if opened.others_use_it():
        raise CompatError(f"a run is using the store {store}; clear it when the run has ended")
    old = opened.unused_since(limit)
    manifests = opened.manifests()
    size = sum(manifest.size for fingerprint in old if (manifest := manifests[fingerprint]) is not None)
    if not dry_run:
        for fingerprint in old:
            opened.remove(fingerprint)
        opened.clear_leftovers(limit)
    typer.echo(f"{'would remove' if dry_run else 'removed'} {counted(len(old), 'artifact')}, {size_in_words(size)}")
