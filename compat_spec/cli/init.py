"""`compat init`: a first spec for someone's own models, after a few questions."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Annotated

import typer

from compat_spec.cli.words import counted


def init(
    file: Annotated[Path, typer.Argument(help="The spec to write.", metavar="FILE")] = Path("mine.yaml"),
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]FOLDER|hub:ID", help="A model to combine, at least two: --model law=models/law --model …"
        ),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(metavar="FOLDER|hub:ID|none", help="What the models were fine-tuned from; none when unknown."),
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]FILE",
            help="A file of examples, .jsonl or .txt; the first is what the combination should be good at.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Write a first spec for your own models, with comments, and check it. What no option says is asked.

    Example: [bold]compat init --model models/law --model models/code --base models/base --task qa.jsonl[/bold]
    """
    from compat_spec.cli.starter import HUB, Starter, write_starter
    from compat_spec.errors import UsageError

    if file.exists() and not force:
        raise UsageError(f"{file} is there already: name another file, or add --force")
    if not file.absolute().parent.is_dir():
        raise UsageError(f"there is no folder {file.parent}")
    models = _named(model or _ask_for_models(_is_model))
    if len(models) < 2:
        raise UsageError("there is one model only, and two at least can be combined: --model a second one")
    for given in models.values():
        if (wrong := _is_model(given)) is not None:
            raise UsageError(wrong)
    if "base" in models:
        raise UsageError("base is what the spec calls the base: --model needs another name")
    base = base or _ask(f"What they were fine-tuned from, a folder or {HUB}ID (Enter: unknown)", _is_base, "none")
    tasks = _named(task or [_ask("Examples of what the combination should be good at, .jsonl or .txt", _is_file)])
    for wrong in (_is_base(base), *map(_is_file, tasks.values())):
        if wrong is not None:
            raise UsageError(wrong)
    starter = Starter(name=_experiment(file), models=models, base=None if base == "none" else base, tasks=tasks)
    written = write_starter(starter, file)
    file.write_text(written.text, "utf-8")
    typer.echo(f"{file} is written and checked: {counted(len(models), 'model')}, {counted(len(tasks), 'task')}.")
    for name, why in written.left_out.items():
        typer.echo(f"{name} stands in it as a comment, for it does not go with these models: {why}")
    typer.echo(f"Next: read it, then compat plan {file}, and compat run {file}")


def _experiment(file: Path) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", file.stem) or "mine"


def _named(given: Collection[str]) -> dict[str, str]:
    """`NAME=PLACE`, or only the place, by name."""
    from compat_spec.cli.starter import name_of
    from compat_spec.errors import UsageError

    found: dict[str, str] = {}
    for one in given:
        name, equals, place = one.partition("=")
        if not equals or not re.fullmatch(r"[\w-]+", name):  # a path may have an = in it
            name, place = name_of(one, found), one
        if name in found:
            raise UsageError(f"{name} is named twice")
        found[name] = place
    return found


# ------------------------------------------------------------------------------------------------------ questions


def _ask_for_models(check: Callable[[str], str | None]) -> list[str]:
    typer.echo("The fine-tuned models to combine: a folder each, or hub:ID. Enter ends the list.")
    found: list[str] = []
    while True:
        optional = len(found) >= 2
        answer = _ask(f"  Model {len(found) + 1}", check, "" if optional else None)
        if not answer:
            return found
        found.append(answer)


def _ask(question: str, check: Callable[[str], str | None], default: str | None = None) -> str:
    """Ask until the answer is right. `default` is what Enter says; without one there must be an answer."""
    from compat_spec.errors import UsageError

    while True:
        try:
            answer: str = typer.prompt(question, default=default or "", show_default=False)
        except typer.Abort:
            raise UsageError("stopped; --model, --base and --task give the answers without questions") from None
        answer = answer.strip() or default or ""
        if not answer and default is not None:
            return ""
        wrong = check(answer) if answer else "an answer is needed"
        if wrong is None:
            return answer
        typer.echo(f"  {wrong}")


def _is_model(given: str) -> str | None:
    """What is wrong with a model that the user named; None when nothing is."""
    from compat_spec.cli.starter import HUB

    place = Path(given).expanduser()
    if given.startswith(HUB):
        return None if len(given) > len(HUB) else "hub: needs an id, such as hub:openai-community/gpt2"
    if not place.is_dir():
        return f"there is no folder {given}; a model of the hub is hub:{given}"
    return None if (place / "config.json").is_file() else f"{given} has no config.json: it is no model of transformers"


def _is_base(given: str) -> str | None:
    return None if given == "none" else _is_model(given)


def _is_file(given: str) -> str | None:
    path = Path(given).expanduser()
    if not path.is_file():
        return f"there is no file {given}"
    return None if path.suffix in (".jsonl", ".txt") else f"{given} is neither .jsonl nor .txt"
