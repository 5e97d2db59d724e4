"""docs/api.md and the `__all__` of the public modules agree, and those who write components get by with them."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import compat_spec
from compat_spec import registry

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "api.md").read_text("utf-8")


def listed() -> dict[str, list[str]]:
    """The names that the page has of each module."""
    sections = re.findall(r"^### (compat_spec\S*)\n(.*?)(?=^##|\Z)", PAGE, re.DOTALL | re.MULTILINE)
    found = {module: re.findall(r"^\| `(\w+)` \| \S", text, re.MULTILINE) for module, text in sections}
    rows = re.findall(r"^\| `(compat_spec\.nn\.\w+)` \| (.*?) \| \S", PAGE, re.MULTILINE)
    return found | {module: re.findall(r"`(\w+)`", names) for module, names in rows}


def python_of_authors() -> Iterator[tuple[str, str]]:
    """Code that is an example for others, and where it is."""
    for path in (ROOT / "plugins" / "compat-example").rglob("*.py"):
        yield path.name, path.read_text("utf-8")
    for path in (ROOT / "compat_spec" / "templates" / "plugin").rglob("*.py.jinja"):
        if path.parent.name in ("code", "tests") and "{" not in path.name:
            yield path.name, re.sub(r"{{ \w+ }}", "Name", path.read_text("utf-8"))
    for page in (ROOT / "README.md", ROOT / "docs" / "plugins.md"):
        for block in re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
            yield page.name, block


@pytest.mark.parametrize("module", listed())
def test_a_module_has_the_names_that_are_listed_of_it(module: str) -> None:
    found = importlib.import_module(module)
    assert sorted(listed()[module]) == sorted(found.__all__)
    for name in found.__all__:
        value = getattr(found, name)
        assert not inspect.isclass(value) or inspect.getdoc(value), name


def test_the_package_itself_is_listed() -> None:
    assert {"compat_spec", "compat_spec.components", "compat_spec.testing"} <= set(listed())
    assert set(listed()["compat_spec"]) == set(compat_spec.__all__)


def test_all_groups_of_entry_points_are_listed() -> None:
    groups = set(re.findall(r"`(compat\.\w+)`", PAGE.partition("## The promise")[0]))
    ours = entry_points().select(group="compat.importers")
    assert ours
    used = {"compat.importers", "compat.anatomies", *registry.CONTRACTS}
    assert groups == used


def test_the_examples_for_authors_use_public_names_only() -> None:
    public = listed()
    looked_at = 0
    for where, code in python_of_authors():
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "compat_spec":
                names = {alias.name for alias in node.names}
                assert names <= set(public.get(node.module or "", ())), (where, node.module, names)
                looked_at += 1
    assert looked_at > 50
