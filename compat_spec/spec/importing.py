"""From the configuration of another tool to the text of a spec."""

from __future__ import annotations

import re
import sys
import textwrap
from pathlib import Path

from compat_spec import registry
from compat_spec.errors import CompatError
from compat_spec.importers import GROUP, Imported, Importer
from compat_spec.spec.nodes import Node
from compat_spec.spec.problems import Place, Problems
from compat_spec.spec.reading import VERSION
from compat_spec.spec.writing import as_yaml
from compat_spec.spec.yaml_files import bytes_of, read_documents

HINT = """\
# What is measured is declared like this; `compat plugins list` shows the tasks and metrics that there are.
#
# tasks:
#   mine: {use: text, train: data/train.jsonl, test: data/test.jsonl}
# metrics:
#   loss: {use: cross_entropy, on: mine}
"""

STDIN = "the standard input"


def import_spec(kind: str, path: Path) -> str:
    """A spec that does what a configuration of another tool says.

    Args:
        kind: the name of an importer.
        path: the configuration, a YAML file; `-` is the standard input.

    Raises:
        PluginError: there is no such importer.
        SpecError: the configuration has mistakes, or says what a spec cannot say; all of it is in `problems`.
    """
    importer: Importer = registry.load(GROUP, kind)
    problems = Problems()
    shown = STDIN if str(path) == "-" else str(path)
    documents = _read(path, shown, problems)
    problems.raise_if_any()
    imported = importer(documents, problems, path.absolute().parent)
    problems.raise_if_any()
    return _text(imported, kind, shown if str(path) == "-" else path.name)


def _read(path: Path, shown: str, problems: Problems) -> list[Node]:
    """The documents of the file, each a mapping."""
    try:
        data = sys.stdin.buffer.read() if str(path) == "-" else bytes_of(path)
    except CompatError as error:
        problems.add(Place(0, 0, 0, shown), "", str(error))
        return []
    found = read_documents(data, shown, problems)
    documents = [document for document in found if document.value is not None]
    if not documents and not len(problems):
        problems.add(Place(0, 1, 1, shown), "", "the file is empty")
    for document in documents:
        if not isinstance(document.value, dict):
            colon = isinstance(document.value, str) and ":" in document.value
            advice = "write a space after each `:`" if colon else ""
            problems.add(document.place, "", f"here is {document.in_words()}, and a mapping is needed", advice)
    return documents


def _text(imported: Imported, kind: str, file: str) -> str:
    lines = [f"# From {file}, a configuration of {kind}, by `compat import {kind}`."]
    lines += [f"# {line}" for note in imported.notes for line in textwrap.wrap(note, 118, subsequent_indent="  ")]
    name = kind if file == STDIN else re.sub(r"[^A-Za-z0-9_.-]", "-", Path(file).stem)
    lines += [f"version: {VERSION}", f"name: {as_yaml(name).splitlines()[0]}", ""]
    for section, declarations in imported.sections.items():
        lines += [as_yaml({section: declarations}, compact=True)]
    return "\n".join([*lines, HINT])
