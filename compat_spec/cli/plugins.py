"""`compat plugins list|show`: what is installed, what it does, what is broken."""

from __future__ import annotations

import inspect
import re
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

OURS = "compat-spec"
"""The distribution whose plugins are listed without saying where they come from."""

app = typer.Typer(help="List the installed components, and show what one does and takes.", no_args_is_help=True)


@app.command("list", epilog="Example: compat plugins list merges")
def list_(
    kind: Annotated[
        str | None,
        typer.Argument(help="models, trainers, tasks, merges, metrics, executors or sinks; all when left out."),
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
    for name in [kind] if kind else kinds:
        table.add_row(name, style="bold")
        for plugin in registry.plugins(f"compat.{name}"):
            summary = f"broken: {plugin.error}" if plugin.error else plugin.summary
            if plugin.distribution != OURS or plugin.error:
                summary += f" [{plugin.distribution} {plugin.distribution_version}]"
            table.add_row(f"  {plugin.name}", summary, style="red" if plugin.error else None)
    console.print(table)
    console.print("\ncompat plugins show NAME tells more of one.", style="dim")


@app.command(epilog="Example: compat plugins show routing")
def show(name: Annotated[str, typer.Argument(help="The name that a spec gives in `use:`.")]) -> None:
    """Show a plugin: what it does, its source, and its parameters with types, defaults and meaning."""
    from compat_spec import registry

    found = [registry.plugin(space, name) for space in registry.CONTRACTS if name in registry.names(space)]
    if not found:
        raise registry.PluginError(_unknown(name))
    console = Console(highlight=False, markup=False)
    for plugin in found:
        kind = plugin.namespace.removeprefix("compat.").removesuffix("s")
        console.print(f"{plugin.name} ({kind}), from {plugin.distribution} {plugin.distribution_version}", style="bold")
        console.print(plugin.target, style="dim")
        if plugin.component is None:
            console.print(f"broken: {plugin.error}", style="red")
            continue
        console.print(f"\n{_flowing(inspect.getdoc(plugin.component) or '')}\n")
        console.print(_parameters(plugin.component))


def _flowing(text: str) -> str:
    """A docstring whose paragraphs are one line each, to be wrapped at the width of the terminal."""
    paragraphs = text.split("\n\n")
    return "\n\n".join(block if "\n " in block else block.replace("\n", " ") for block in paragraphs)


def _parameters(component: Any) -> Table:
    from compat_spec.spec.schema import parameters_schema

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("parameter", no_wrap=True)
    table.add_column("type", overflow="fold")
    table.add_column("default", overflow="fold")
    table.add_column("meaning", overflow="fold", ratio=1)
    schema = parameters_schema(component)
    required = schema.get("required", [])
    for name, field in schema.get("properties", {}).items():
        default = "required" if name in required else _show(field.get("default"))
        table.add_row(name, _type(field, schema.get("$defs", {})), default, field.get("description", ""))
    return table


def _type(field: Any, definitions: Any) -> str:
    """A JSON Schema type in words."""
    if "$ref" in field:
        return _type(definitions[field["$ref"].rpartition("/")[2]], definitions)
    options = field.get("anyOf", field.get("oneOf"))
    if options is not None:
        if any(re.search(r"/Gradient\d*$", option.get("$ref", "")) for option in options):  # a `PerTensor`
            return f"{_type(options[0], definitions)} per tensor"
        words = list(dict.fromkeys(_type(option, definitions) for option in options))
        if words[1:] == [f"list of {words[0]}"] and words[0].endswith(" per tensor"):  # a `PerModel`
            return f"{words[0]}, or list with one per model"
        return " or ".join(words)
    if "enum" in field:
        return " | ".join(map(str, field["enum"]))
    if "const" in field:
        return str(field["const"])
    match field.get("type"):
        case "array":
            items = field.get("items", {})
            return f"list of {_type(items, definitions)}" if items else "list"
        case "object":
            inner = field.get("additionalProperties")
            return f"mapping to {_type(inner, definitions)}" if isinstance(inner, dict) else "mapping"
        case str(name):
            return name
    return "any"


def _show(default: Any) -> str:
    import json

    return "" if default is None else json.dumps(default)


def _unknown(name: str) -> str:
    from difflib import get_close_matches

    from compat_spec import registry

    known = sorted({known for space in registry.CONTRACTS for known in registry.names(space)})
    close = get_close_matches(name, known, n=1)
    advice = f"did you mean {close[0]!r}?" if close else "see compat plugins list"
    return f"no plugin {name!r} is installed; {advice}"
