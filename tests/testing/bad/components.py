"""Components of any kind that break what holds for all of them, each in one way."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field, PlainSerializer, field_validator

from compat_spec.components import Component, Example, Task
from tests.testing.bad.case import Bad
from tests.testing.bad.heavy import Heavy

_COUNT = itertools.count()


class Good(Task):
    """Two examples, one for each split."""

    def splits(self) -> Mapping[str, Sequence[Example]]:
        return {"train": [Example("a", "b")], "test": [Example("c", "d")]}


class Silent(Good):
    __doc__ = None


class Fragment(Good):
    """Two examples"""


class Undescribed(Good):
    """Two examples."""

    size: int = 3


class Numbered(Good):
    """Two examples."""

    version: ClassVar[Any] = 2


class Unfinished(Task):
    """Has no examples."""


class Inexpressible(Good):
    """Two examples."""

    how: Callable[[int], int] = Field(default=abs, description="What JSON has no word for.")


class Misdescribed(Good):
    """Two examples."""

    size: int = Field(default=3, description="How many.", json_schema_extra={"type": "whole number"})


class Lenient(Good):
    """Two examples."""

    model_config = ConfigDict(extra="ignore")


class Contradicting(Good):
    """Two examples."""

    size: int = Field(default=3, gt=5, description="How many.")


class Unwritable(Good):
    """Two examples."""

    size: Annotated[int, PlainSerializer(lambda size: f"{size} of them")] = Field(default=3, description="How many.")


class Crashing(Good):
    """Two examples."""

    names: tuple[str, ...] | str = Field(default="a", description="Names.")

    @field_validator("names", mode="before")
    @classmethod
    def _first(cls, names: Any) -> Any:
        return names[0]


class Thawed(Good):
    """Two examples."""

    model_config = ConfigDict(frozen=False)

    size: int = Field(default=3, description="How many.")


class Drifting(Good):
    """Two examples."""

    size: int = Field(default=3, description="How many.")

    @field_validator("size")
    @classmethod
    def _more(cls, size: int) -> int:
        return size + 1


class Fickle(Good):
    """Two examples."""

    def identity(self) -> Mapping[str, Any]:
        return {"call": next(_COUNT)}


BAD = [
    Bad(Silent, "says_what_it_does", "has no docstring"),
    Bad(Fragment, "says_what_it_does", "no whole sentence: 'Two examples'"),
    Bad(Undescribed, "describes_its_parameters", "Nothing says what size means"),
    Bad(Numbered, "has_a_version", "version is 2, and has to be a string"),
    Bad(Unfinished, "can_be_made", "Unfinished does not implement splits"),
    Bad(Contradicting, "can_be_made", "greater than 5"),
    Bad(Inexpressible, "has_a_json_schema", "No JSON Schema can be made"),
    Bad(Misdescribed, "has_a_json_schema", "is not valid: properties.size.type: 'whole number'"),
    Bad(Lenient, "has_a_json_schema", "allows parameters that are not known"),
    Bad(Unwritable, "takes_its_own_defaults", "The default of size is '3 of them', which it does not take"),
    Bad(Lenient, "refuses_unknown_parameters", "A misspelt parameter would pass in silence"),
    Bad(Crashing, "says_which_parameter_is_wrong", "ends in KeyError"),
    Bad(Thawed, "is_frozen", "can be set: leave `frozen`"),
    Bad(Drifting, "survives_a_round_trip", "reads as others"),
    Bad(Fickle, "says_what_it_is_made_of", "identity() says"),
    Bad(Heavy, "is_cheap_to_import", "imports tokenizers"),
]

assert issubclass(Good, Component)
