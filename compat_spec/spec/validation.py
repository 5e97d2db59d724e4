"""Makes components out of the parameters of a spec, and puts pydantic's complaints into words, with their places."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from compat_spec import registry
from compat_spec.components import Component
from compat_spec.spec.problems import Place, Problems, enumerate_words, nearest
from compat_spec.spec.yaml_nodes import Node

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


def find_class(namespace: str, use: str, place: Place, where: str, problems: Problems) -> type[Component] | None:
    """The class that `use:` names."""
    for other in registry.CONTRACTS:
        if use in registry.names(other) and use not in registry.names(namespace):
            kind, wanted = (space.removeprefix("compat.") for space in (other, namespace))
            known = ", ".join(registry.names(namespace)) or "none"
            problems.add(place, where, f"{use!r} is for {kind}, not for {wanted}", f"installed: {known}")
            return None
    try:
        return registry.component(namespace, use)
    except registry.PluginError as error:
        what, _, advice = str(error).partition("; ")
        problems.add(place, where, what, advice)
        return None


def make(
    cls: type[Component], use: str, params: Node, setting: Setting, folder: Path, problems: Problems
) -> tuple[Component | None, dict[str, Any]]:
    """The component with its parameters validated, and its fields.

    A component with mistakes is None; they are in `problems`, and the fields are those that are right by themselves.
    With mistakes in its sweeps it is None too, and they are not reported again.

    Args:
        folder: where the spec lies; validators find it as `info.context["folder"]`.
    """
    plain = params.plain()
    tainted = any(problems.is_muted(place) for place in params.places())
    truths = dict(_truths_for_numbers(cls, params))
    for key, node in truths.items():
        problems.add(
            node.place,
            f"{setting.where}.{key}",
            f"{node.in_words()} does not fit",
            "expected a number, not a truth value",
        )
    with problems.of_plugin(use, setting.place, setting.where):
        try:
            component = cls.model_validate(plain, context={"folder": folder})
            return None if truths or tainted else component, dict(component)
        except ValidationError as error:
            errors = error.errors(include_url=False)
            if tainted:  # whether its parameters go together cannot be known
                errors = [error for error in errors if error["loc"]]
            _explain(errors, cls, use, params, setting, problems)
    return None, dict(_right_by_themselves(cls, plain))


def _right_by_themselves(cls: type[Component], plain: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, field in cls.model_fields.items():
        if key in plain:
            with suppress(Exception):  # what is wrong with it has been reported
                adapter: TypeAdapter[Any] = TypeAdapter(field.annotation)  # type: ignore[arg-type]
                yield key, adapter.validate_python(plain[key])


def _truths_for_numbers(cls: type[Component], params: Node) -> Iterator[tuple[str, Node]]:
    """Parameters that are `true` or `false` where a number belongs: pydantic would take them for 1 and 0."""
    for key, field in cls.model_fields.items():
        node = params.mapping.get(key)
        if (
            node is not None
            and isinstance(node.value, bool)
            and field.annotation in (int, float, int | None, float | None)
        ):
            yield key, node


# ------------------------------------------------------------------------------------------------- error messages


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


def _explain(
    errors: list[ErrorDetails], cls: type[Component], use: str, params: Node, setting: Setting, problems: Problems
) -> None:
    unions: dict[tuple[str, ...], list[_Located]] = {}
    for located in (_locate(error, params) for error in errors):
        if located.union is None:
            _report(located, cls, use, setting, problems)
        else:
            unions.setdefault(located.union, []).append(located)
    for path, branches in unions.items():
        _report_union(path, branches, cls, use, setting, problems)


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


def _report_union(
    path: tuple[str, ...],
    branches: list[_Located],
    cls: type[Component],
    use: str,
    setting: Setting,
    problems: Problems,
) -> None:
    """One problem for a value that fits no branch: about its inside when a branch got that far, else all that fits."""
    deepest = max(
        branches, key=lambda located: (len(located.path), located.error["type"] in ("missing", "extra_forbidden"))
    )
    inside = [located for located in branches if located.branch == deepest.branch]
    if (
        len(deepest.path) > len(path)
        or deepest.error["type"] in ("missing", "extra_forbidden")
        or len({located.branch for located in branches}) == 1
    ):
        for located in inside:
            _report(located, cls, use, setting, problems)
        return
    expected = dict.fromkeys(
        words for located in branches if (words := _expected(located.error)) and words != "nothing"
    )
    where = ".".join((setting.where, *path))
    what = f"{deepest.node.in_words()} does not fit"
    problems.add(deepest.node.place, where, what, f"expected {enumerate_words(expected, 'or')}" if expected else "")


def _report(located: _Located, cls: type[Component], use: str, setting: Setting, problems: Problems) -> None:
    error, node = located.error, located.node
    where = ".".join((setting.where, *located.path))
    last = str(error["loc"][-1]) if error["loc"] else ""
    whole = setting.place if not located.path else node.place
    match error["type"]:
        case "missing" if last.isdecimal():
            problems.add(whole, where, f"{node.in_words()} of {len(node.items)} does not fit", "expected more entries")
        case "missing":
            problems.add(whole, where, f"needs `{last}`", _description(cls, last) if not located.path else "")
        case "extra_forbidden":
            if located.path:
                known, owner = _fields_at(cls, located.path), "known here"
            else:
                known, owner = [*setting.keys, *cls.model_fields], f"a parameter of {use}"
            advice = nearest(last, known, "there are") if known else ""
            problems.add(node.place_of(last), f"{where}.{last}", f"{last!r} is not {owner}", advice)
        case "value_error" | "assertion_error":
            reason = error.get("ctx", {}).get("error", error["msg"])
            problems.add(whole, where, str(reason))
        case _:
            given = last if error["loc"] and error["loc"][-1] == "[key]" else node.in_words()
            expected = _expected(error)
            problems.add(whole, where, f"{given} does not fit", f"expected {expected}" if expected else error["msg"])


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
    field = cls.model_fields.get(name)
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
