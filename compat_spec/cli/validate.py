"""`compat validate`: whether specs are right, without running anything."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from compat_spec.cli.options import Overrides

if TYPE_CHECKING:
    from compat_spec.spec import Spec


def validate(
    specs: Annotated[list[Path], typer.Argument(help="The specs, YAML files.", metavar="SPEC", show_default=False)],
    set_: Overrides = None,
) -> None:
    """Check specs: every mistake of every file at once, with its place. Nothing is run.

    Example: [bold]compat validate specs/routing.yaml --set merges.router.span=2[/bold]
    """
    from compat_spec.spec import SpecError, load

    failed = False
    for path in specs:
        try:
            typer.echo(f"{path}: ok: {_contents(load(path, set_ or ()))}")
        except SpecError as error:
            failed = True
            typer.echo(str(error), err=True)
    if failed:
        raise typer.Exit(SpecError.exit_status)


def _contents(spec: Spec) -> str:
    counts = {
        "task": len(spec.tasks),
        "model": len(spec.models),
        "merge": len(spec.merges),
        "metric": len(spec.metrics),
        "seed": len(spec.seeds),
    }
    return ", ".join(f"{count} {word}" if count == 1 else f"{count} {word}s" for word, count in counts.items())
