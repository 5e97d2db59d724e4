"""Parameters to check a component with: the required ones, made up from what its fields and its docstring say."""

from __future__ import annotations

import inspect
import math
import re
import textwrap
from collections.abc import Iterator, Mapping
from itertools import islice, product
from typing import Any, get_args, get_origin

import yaml
from annotated_types import Ge, Gt, Le, Lt
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from compat_spec.components import Component, ModelName, TaskName
from compat_spec.errors import CompatError

MODELS = ("first", "second", "third")
"""What the models are called that a component is checked with."""

BASE = "base"
TASK = "task"

MOST_TRIED = 100
"""Combinations of made-up values."""


class CannotMakeUp(Exception):  # noqa: N818
    """There are no parameters to check a component with; the message says how to give some."""


def example_parameters(component: type[Component], given: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters that the component should take: those that are given, and the required ones.

    A field's `examples` come first; then the names of models and tasks; then its type and bounds. Where these do not
    do, the example of the docstring has the last word.

    Raises:
        CannotMakeUp: nothing says what a required parameter would be, or that several have to be given together.
    """
    missing = {
        name: _candidates(component, name, field)
        for name, field in component.parameters().items()
        if name not in given and field.is_required()
    }
    tried = []
    if all(missing.values()):
        # some merges are of two models, and some of one; and some numbers have to be in order
        together = (dict(zip(missing, values, strict=True)) for values in product(*missing.values()))
        first, *others = islice(together, MOST_TRIED)
        tried = [first, *({**first, "models": count} for count in missing.get("models", ())[1:]), *others]
    tried += list(_docstring_examples(component))
    for more in tried:
        parameters = {**more, **given}
        if _objection(component, parameters) is None:
            return parameters
    if tried and _is_broken(component, {**tried[0], **given}):
        return {**tried[0], **given}
    unknown = [name for name, values in missing.items() if not values]
    raise CannotMakeUp(_how_to_give(component, {**(tried[0] if tried else {}), **given}, list(missing), unknown))


def are_of_the_docstring(component: type[Component], given: Mapping[str, Any], parameters: Mapping[str, Any]) -> bool:
    """Whether parameters come from the example of a docstring, which may name a file or a server that is not here."""
    return set(parameters) > set(given) and any(
        {**more, **given} == dict(parameters) for more in _docstring_examples(component)
    )


def _objection(component: type[Component], parameters: Mapping[str, Any]) -> Exception | None:
    if getattr(component, "__abstractmethods__", None):
        return None  # it cannot be made of anything
    try:
        component.model_validate(parameters)
    except Exception as error:
        return error
    return None


def _is_broken(component: type[Component], parameters: Mapping[str, Any]) -> bool:
    """Whether a component refuses parameters for a reason that no other parameters would mend: a bad default."""
    error = _objection(component, parameters)
    if isinstance(error, ValidationError):
        return any(one["loc"] and one["loc"][0] not in parameters for one in error.errors(include_url=False))
    return not isinstance(error, CompatError)


def _how_to_give(component: type[Component], tried: Mapping[str, Any], missing: list[str], unknown: list[str]) -> str:
    if unknown:
        names = " and ".join(map(repr, unknown))
        what = f"nothing says what {names} of {component.__name__} may be"
    else:
        error = _objection(component, tried)
        reason = error.errors(include_url=False)[0]["msg"] if isinstance(error, ValidationError) else str(error)
        what = f"{component.__name__} takes none of the parameters that can be made up ({reason})"
    name = next(iter([*unknown, *(one for one in missing if one != "models"), "name"]))
    return (
        f"{what}: give parameters, contract({component.__name__}, {{'{name}': …}}) or `compat plugins check … --with "
        f"{name}=…`; or write `examples=[…]` into the Field"
    )


# ---------------------------------------------------------------------------------------------------- single values


def _candidates(component: type[Component], name: str, field: FieldInfo) -> list[Any]:
    """Values that a required field takes, the likeliest first."""
    if field.examples:
        return list(field.examples)
    return [value for value in _of_type(field.annotation, field.metadata) if _fits(component, name, value)]


def _of_type(annotation: Any, marks: list[Any] | None = None) -> Iterator[Any]:
    if annotation is TaskName:
        yield TASK
    elif annotation is ModelName:
        yield BASE
    elif get_origin(annotation) in (tuple, list) and ModelName in get_args(annotation):
        yield from ([*MODELS[:count]] for count in (2, 3, 1))
    elif get_origin(annotation) in (tuple, list):
        for value in islice(_of_type(get_args(annotation)[0]), 1):
            yield from ([value] * count for count in (2, 3, 1))
    elif get_origin(annotation) in (dict, Mapping):
        keys, values = get_args(annotation)
        yield from ({key: value} for key, value in islice(zip(_of_type(keys), _of_type(values), strict=False), 1))
    elif annotation in (float, int):
        yield from (annotation(number) for number in _numbers(marks or []) if number == annotation(number))
    elif annotation is bool:
        yield True
    elif hasattr(annotation, "__metadata__"):
        inner, *others = get_args(annotation)
        metadata = [more for mark in others for more in getattr(mark, "metadata", [mark])]
        yield from _of_type(inner, [*(marks or []), *metadata])
    else:  # the options of a union, of Literal
        for option in get_args(annotation):
            if isinstance(option, str | int | float):
                yield option
            else:
                yield from _of_type(option, marks)


def _numbers(marks: list[Any]) -> list[float]:
    low = max((float(getattr(mark, "ge", getattr(mark, "gt", 0))) for mark in marks if isinstance(mark, Ge | Gt)),
              default=-math.inf)  # fmt: skip
    high = min((float(getattr(mark, "le", getattr(mark, "lt", 0))) for mark in marks if isinstance(mark, Le | Lt)),
               default=math.inf)  # fmt: skip
    numbers = [0.5, 1, 0.25, 2, 1e-3, 10, low, high, (low + high) / 2]
    return [number for number in numbers if math.isfinite(number) and low <= number <= high]


def _fits(component: type[Component], name: str, value: Any) -> bool:
    """Whether the component has nothing to say against a value of this one field."""
    error = _objection(component, {name: value})
    if isinstance(error, ValidationError):
        return not any(one["loc"] and one["loc"][0] == name for one in error.errors(include_url=False))
    return error is None


# -------------------------------------------------------------------------------------------------------- docstrings


def _docstring_examples(component: type[Component]) -> Iterator[dict[str, Any]]:
    """The parameters of the YAML after `Example:` in a docstring."""
    text = inspect.getdoc(component) or ""
    for example in re.findall(r"^Examples?:[ \n](.*)", text, re.DOTALL | re.MULTILINE):
        try:
            found = yaml.safe_load(re.sub(r"\bon:", '"on":', textwrap.dedent(example)))
        except yaml.YAMLError:
            continue
        if not isinstance(found, dict):
            continue
        inner = found.get("train") if set(found) == {"train"} else found
        if isinstance(inner, dict):
            yield {key: value for key, value in inner.items() if key in component.parameters()}
