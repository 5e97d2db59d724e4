"""The pages of the documentation, which are installed with the package."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import compat_spec


@dataclass(frozen=True, slots=True)
class Page:
    """A page: its title, and its whole text in Markdown."""

    title: str
    text: str


@cache
def pages() -> dict[str, Page]:
    """Every page by its name, in the order of their names."""
    package = Path(compat_spec.__file__).parent
    installed = package / "docs"
    folder = installed if installed.is_dir() else package.parent / "docs"  # an editable install
    return {path.stem: _page(path.read_text("utf-8")) for path in sorted(folder.glob("*.md"))}


def _page(text: str) -> Page:
    heading, _, _ = text.partition("\n")
    return Page(title=heading.lstrip("# "), text=text)
