"""All checks in words, for the documentation."""

from __future__ import annotations

from importlib import import_module

from compat_spec.components import Component
from compat_spec.testing.checks import Checks
from compat_spec.testing.kinds import FILES


def checks_table() -> str:
    """Markdown: the checks of each contract, by name, with what has to hold."""
    lines = []
    for contract, file in FILES.items():
        checks: Checks = import_module(f"compat_spec.testing.kinds.{file}").check
        whose = " (every component)" if contract is Component else ""
        lines += [f"**{contract.__name__}**{whose}", ""]
        lines += [f"- `{check.name}`: {check.meaning}" for check in checks.found]
        lines.append("")
    return "\n".join(lines)
