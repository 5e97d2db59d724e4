"""The executor of a run, from the options that name it and its parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compat_spec.components import Executor

LACKING = {
    "workers": "has no number of workers to choose",
    "address": "runs here, and has no address",
}
"""What to say of an executor that has not the field of an option of its own."""


def make_executor(name: str, options: Mapping[str, Any], pairs: Sequence[str]) -> Executor:
    """The executor of a name.

    Args:
        options: fields that have an option of their own, like `--workers`; None where it was not given.
        pairs: other fields, as `NAME=VALUE`.

    Raises:
        UsageError: there is no such executor or field, or a value does not fit.
    """
    from pydantic import ValidationError

    from compat_spec import registry
    from compat_spec.components import Executor
    from compat_spec.errors import UsageError

    found = registry.component(Executor.namespace, name)
    given: dict[str, Any] = {}
    written: dict[str, str] = {}
    for field, value in options.items():
        if value is not None:
            if field not in found.model_fields:
                raise UsageError(f"--{field}: the executor {name} {LACKING[field]}")
            given[field], written[field] = value, f"--{field} {value}"
    for pair in pairs:
        field, separator, value = pair.partition("=")
        if not separator:
            raise UsageError(f"--with {pair}: write NAME=VALUE")
        if field not in found.model_fields:
            raise UsageError(f"--with {pair}: the executor {name} {_known(field, list(found.model_fields))}")
        if field in given:
            raise UsageError(f"--with {pair}: {field} was given already, as {written[field]}")
        given[field], written[field] = value, f"--with {pair}"
    try:
        executor = found.model_validate(given)
    except ValidationError as error:
        raise UsageError("; ".join(_complaints(error, written))) from error
    assert isinstance(executor, Executor)
    return executor


def _known(field: str, known: list[str]) -> str:
    if not known:
        return "has no parameters"
    close = get_close_matches(field, known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"it has {', '.join(sorted(known))}"
    return f"has no parameter {field}; {hint}"


def _complaints(error: Any, written: Mapping[str, str]) -> list[str]:
    """What pydantic says of each option, once."""
    words: dict[str, str] = {}
    for one in error.errors():
        field = str(one["loc"][0]) if one["loc"] else ""
        words.setdefault(written.get(field, field or "the executor"), one["msg"].removeprefix("Value error, "))
    return [f"{option}: {said[:1].lower()}{said[1:]}" for option, said in words.items()]
