"""`compat plugins doctor`: what is broken, why, and what to do."""

from __future__ import annotations

import typer
from rich.console import Console
from rich.padding import Padding

HEADINGS = {
    "broken": ("Broken", "red"),
    "clash": ("Names that several have", "yellow"),
    "untidy": ("For their authors to mend", "yellow"),
}


def doctor() -> None:
    """Say what is broken among the installed plugins and why, which names clash, and what to do about it.

    The exit status is 1 when something is broken.
    """
    from compat_spec import doctor, registry
    from compat_spec.cli.words import counted

    found = doctor.examine()
    console = Console(highlight=False, markup=False)
    for gravity, (heading, style) in HEADINGS.items():
        some = [finding for finding in found if finding.gravity == gravity]
        if some:
            console.print(heading, style=f"bold {style}")
        for finding in some:
            console.print(Padding(finding.about, (0, 0, 0, 2)), style="bold")
            console.print(Padding(finding.what, (0, 0, 0, 4)))
            if finding.advice:
                console.print(Padding(f"→ {finding.advice}", (0, 0, 0, 4)))
        if some:
            console.print()
    plugins = [plugin for namespace in registry.CONTRACTS for plugin in registry.plugins(namespace)]
    owners = {plugin.distribution for plugin in plugins}
    counts = {gravity: sum(finding.gravity == gravity for finding in found) for gravity in HEADINGS}
    words = [f"{counts['broken']} broken", f"{counts['clash']} clashing", f"{counts['untidy']} untidy"]
    verdict = ", ".join(word for word in words if not word.startswith("0 ")) or "all is well"
    console.print(f"{counted(len(plugins), 'plugin')} of {counted(len(owners), 'distribution')}: {verdict}")
    if counts["broken"]:
        raise typer.Exit(1)
