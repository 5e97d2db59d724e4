"""Fields that name other declarations of the spec."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from compat_spec.components.component import Component


class _Name(str):
    """A string field that names another declaration of the spec; the engine checks it and hands over the thing."""

    kind: ClassVar[str]

    @classmethod
    def __get_pydantic_core_schema__(cls, source: type[Any], handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(cls, core_schema.str_schema(min_length=1))

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "description": f"The name of a {cls.kind} of this spec."}


class TaskName(_Name):
    """The name of a task of the spec. A component with a field of this type is given that task's data."""

    kind = "task"


class ModelName(_Name):
    """The name of a model of the spec, or of its checkpoint at a step: `math`, `math@100`."""

    kind = "model"


def names_in(component: Component, kind: type[_Name]) -> Iterator[str]:
    """Every name of a kind (`TaskName`, `ModelName`) in a component's fields, in order, each once."""
    seen: set[str] = set()
    for _, value in component:
        for name in names_within(value, kind):
            if name not in seen:
                seen.add(name)
                yield name


def names_within(value: Any, kind: type[_Name]) -> Iterator[str]:
    """Every name of a kind in the value of a field: itself, or inside models, mappings (keys too) and lists."""
    if isinstance(value, kind):
        yield value
    elif isinstance(value, BaseModel):
        for _, inner in value:
            yield from names_within(inner, kind)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from names_within(key, kind)
            yield from names_within(inner, kind)
    elif isinstance(value, list | tuple | set | frozenset):
        for inner in value:
            yield from names_within(inner, kind)
