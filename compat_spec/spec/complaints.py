"""Pydantic's complaints about parameters in words that fit a spec, each at its place."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from compat_spec.components import Component
from compat_spec.spec.nodes import Node
from compat_spec.spec.problems import Place, Problems, enumerate_words, nearest

EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "text",
    "list": "a list",
    "tuple": "a list",
    "set": "a list",
    "frozen_set": "a list",
    "dict": "a mapping",
    "mapping": "a mapping",
    "model": "a mapping",
    "path": "a path",
    "none": "nothing",
}
"""What was expected, by the first word of pydantic's error type."""


@dataclass(frozen=True)
class Setting:
    """Where a component stands in the spec.

    Attributes:
        where: the dotted path.
        place: where its key stands, for what is wrong with it as a whole.
        keys: the keys that the engine takes there, besides the component's parameters.
    """

    where: str
    place: Place
    keys: Collection[str]


@dataclass(frozen=True)
class _Located:
    """An error of pydantic with the node that it is about."""

    error: ErrorDetails
    path: tuple[str, ...]
    """The keys and indices that lead to the node."""
    node: Node
    union: tuple[str, ...] | None
    """The path of the outermost union that it lies in."""
    branch: str | None
    """Which branch of that union."""

    @property
    def concerns_a_key(self) -> bool:
        """Whether the node is the mapping that lacks a key, or has one too many."""
        return self.error["type"] in ("missing", "extra_forbidden")

    @property
    def is_short_of_what_is_wrong(self) -> bool:
        """Whether a list is found too short only because its wrong entries, which have errors of their own, are out."""
        return self.error["type"] == "too_short" and len(self.node.items) >= self.error["ctx"]["min_length"]


class Complaints:
    """Reports what pydantic says of the parameters of one component."""

    def __init__(self, cls: type[Component], use: str, setting: Setting, problems: Problems) -> None:
        self._cls = cls
        self._use = use
        self._setting = setting
        self._problems = problems

    def report(self, errors: list[ErrorDetails], params: Node) -> None:
        unions: dict[tuple[str, ...], list[_Located]] = {}
        for located in (_locate(error, params) for error in errors):
            if located.is_short_of_what_is_wrong:
                continue
            if located.union is None:
                self._single(located)
            else:
                unions.setdefault(located.union, []).append(located)
        for path, located_errors in unions.items():
            self._union(path, located_errors)

    def _union(self, path: tuple[str, ...], errors: list[_Located]) -> None:
        """One problem for a value that fits no branch: about its inside if a branch got that far, else what fits."""
        deepest = max(errors, key=lambda located: (len(located.path), located.concerns_a_key))
        branches = {located.branch for located in errors}
        if len(deepest.path) > len(path) or deepest.concerns_a_key or len(branches) == 1:
            at_values: dict[tuple[str, ...], list[_Located]] = {}  # several where unions lie in each other
            for located in errors:
                if located.branch == deepest.branch and located.concerns_a_key:
                    self._single(located)
                elif located.branch == deepest.branch:
                    at_values.setdefault(located.path, []).append(located)
            for same in at_values.values():
                if len(same) == 1:
                    self._single(same[0])
                else:
                    self._none_fits(same)
            return
        self._none_fits(errors)

    def _none_fits(self, errors: list[_Located]) -> None:
        deepest = max(errors, key=lambda located: len(located.path))
        words = dict.fromkeys(_expected(located.error) for located in errors)
        fitting = [word for word in words if word not in ("", EXPECTED["none"])]
        self._does_not_fit(deepest, deepest.node.in_words(), enumerate_words(fitting, "or") if fitting else "")

    def _single(self, located: _Located) -> None:
        error, node = located.error, located.node
        last = str(error["loc"][-1]) if error["loc"] else ""
        match error["type"]:
            case "missing" if last.isdecimal():
                self._does_not_fit(located, f"{node.in_words()} of {len(node.items)}", "more entries")
            case "missing":
                advice = _description(self._cls, last) if not located.path else ""
                self._add(located, f"needs `{last}`", advice)
            case "extra_forbidden":
                self._unknown_key(located, last)
            case "value_error" | "assertion_error":
                self._add(located, str(error.get("ctx", {}).get("error", error["msg"])))
            case _:
                given = repr(last) if error["loc"] and error["loc"][-1] == "[key]" else node.in_words()
                self._does_not_fit(located, given, _expected(error), error["msg"])

    def _unknown_key(self, located: _Located, key: str) -> None:
        if located.path:
            known, owner = _fields_at(self._cls, located.path), "known here"
        else:
            known, owner = [*self._setting.keys, *self._cls.parameters()], f"a parameter of {self._use}"
        where = ".".join((self._setting.where, *located.path, key))
        advice = nearest(key, known, "there are") if known else ""
        self._problems.add(located.node.place_of(key), where, f"{key!r} is not {owner}", advice)

    def _does_not_fit(self, located: _Located, given: str, expected: str, otherwise: str = "") -> None:
        self._add(located, f"{given} does not fit", f"expected {expected}" if expected else otherwise)

    def _add(self, located: _Located, what: str, advice: str = "") -> None:
        place = located.node.place if located.path else self._setting.place
        self._problems.add(place, ".".join((self._setting.where, *located.path)), what, advice)


def _locate(error: ErrorDetails, params: Node) -> _Located:
    """Follow pydantic's location; a part of it that is no key or index there is the branch of a union."""
    location = list(error["loc"])
    if error["type"] in ("missing", "extra_forbidden"):
        location.pop()
    node, path = params, tuple[str, ...]()
    union, branch = None, None
    for part in location:
        inner = node.mapping.get(str(part))
        if inner is None and isinstance(part, int) and part < len(node.items):
            inner = node.items[part]
        if inner is not None:
            node, path = inner, (*path, str(part))
        elif part != "[key]" and union is None:
            union, branch = path, str(part)
    return _Located(error, path, node, union, branch)


def _expected(error: ErrorDetails) -> str:
    """What would have been right, in words; empty when only pydantic's own message says it."""
    ctx: Mapping[str, Any] = error.get("ctx", {})
    match error["type"]:
        case "literal_error" | "enum":
            return str(ctx["expected"])
        case "greater_than_equal":
            return f"at least {ctx['ge']}"
        case "greater_than":
            return f"more than {ctx['gt']}"
        case "less_than_equal":
            return f"at most {ctx['le']}"
        case "less_than":
            return f"less than {ctx['lt']}"
        case "too_short":
            return f"at least {_entries(ctx['min_length'])}"
        case "too_long":
            return f"at most {_entries(ctx['max_length'])}"
        case "string_too_short":
            return "text that is not empty" if ctx["min_length"] == 1 else f"at least {ctx['min_length']} characters"
        case "string_pattern_mismatch":
            return f"text that matches {ctx['pattern']}"
        case "finite_number":
            return "a finite number"
        case "multiple_of":
            return f"a multiple of {ctx['multiple_of']}"
        case kind:
            for prefix, words in EXPECTED.items():
                if kind.startswith(f"{prefix}_"):
                    return words
    return ""


def _entries(count: int) -> str:
    return "1 entry" if count == 1 else f"{count} entries"


def _description(cls: type[Component], name: str) -> str:
    """The first clause of what a field says of itself."""
    field = cls.parameters().get(name)
    clause = re.split(r"[.:;]( |$)", (field.description or "") if field else "", maxsplit=1)[0]
    return clause[:1].lower() + clause[1:]


def _fields_at(cls: type[BaseModel], path: tuple[str, ...]) -> list[str]:
    """The fields of a model that is nested in a component."""
    for part in path:
        field = cls.model_fields.get(part)
        options = [field.annotation, *getattr(field.annotation, "__args__", ())] if field else []
        nested = [option for option in options if isinstance(option, type) and issubclass(option, BaseModel)]
        if not nested:
            return []
        cls = nested[0]
    return list(cls.model_fields)
