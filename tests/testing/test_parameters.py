"""What a component is checked with when nobody says: values that its fields allow together, or a way to give some."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from pydantic import Field, model_validator

from compat_spec.components import Component, Example, Task, TaskName
from compat_spec.errors import CompatError
from compat_spec.testing import run_checks
from compat_spec.testing.parameters import CannotMakeUp, example_parameters


class Ordered(Component):
    """Two numbers, one below the other."""

    low: float = Field(gt=0, lt=1, description="The lower one.")
    high: float = Field(gt=0, le=2, description="The higher one.")

    @model_validator(mode="after")
    def _in_order(self) -> Ordered:
        if self.low >= self.high:
            raise ValueError(f"low {self.low} has to be below high {self.high}")
        return self


class Impossible(Component):
    """Takes nothing."""

    low: float = Field(description="A number.")

    @model_validator(mode="after")
    def _never(self) -> Impossible:
        raise ValueError(f"{self.low} is not the number")


class Many(Component):
    """Weights of several."""

    weights: tuple[float, ...] = Field(min_length=3, description="Three numbers.")
    on: Mapping[TaskName, float] = Field(description="Tasks and their shares.")


class OfAServer(Task):
    """What a server has.

    Example:
        address: nowhere
    """

    address: str = Field(description="The server.")

    def splits(self) -> Mapping[str, Sequence[Example]]:
        raise CompatError(f"{self.address} does not answer")


def test_values_that_fit_together_are_found() -> None:
    found = example_parameters(Ordered, {})
    assert found["low"] < found["high"]
    assert example_parameters(Ordered, {"high": 0.3})["low"] < 0.3


def test_several_values_are_made_up_of_one() -> None:
    assert example_parameters(Many, {}) == {"weights": [0.5] * 3, "on": {"task": 0.5}}


def test_where_none_do_it_says_why_and_how_to_give_some() -> None:
    with pytest.raises(
        CannotMakeUp, match=r"0\.5 is not the number.*contract\(Impossible, \{'low': …\}\).*--with low=…"
    ):
        example_parameters(Impossible, {})


@pytest.mark.parametrize(("parameters", "status"), [({}, "skipped"), ({"address": "there"}, "failed")])
def test_what_a_docstring_names_need_not_be_here(parameters: Mapping[str, Any], status: str) -> None:
    (outcome,) = [one for one in run_checks(OfAServer, parameters) if one.check.name == "keeps_splits_apart"]
    assert outcome.status == status
    assert "does not answer" in outcome.message
