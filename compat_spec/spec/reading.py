"""Reads a spec: one file in, a checked `Spec` out, or every mistake at once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from compat_spec.spec.compose import compose, text_of
from compat_spec.spec.declarations import read_declarations
from compat_spec.spec.keys import SECTIONS, TOP_LEVEL
from compat_spec.spec.nodes import Node
from compat_spec.spec.problems import Place, Problems, nearest
from compat_spec.spec.spec import Spec
from compat_spec.spec.variants import Variants

VERSION = 1
NAME = re.compile(r"[A-Za-z0-9_.-]+")
MAX_SEED = 2**32 - 1


def load(path: str | Path, overrides: Sequence[str] = ()) -> Spec:
    """Read and check a spec.

    Args:
        path: the YAML file.
        overrides: changes of single values, `path=value`: `merges.router.span=2`.

    Raises:
        SpecError: the spec has mistakes; all of them are in its `problems`.

    Warns:
        CompatWarning: a plain name is taken for what ships with compat, and another distribution has it, too.
    """
    path = Path(path)
    problems = Problems()
    document = compose(path, overrides, problems)
    if document is None:
        problems.raise_if_any()
        raise AssertionError("a spec that cannot be read has a problem")
    _check_keys(document, problems)
    name = _name(document, path, problems)
    description = _description(document, problems)
    seeds = _seeds(document, problems)
    variants = Variants(read_declarations(document, path.absolute().parent, problems), problems)
    problems.raise_if_any()
    problems.give_warnings()
    return Spec(
        name=name,
        description=description,
        seeds=seeds,
        tasks=variants.tasks,
        models=variants.models,
        merges=variants.merges,
        metrics=variants.metrics,
        path=path,
        text=_text(path, document, overrides),
    )


def _check_keys(document: Node, problems: Problems) -> None:
    for key in document.mapping:
        if key not in TOP_LEVEL and key != "extends":
            advice = nearest(key, (*TOP_LEVEL, "extends"), "a spec has")
            problems.add(document.place_of(key), key, f"a spec has no {key!r}", advice)
    version = document.mapping.get("version")
    if version is not None and (isinstance(version.value, bool) or version.value != VERSION):
        problems.add(version.place, "version", f"{version.in_words()} does not fit", f"expected {VERSION}")
    if not len(problems) and not any(
        document.mapping[section].value for section in SECTIONS if section in document.mapping
    ):
        advice = "declare `tasks`, `models`, `merges` and `metrics`"
        problems.add(document.place, "", "the spec declares nothing", advice)


def _name(document: Node, path: Path, problems: Problems) -> str:
    node = document.mapping.get("name")
    if node is None:
        if not NAME.fullmatch(path.stem):
            what = f"the file's name {path.stem!r} cannot be the experiment's name"
            problems.add(Place(0, 1, 1, str(path)), "name", what, "give it one: name: my-experiment")
        return path.stem
    if isinstance(node.value, str) and NAME.fullmatch(node.value):
        return node.value
    advice = "expected text of letters, digits, `_`, `-` and `.`"
    problems.add(node.place, "name", f"{node.in_words()} does not fit", advice)
    return ""


def _description(document: Node, problems: Problems) -> str:
    node = document.mapping.get("description")
    if node is None or node.value is None:
        return ""
    if isinstance(node.value, str):
        return node.value.strip()
    problems.add(node.place, "description", f"{node.in_words()} does not fit", "expected text")
    return ""


def _seeds(document: Node, problems: Problems) -> tuple[int, ...]:
    node = document.mapping.get("seeds")
    if node is None:
        return (0,)
    if not node.items:
        problems.add(node.place, "seeds", f"{node.in_words()} does not fit", "expected a list: [0, 1, 2]")
    seeds: list[int] = []
    for index, entry in enumerate(node.items):
        where = f"seeds.{index}"
        if not isinstance(entry.value, int) or isinstance(entry.value, bool) or not 0 <= entry.value <= MAX_SEED:
            advice = f"expected a whole number from 0 to {MAX_SEED:,}"
            problems.add(entry.place, where, f"{entry.in_words()} does not fit", advice)
        elif entry.value in seeds:
            problems.add(entry.place, where, f"the seed {entry.value} is given twice", "name each seed once")
        else:
            seeds.append(entry.value)
    return tuple(seeds)


def _text(path: Path, document: Node, overrides: Sequence[str]) -> str:
    """The file as it is, comments included, when it is the whole spec."""
    whole = "extends" not in document.mapping and not overrides
    return path.read_bytes().decode("utf-8-sig") if whole else text_of(document)
