"""`compat plugins list|show|check|doctor`: what is installed, what it does, what is broken."""

from __future__ import annotations

import inspect
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from compat_spec.cli import completion, plugins_new
from compat_spec.cli.check import check
from compat_spec.cli.doctor import doctor

if TYPE_CHECKING:
    from compat_spec.components import Component
    from compat_spec.registry import Plugin

OURS = "compat-spec"
"""The distribution whose plugins are listed without saying where they come from."""

app = typer.Typer(help="List, show, check and start components.", no_args_is_help=True)
app.command(epilog="Example: compat plugins new merge my-merge")(plugins_new.new)
app.command(no_args_is_help=True, epilog="Example: compat plugins check my_merge, or: check merges")(check)
app.command(epilog="Example: compat plugins doctor")(doctor)


@app.command("list", epilog="Example: compat plugins list merges")
def list_(
    kind: Annotated[
        str | None,
        typer.Argument(
            help="models, trainers, tasks, merges, metrics, executors or sinks; all when left out.",
            autocompletion=completion.kinds,
        ),
    ] = None,
) -> None:
    """List the installed plugins, each with its first line of help; broken ones with their error."""
    from compat_spec import registry
    from compat_spec.errors import UsageError

    kinds = [namespace.removeprefix("compat.") for namespace in registry.CONTRACTS]
    if kind is not None and kind not in kinds:
        raise UsageError(f"{kind!r} is not a kind of plugin; there are {', '.join(kinds)}")
    console = Console(highlight=False, markup=False)
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    clashes = False
    for name in [kind] if kind else kinds:
        table.add_row(name, style="bold")
        for plugin in registry.plugins(f"compat.{name}"):
            summary = f"broken: {plugin.error}" if plugin.error else plugin.summary
            rivals = len(registry.candidates(plugin.namespace, plugin.name)) > 1
            clashes = clashes or rivals
            if plugin.distribution != OURS or plugin.error or rivals:
                summary += f" [{plugin.distribution} {plugin.distribution_version}]"
            table.add_row(f"  {plugin.use}", summary, style="red" if plugin.error else "yellow" if rivals else None)
    console.print(table)
    console.print(f"\nThose without a mark are of {OURS} {version(OURS)}.", style="dim")
    if clashes:
        console.print("Some names are of several distributions; compat plugins doctor says which.", style="yellow")
    console.print("compat plugins show NAME tells more of one.", style="dim")


@app.command(epilog="Example: compat plugins show routing")
def show(
    name: Annotated[
        str,
        typer.Argument(
            help="The name that a spec gives in `use:`, or distribution:name.", autocompletion=completion.plugins
        ),
    ],
) -> None:
    """Show a plugin: what it does, its source, and its parameters with types, defaults and meaning."""
    from compat_spec import installed

    console = Console(highlight=False, markup=False)
    for plugin in found_by(name):
        kind = installed.kind_of(plugin.namespace)
        console.print(f"{plugin.use} ({kind}), from {plugin.distribution} {plugin.distribution_version}", style="bold")
        console.print(plugin.target, style="dim")
        doubt = installed.clash(plugin.namespace, plugin.name)
        if doubt:
            console.print(doubt, style="yellow")
        if plugin.component is None:
            console.print(f"broken: {plugin.error}", style="red")
            continue
        console.print(f"\n{_flowing(inspect.getdoc(plugin.component) or '')}\n")
        console.print(_parameters(plugin.component))


def found_by(name: str) -> list[Plugin]:
    """All plugins that a name, plain or qualified, may mean, of whatever kind.

    Raises:
        PluginError: there is none.
    """
    from compat_spec import registry

    found = [plugin for space in registry.CONTRACTS for plugin in registry.candidates(space, name)]
    if not found:
        raise registry.PluginError(_unknown(name))
    return found


def _flowing(text: str) -> str:
    """A docstring whose paragraphs are one line each, to be wrapped at the width of the terminal."""
    paragraphs = text.split("\n\n")
    return "\n\n".join(block if "\n " in block else block.replace("\n", " ") for block in paragraphs)


def _parameters(component: type[Component]) -> Table:
    from compat_spec.spec.parameters import parameters_of

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("parameter", no_wrap=True)
    table.add_column("type", overflow="fold")
    table.add_column("default", overflow="fold")
    table.add_column("meaning", overflow="fold", ratio=1)
    for one in parameters_of(component):
        table.add_row(one.name, one.type, "required" if one.required else one.default, one.meaning)
    return table


def _unknown(name: str) -> str:
    from difflib import get_close_matches

    from compat_spec import installed, registry

    found = [one for space in registry.CONTRACTS for one in installed.registered(space)]
    known = sorted({one.qualified if ":" in name else one.shortest for one in found})
    close = get_close_matches(name, known, n=1)
    advice = f"did you mean {close[0]!r}?" if close else "see compat plugins list"
    return f"no plugin {name!r} is installed; {advice}"
