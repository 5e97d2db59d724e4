"""`compat help`: the pages of the documentation, the help of commands, and what plugins do, in the terminal."""

from __future__ import annotations

import os
import re
from typing import Annotated, Any

import typer

from compat_spec.cli import completion


def help_(
    context: typer.Context,
    topic: Annotated[
        list[str] | None,
        typer.Argument(
            help="A page, a command, or the name of a plugin; all pages when left out.",
            show_default=False,
            autocompletion=completion.topics,
        ),
    ] = None,
) -> None:
    """Read about a topic: a page of the documentation, a command, or a plugin.

    Examples: [bold]compat help spec[/bold], [bold]compat help cache gc[/bold], [bold]compat help ties[/bold]
    """
    from compat_spec.cli.pages import pages

    whole = " ".join(topic or ())
    if not whole:
        _list()
    elif whole in pages():
        _read(pages()[whole].text, command=whole if _command(context, [whole]) else None)
    elif (found := _command(context, whole.split())) is not None:
        typer.echo(found)
    elif whole in completion.plugins(""):
        from compat_spec.cli.plugins import show

        show(whole)
    else:
        raise _unknown(whole, context)


def _list() -> None:
    from rich.console import Console
    from rich.table import Table

    from compat_spec.cli.pages import pages

    table = Table(box=None, pad_edge=False, show_header=False)
    for name, page in pages().items():
        table.add_row(f"  {name}", page.title)
    console = Console(highlight=False, markup=False)
    console.print("Pages, to read with compat help NAME:", style="bold")
    console.print(table)
    console.print("\nIt takes the name of a command, too, and of any plugin: compat help run, compat help ties.")


def _read(text: str, command: str | None) -> None:
    """Show a page, through the pager of the user where the output is a terminal."""
    from rich.console import Console
    from rich.markdown import Markdown

    console = Console()
    width = min(console.width, 100)
    if command is not None:
        text += f"\n---\n\n`compat {command} --help` lists the options of the command.\n"
    page = Markdown(_without_links(text), hyperlinks=False)
    if not console.is_terminal:
        console.print(page, width=width)
        return
    os.environ.setdefault("LESS", "-FRX")  # colours, and no pager for what fits on the screen
    with console.pager(styles=True):
        console.print(page, width=width)


def _without_links(text: str) -> str:
    """Links to pages as what to type, and to other files as their names."""
    text = re.sub(r"\[([^\]]*)\]\((?:docs/)?(\w[\w-]*)\.md(?:#[^)]*)?\)", r"\1 (`compat help \2`)", text)
    text = re.sub(r"(?:docs/)?\b[\w-]+\.md \((`compat help [\w-]+`)\)", r"\1", text)  # a link called like its page
    return re.sub(r"\[([^\]]*)\]\((?!https?:)[^)]*\)", r"\1", text)


def _command(context: typer.Context, words: list[str]) -> str | None:
    """The help of a command, or None where there is none of that name."""
    here: Any = context.find_root()
    for word in words:
        command = getattr(here.command, "commands", {}).get(word)
        if command is None:
            return None
        here = type(context)(command, info_name=word, parent=here)
    return str(here.get_help())


def _unknown(topic: str, context: typer.Context) -> Exception:
    from difflib import get_close_matches

    from compat_spec.cli.pages import pages
    from compat_spec.errors import UsageError

    root: Any = context.find_root()
    close = get_close_matches(topic, [*pages(), *root.command.commands, *completion.plugins("")], n=1)
    advice = f"did you mean {close[0]!r}?" if close else "compat help lists the pages"
    return UsageError(f"no page, command or plugin is called {topic!r}; {advice}")
