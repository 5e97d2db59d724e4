"""`compat import`: a spec out of the configuration of another tool."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def import_(
    kind: Annotated[str, typer.Argument(help="The tool: mergekit.", metavar="TOOL", show_default=False)],
    config: Annotated[
        Path, typer.Argument(help="Its YAML file; - is the standard input.", metavar="CONFIG", show_default=False)
    ],
) -> None:
    """Print a spec that does what a configuration of another tool says.

    What a spec cannot say is reported, all at once, each with its place, and nothing is printed.

    Example: [bold]compat import mergekit merge.yml > merge.yaml[/bold]
    """
    from compat_spec.spec.importing import import_spec

    typer.echo(import_spec(kind, config), nl=False)
