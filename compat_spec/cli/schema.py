"""`compat schema`: the JSON Schema of specs, for editors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from compat_spec.errors import CompatError


def schema(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to write; the terminal when left out.")
    ] = None,
) -> None:
    """Print the JSON Schema of specs, with the parameters of all installed plugins.

    An editor with yaml-language-server completes and checks a spec whose first line is
    `# yaml-language-server: $schema=compat.schema.json`.

    Example: [bold]compat schema -o specs/compat.schema.json[/bold]
    """
    from compat_spec.spec.schema import json_schema

    text = json.dumps(json_schema(), indent=2, ensure_ascii=False)
    if output is None:
        typer.echo(text)
        return
    try:
        output.write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        raise CompatError(f"{output} cannot be written: {error.strerror}") from None
