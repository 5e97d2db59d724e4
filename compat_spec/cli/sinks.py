"""`--sink`: a name, or the notation that a spec has for a component with parameters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from compat_spec.cli import completion

if TYPE_CHECKING:
    from compat_spec.components import Sink

SinkTexts: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--sink",
        metavar="NAME|{use: NAME, …}",
        help="What else gets the numbers, see compat plugins list sinks: --sink wandb, or with parameters "
        "--sink '{use: mlflow, experiment: merging}'. May be repeated.",
        autocompletion=completion.sinks,
    ),
]


def make_sinks(texts: Sequence[str]) -> list[Sink]:
    """The sinks of the options `--sink`, checked to be usable.

    Raises:
        SpecError: no sink of that name is installed, or a parameter does not fit.
        UsageError: two are the same: they would write into each other's files.
        CompatError: one cannot be used: a library is missing.
    """
    if not texts:
        return []
    from compat_spec.components import Sink
    from compat_spec.errors import UsageError
    from compat_spec.run.sinks import check_all
    from compat_spec.spec.problems import Place, Problems
    from compat_spec.spec.single import read_component

    problems = Problems()
    read = [
        read_component(Sink, text, Place(rank, 0, 0, f"--sink {text}"), Path.cwd(), problems)
        for rank, text in enumerate(texts)
    ]
    problems.raise_if_any()
    sinks = [sink for sink in read if sink is not None]
    for rank, (text, sink) in enumerate(zip(texts, sinks, strict=True)):
        if sink in sinks[:rank]:
            raise UsageError(f"--sink {text} is there twice; give the second other parameters")
    check_all(sinks)
    return sinks
