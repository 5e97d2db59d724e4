"""What a person should know of a component's parameters: name, type in words, default, meaning."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compat_spec.components import Component
from compat_spec.spec.schema import parameters_schema


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a component.

    Attributes:
        name: what a spec calls it.
        type: its type in words: `integer or null`, `number per tensor`.
        default: as a spec would write it; empty when there is none, or when it is null.
        required: whether a spec must give it.
        meaning: its description; empty when it has none.
        examples: values that would do, where the class gives some.
    """

    name: str
    type: str
    default: str
    required: bool
    meaning: str
    examples: Sequence[Any] = ()


def parameters_of(cls: type[Component]) -> list[Parameter]:
    """The parameters of a component, in the order of its fields."""
    schema = parameters_schema(cls)
    required = schema.get("required", ())
    definitions = schema.get("$defs", {})
    return [
        Parameter(
            name=name,
            type=_type(field, definitions),
            default=_default(field.get("default")),
            required=name in required,
            meaning=field.get("description", ""),
            examples=field.get("examples", ()),
        )
        for name, field in schema.get("properties", {}).items()
    ]


def _default(value: Any) -> str:
    return "" if value is None else json.dumps(value)


def _type(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """A JSON Schema type in words."""
    if "$ref" in field:
        return _type(definitions[field["$ref"].rpartition("/")[2]], definitions)
    options = field.get("anyOf", field.get("oneOf"))
    if options is not None:
        if any(re.search(r"/Gradient\d*$", option.get("$ref", "")) for option in options):  # a `PerTensor`
            return f"{_type(options[0], definitions)} per tensor"
        words = list(dict.fromkeys(_type(option, definitions) for option in options))
        if words[1:] == [f"list of {words[0]}"] and words[0].endswith(" per tensor"):  # a `PerModel`
            return f"{words[0]}, or list with one per model"
        return " or ".join(words)
    if "enum" in field:
        return " | ".join(map(str, field["enum"]))
    if "const" in field:
        return str(field["const"])
    match field.get("type"):
        case "array":
            items = field.get("items", {})
            return f"list of {_type(items, definitions)}" if items else "list"
        case "object":
            inner = field.get("additionalProperties")
            return f"mapping to {_type(inner, definitions)}" if isinstance(inner, dict) else "mapping"
        case str(name):
            return name
    return "any"
