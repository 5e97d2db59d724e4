"""`compat version`: the versions that decide numbers."""

from __future__ import annotations

import platform

import typer

LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors", "pydantic", "sqlalchemy")


def version() -> None:
    """Print the versions of compat, Python and the libraries that decide numbers."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as version_of

    typer.echo(f"compat {version_of('compat-spec')}")
    typer.echo(f"python {platform.python_version()} on {platform.platform()}")
    for library in LIBRARIES:
        try:
            typer.echo(f"{library} {version_of(library)}")
        except PackageNotFoundError:
            typer.echo(f"{library} is not installed")
