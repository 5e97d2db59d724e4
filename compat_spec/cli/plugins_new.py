"""`compat plugins new`: a project to write a plugin in."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from compat_spec.cli import completion


def new(
    kind: Annotated[
        str,
        typer.Argument(
            help="model, trainer, task, merge, metric, executor or sink.", autocompletion=completion.kinds_to_start
        ),
    ],
    name: Annotated[str, typer.Argument(help="What a spec shall call it in `use:`, such as my-merge.")],
    contract: Annotated[
        str,
        typer.Option(
            help="Of a merge: tensor (of parameters, the default) or module (in feature or output space). Of a metric: "
            "model (of one network, the default) or pair (of the features of two)."
        ),
    ] = "",
    into: Annotated[Path, typer.Option(help="The folder to make the project's folder in.")] = Path(),
) -> None:
    """Write a project with a plugin that works as it stands: code, tests, a spec, and what pip needs."""
    from compat_spec.templates.plugin_project import PluginProject

    folder = PluginProject(kind, name, contract).write(into)
    module = PluginProject(kind, name).module
    where = shlex.quote(str(folder))
    typer.echo(
        f"{folder} is written. Next:\n"
        f"  pip install -e {where}          # once, and again when pyproject.toml changes\n"
        f"  compat plugins show {name}\n"
        f"  python -m pytest {where}\n"
        f"Then make {module}.py yours, and its test. compat help plugins leads from there to a published plugin."
    )
