"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from compat_spec.cli import completion

SpecPath: TypeAlias = Annotated[Path, typer.Argument(help="The spec, a YAML file.", metavar="SPEC", show_default=False)]

Overrides: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="PATH=VALUE", help="Change a value of the spec: --set merges.router.span=2. May be repeated."
    ),
]

StoreFolder: TypeAlias = Annotated[
    str,
    typer.Option(
        "--store",
        metavar="FOLDER|URL",
        envvar="COMPAT_STORE",
        help="The folder of artifacts, or a URL such as s3://bucket/folder; specs, users and machines may share one.",
    ),
]
DEFAULT_STORE = ".compat"

ResultsUrl: TypeAlias = Annotated[
    str,
    typer.Option(
        "--results", envvar="COMPAT_RESULTS", help="The results: a file, or postgresql+psycopg://user@host/database."
    ),
]
DEFAULT_RESULTS = "results.db"

RunName: TypeAlias = Annotated[
    str,
    typer.Argument(
        help="The beginning of a run's id, `last`, or the name of an experiment.",
        metavar="RUN",
        autocompletion=completion.runs,
    ),
]
