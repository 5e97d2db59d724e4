"""A hook of MkDocs: pages of the site that are made from what is kept elsewhere.

The start page is the README; the changes, the benchmarks and the specs are files of the repository; the commands
are what `--help` says.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]

LINKS = {
    r"docs/": "",
    r"specs/(\w+)\.yaml": r"specs.md#\1",
    r"README\.md": "index.md",
    r"CHANGELOG\.md": "changelog.md",
    r"benchmarks/README\.md": "benchmarks.md",
}
"""What links begin with in the repository, and in the site."""


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the made pages."""
    pages = {
        "index.md": (ROOT / "README.md").read_text("utf-8"),
        "changelog.md": (ROOT / "CHANGELOG.md").read_text("utf-8"),
        "benchmarks.md": (ROOT / "benchmarks" / "README.md").read_text("utf-8"),
        "specs.md": specs_page(),
        "commands.md": commands_page(),
    }
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, *, page: object, config: MkDocsConfig, files: Files) -> str:
    """Lead links to files of the repository to the pages that show them."""
    for pattern, page_of_site in LINKS.items():
        markdown = re.sub(rf"\]\((?:\.\./)?{pattern}", f"]({page_of_site}", markdown)
    return markdown


def specs_page() -> str:
    """Every spec of `specs/`, whole."""
    lines = ["# Specs to start from", "", "They are in the folder `specs` of the repository; `extends:` builds on one."]
    for path in sorted((ROOT / "specs").glob("*.yaml")):
        lines += ["", f"## {path.stem}", "", "```yaml", path.read_text("utf-8").rstrip(), "```"]
    return "\n".join(lines) + "\n"


def commands_page() -> str:
    """What `--help` says of every command."""
    typer = [sys.executable, "-m", "typer", "compat_spec.cli.main", "utils", "docs", "--name", "compat"]
    text = subprocess.run(typer, check=True, capture_output=True, text=True).stdout
    text = re.sub(r"<span style=\"font-weight: bold\">(.*?)</span>", r"`\1`", text)
    return text.replace("# `compat`", "# Commands", 1)
