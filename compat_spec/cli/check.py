"""`compat plugins check`: whether installed components keep their contract."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import typer
from rich.console import Console
from rich.padding import Padding

from compat_spec.cli import completion

if TYPE_CHECKING:
    from compat_spec.registry import Plugin
    from compat_spec.testing import Outcome

Status: TypeAlias = Literal["passed", "failed", "skipped"]

MARKS: Mapping[Status, tuple[str, str]] = {"passed": ("✓", "green"), "failed": ("✗", "red"), "skipped": ("-", "yellow")}


def check(
    names: Annotated[
        list[str],
        typer.Argument(
            help="What `use:` says, or a kind (merges) for all of it.",
            metavar="NAME...",
            show_default=False,
            autocompletion=completion.kinds_and_plugins,
        ),
    ],
    with_: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            metavar="NAME=VALUE",
            help="A parameter to check it with; VALUE is YAML. Required ones are made up where they can be.",
        ),
    ] = None,
) -> None:
    """Run the conformance kit on installed components: whether each keeps its contract, and what it does otherwise.

    The exit status is 1 when a check fails. What the checks are: docs/testing-plugins.md.
    """
    from compat_spec.cli.words import counted
    from compat_spec.testing.imports import import_together

    parameters = _parameters(with_ or ())
    plugins = list(_named(names))
    console = Console(highlight=False, markup=False)
    if len(plugins) > 1:
        import_together({plugin.component.__module__ for plugin in plugins if plugin.component is not None})
    marks = Counter(_check(plugin, parameters, console, briefly=len(plugins) > 1) for plugin in plugins)
    failed = marks["failed"]
    if len(plugins) > 1:
        verdict = f"{failed} of them do not keep their contract" if failed else "all keep their contract"
        if marks["skipped"]:
            verdict += f", as far as they could be checked: {marks['skipped']} could not, for lack of parameters"
        console.print(
            f"\n{counted(len(plugins), 'component')}: {verdict}", style="bold red" if failed else "bold green"
        )
    if failed:
        raise typer.Exit(1)


def _named(names: Sequence[str]) -> Iterator[Plugin]:
    """The plugins of names and kinds, each once."""
    from compat_spec import registry
    from compat_spec.cli.plugins import found_by

    seen = set()
    for name in names:
        kind = f"compat.{name}"
        for plugin in registry.plugins(kind) if kind in registry.CONTRACTS else found_by(name):
            if (plugin.namespace, plugin.use) not in seen:
                seen.add((plugin.namespace, plugin.use))
                yield plugin


def _parameters(pairs: Sequence[str]) -> Mapping[str, Any]:
    import yaml

    from compat_spec.errors import UsageError

    found = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator:
            raise UsageError(f"--with {pair}: write NAME=VALUE")
        try:
            found[name] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UsageError(f"--with {pair}: {value!r} is no YAML: {' '.join(str(error).split())}") from error
    return found


def _check(plugin: Plugin, parameters: Mapping[str, Any], console: Console, *, briefly: bool) -> Status:
    """Check one component, and print how it went: each check, or what is out of the ordinary.

    It is `skipped` when it cannot be made, so that hardly anything was checked.
    """
    from compat_spec.cli.words import counted
    from compat_spec.installed import kind_of
    from compat_spec.testing import run_checks

    about = f"{plugin.use} ({kind_of(plugin.namespace)}), from {plugin.distribution} {plugin.distribution_version}"
    if plugin.component is None:
        console.print(about, style="bold")
        console.print(
            Padding(f"✗ it does not load: {plugin.error}; see compat plugins doctor", (0, 0, 0, 2), expand=False),
            style="red",
        )
        return "failed"
    if not briefly:
        console.print(about, style="bold")
    outcomes = []
    for outcome in run_checks(plugin.component, parameters):
        outcomes.append(outcome)
        if not briefly and outcome.status != "skipped":
            _print(outcome, console)
    counts = Counter(outcome.status for outcome in outcomes)
    summary = ", ".join(f"{counts[status]} {status}" for status in ("passed", "failed", "skipped") if counts[status])
    (made,) = (outcome for outcome in outcomes if outcome.check.name == "can_be_made")
    status: Status = "failed" if counts["failed"] else made.status
    if briefly:
        mark, style = MARKS[status]
        console.print(f"{mark} {about}: {summary}", style=style if status != "passed" else None)
        for outcome in outcomes:
            if outcome.status == "failed":
                _print(outcome, console)
    _print_skipped(outcomes, console, briefly=briefly)
    if not briefly:
        console.print(f"{counted(len(outcomes), 'check')}: {summary}", style="bold red" if counts["failed"] else "bold")
    return status


def _print(outcome: Outcome, console: Console) -> None:
    mark, style = MARKS[outcome.status]
    console.print(Padding(f"{mark} {outcome.check.name}", (0, 0, 0, 2), expand=False), style=style)
    words = outcome.message if outcome.status == "failed" else outcome.check.meaning
    console.print(Padding(words, (0, 0, 0, 4), expand=False), style=None if outcome.status == "failed" else "dim")


def _print_skipped(outcomes: Sequence[Outcome], console: Console, *, briefly: bool) -> None:
    """Each reason once: most checks are left out for the same one."""
    reasons: dict[str, list[str]] = {}
    for outcome in outcomes:
        if outcome.status == "skipped":
            reasons.setdefault(outcome.message, []).append(outcome.check.name)
    for reason, names in reasons.items():
        if briefly and len(names) == 1:
            continue
        console.print(Padding(f"- {', '.join(names)}", (0, 0, 0, 2), expand=False), style="yellow")
        console.print(Padding(f"not checked: {reason}", (0, 0, 0, 4), expand=False))
