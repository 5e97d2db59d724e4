"""Reads the source files of the installed standard library, without importing any of its modules."""

from __future__ import annotations

import ast
import hashlib
import os
import platform
import sysconfig
import textwrap
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from compat_plugins.tasks.hash_split import position
from compat_spec.errors import CompatError

LEFT_OUT = frozenset(
    "site-packages dist-packages test tests idle_test idlelib lib2to3 encodings pydoc_data __pycache__".split()
)
"""Folders that are not the library's own, or hold tables and tests rather than code and prose."""


@dataclass(frozen=True)
class SourceFile:
    """What the tasks want of a file: its functions without docstrings, and all docstrings."""

    path: str
    """Within the library, with `/`."""
    functions: tuple[str, ...]
    docstrings: tuple[str, ...]


@cache
def source_files() -> tuple[SourceFile, ...]:
    """Every file of the library that parses, in the order of a hash of their paths.

    Raises:
        CompatError: the library has no readable sources (zipped, or compiled only).
    """
    folder = library_folder()
    read = (_read(folder, path) for path, _ in _python_files())
    files = [file for file in read if file is not None]
    if not files:
        raise CompatError(f"no source files of the standard library in {folder}: this Python comes without them")
    return tuple(sorted(files, key=lambda file: position(file.path)))


@cache
def library_identity() -> dict[str, Any]:
    """What decides the contents: the version of Python, and the names and sizes of its files."""
    listing = "\n".join(f"{path} {size}" for path, size in _python_files())
    return {"python": platform.python_version(), "files": hashlib.sha256(listing.encode()).hexdigest()}


def library_folder() -> Path:
    return Path(sysconfig.get_path("stdlib"))


def _python_files() -> list[tuple[str, int]]:
    """The path within the library and the size in bytes of each file, sorted."""
    folder = library_folder()
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in LEFT_OUT]
        paths = (Path(parent, name) for name in names if name.endswith(".py"))
        found += [(path.relative_to(folder).as_posix(), path.stat().st_size) for path in paths if path.is_file()]
    return sorted(found)


def _read(folder: Path, path: str) -> SourceFile | None:
    try:
        source = (folder / path).read_text(encoding="utf-8")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (OSError, ValueError, SyntaxError):
        return None
    lines = source.splitlines()
    functions = dict.fromkeys(_text(node, lines) for node in ast.walk(tree) if isinstance(node, _FUNCTIONS))
    docstrings = dict.fromkeys(_docstrings(tree))
    return SourceFile(path, tuple(filter(None, functions)), tuple(docstrings))


_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def _text(function: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> str:
    """The lines of a function without its docstring and its indent; empty when nothing is left of its body."""
    first, last = function.lineno - 1, function.end_lineno
    kept = lines[first:last]
    if ast.get_docstring(function, clean=False) is not None:
        docstring = function.body[0]
        if len(function.body) == 1:
            return ""
        kept = lines[first : docstring.lineno - 1] + lines[docstring.end_lineno : last]
    return textwrap.dedent("\n".join(kept))


def _docstrings(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | _FUNCTIONS[0] | _FUNCTIONS[1]):
            docstring = ast.get_docstring(node)
            if docstring:
                yield docstring
