"""Parameters to check a component with: the required ones, made up from what its fields say."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from compat_spec.components import Component, ModelName, TaskName

MODELS = ("first", "second")
"""What the models are called that a component is checked with."""

BASE = "base"
TASK = "task"


class CannotMakeUp(Exception):  # noqa: N818
    """A required parameter of which nothing says what a value would be."""


def example_parameters(component: type[Component], given: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters that the component should take: those that are given, and the required ones.

    A field's `examples` come first; then the names of models and tasks; then its type and bounds.

    Raises:
        CannotMakeUp: a required parameter is of another type, and has no example.
    """
    found = dict(given)
    for name, field in component.parameters().items():
        if name not in given and field.is_required():
            found[name] = _example(component, name, field)
    return found


def _example(component: type[Component], name: str, field: FieldInfo) -> Any:
    if field.examples:
        return field.examples[0]
    bounds = {type(mark): mark for mark in field.metadata}
    for value in _candidates(field.annotation, bounds):
        if _fits(component, name, value):
            return value
    raise CannotMakeUp(
        f"nothing says what a value of the required parameter {name!r} would be: give one, as in "
        f"contract({component.__name__}, {{{name!r}: …}}) or `compat plugins check NAME --with {name}=…`, or write "
        "`examples=[…]` into its Field"
    )


def _candidates(annotation: Any, bounds: Mapping[type, Any]) -> list[Any]:
    """Values that a type may take, the likeliest first."""
    if annotation is TaskName:
        return [TASK]
    if annotation is ModelName:
        return [BASE]
    if get_origin(annotation) in (tuple, list) and ModelName in get_args(annotation):
        least = bounds[MinLen].min_length if MinLen in bounds else 1
        return [[*MODELS, *(f"model_{i}" for i in range(2, least))], [MODELS[0]]]
    values = [value for option in get_args(annotation) for value in _candidates(option, {})]
    low = _bound(bounds, (Ge, "ge"), (Gt, "gt"), -math.inf)
    high = _bound(bounds, (Le, "le"), (Lt, "lt"), math.inf)
    numbers = [0.5, 1, 0.25, 2, 1e-3, 10]
    numbers += [bound for bound in (low, high, (low + high) / 2) if math.isfinite(bound)]
    numbers = [number for number in numbers if low <= number <= high]
    if annotation is float:
        return [float(number) for number in numbers]
    if annotation is int:
        return [int(number) for number in numbers if number == int(number)]
    if annotation is bool:
        return [True]
    return [*values, *([option for option in get_args(annotation) if isinstance(option, str | int | float)])]


def _bound(bounds: Mapping[type, Any], closed: tuple[type, str], opened: tuple[type, str], otherwise: float) -> float:
    for kind, attribute in (closed, opened):
        if kind in bounds:
            return float(getattr(bounds[kind], attribute))
    return otherwise


def _fits(component: type[Component], name: str, value: Any) -> bool:
    """Whether the component has nothing to say against a value of this one field."""
    try:
        component.model_validate({name: value})
    except ValidationError as error:
        return not any(one["loc"] and one["loc"][0] == name for one in error.errors(include_url=False))
    except Exception:
        return False
    return True
