"""From the configuration of another tool to the text of a spec."""

from __future__ import annotations

import re
from pathlib import Path

from compat_spec import registry
from compat_spec.importers import GROUP, Imported, Importer
from compat_spec.spec.problems import Problems
from compat_spec.spec.reading import VERSION
from compat_spec.spec.writing import as_yaml
from compat_spec.spec.yaml_files import read_file

HINT = """\
# What is measured is declared like this; `compat plugins list` shows the tasks and metrics that there are.
#
# tasks:
#   mine: {use: text, train: data/train.jsonl, test: data/test.jsonl}
# metrics:
#   loss: {use: cross_entropy, on: mine}
"""


def import_spec(kind: str, path: Path) -> str:
    """A spec that does what a configuration of another tool says.

    Args:
        kind: the name of an importer.
        path: the configuration, a YAML file.

    Raises:
        PluginError: there is no such importer.
        SpecError: the configuration has mistakes, or says what a spec cannot say; all of it is in `problems`.
    """
    importer: Importer = registry.load(GROUP, kind)
    problems = Problems()
    document = read_file(path, str(path), 0, problems)
    problems.raise_if_any()
    assert document is not None, "a file that cannot be read has a problem"
    imported = importer(document, problems, path.absolute().parent)
    problems.raise_if_any()
    return _text(imported, kind, path)


def _text(imported: Imported, kind: str, path: Path) -> str:
    lines = [f"# From {path.name}, a configuration of {kind}, by `compat import {kind}`."]
    lines += [f"# {note}" for note in imported.notes]
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", path.stem)
    lines += [f"version: {VERSION}", f"name: {as_yaml(name).splitlines()[0]}", ""]
    for section, declarations in imported.sections.items():
        lines += [as_yaml({section: declarations}, compact=True)]
    return "\n".join([*lines, HINT])
