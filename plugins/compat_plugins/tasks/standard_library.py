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

LEFT_OUT = {"site-packages", "dist-packages", "__pycache__", "test", "tests", "idlelib", "lib2to3"}
LEFT_OUT |= {"encodings", "pydoc_data"}
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
    lines = source.split("\n")  # not splitlines: for Python, a form feed does not end a line
    functions, docstrings = [], [ast.get_docstring(tree)]
    for definition in _definitions(tree):
        docstrings.append(ast.get_docstring(definition))
        if not isinstance(definition, ast.ClassDef):
            functions.append(_text(definition, lines))
    return SourceFile(
        path,
        functions=tuple(dict.fromkeys(text for text in functions if text)),
        docstrings=tuple(dict.fromkeys(text for text in docstrings if text)),
    )


def _definitions(block: ast.AST) -> Iterator[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """The classes, functions and methods of a block; not what is defined inside functions."""
    for node in ast.iter_child_nodes(block):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
        elif isinstance(node, ast.ClassDef):
            yield node
            yield from _definitions(node)
        elif isinstance(node, ast.If | ast.Try | ast.With | ast.ExceptHandler):
            yield from _definitions(node)


def _text(function: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> str:
    """The lines of a function without its docstring and its indent; empty where that leaves no function."""
    first, last = function.lineno - 1, function.end_lineno
    kept = lines[first:last]
    if ast.get_docstring(function, clean=False) is not None:
        docstring = function.body[0]
        if len(function.body) == 1:
            return ""
        kept = lines[first : docstring.lineno - 1] + lines[docstring.end_lineno : last]
    text = textwrap.dedent("\n".join(kept))
    return "" if text[:1].isspace() else text  # a line further left, in a string, keeps it from its place
