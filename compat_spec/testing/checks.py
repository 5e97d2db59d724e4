"""What a check is, which checks a component is put to, and how they went."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal, TypeAlias

from compat_spec.components import Component
from compat_spec.errors import CompatError
from compat_spec.testing.kinds import FILES
from compat_spec.testing.parameters import CannotMakeUp
from compat_spec.testing.subject import Subject

Test: TypeAlias = Callable[[Subject], None]
"""Puts a component to a check; raises `ContractBroken` where it fails."""


class ContractBroken(AssertionError):  # noqa: N818
    """A component does not keep its contract. The message says what it did and what would be right."""


class NotChecked(Exception):  # noqa: N818
    """A check that cannot be made of this component here; the message says why."""


@dataclass(frozen=True)
class Check:
    """One thing that a contract asks for.

    Attributes:
        of: the contract that asks for it.
        name: a word for `-k` and `skip`, such as `leaves_inputs_unchanged`.
        meaning: a sentence that says what has to hold.
    """

    of: type[Component]
    name: str
    meaning: str
    test: Test = field(repr=False)
    applies: Callable[[Any], bool] = field(repr=False)

    def run(self, subject: Subject) -> None:
        """Put a component to this check.

        Raises:
            ContractBroken: it fails; by an exception of the component itself, that is the cause.
            CannotMakeUp, NotChecked: it cannot be put to it.
        """
        __tracebackhide__ = True
        try:
            self.test(subject)
        except (ContractBroken, CannotMakeUp, NotChecked):
            raise
        except Exception as error:
            if isinstance(error, CompatError) and subject.is_checked_with_its_docstring:
                raise CannotMakeUp(
                    f"{error} (it was checked with the example of its docstring: give parameters that do here, as in "
                    f"contract({subject.name}, {{…}}) or `compat plugins check … --with NAME=VALUE`)"
                ) from error
            what = f"{subject.name} raised {type(error).__name__}: {error}"
            raise ContractBroken(f"{what}\n(while this was checked: {self.meaning})") from error


class Checks:
    """The checks of a contract, in order: a decorator of the functions that make them."""

    def __init__(self, of: type[Component]) -> None:
        self.of = of
        self.found: list[Check] = []

    def __call__(self, test: Test) -> Test:
        """Adds a function as a check; its docstring's first line is the meaning."""
        return self.where(lambda _: True)(test)

    def where(self, applies: Callable[[Any], bool]) -> Callable[[Test], Test]:
        """The same, for some of the classes that have the contract."""

        def add(test: Test) -> Test:
            meaning = (inspect.getdoc(test) or "").partition("\n")[0]
            self.found.append(Check(self.of, test.__name__, meaning, test, applies))
            return test

        return add


@dataclass(frozen=True)
class Outcome:
    """How a check went; `message` says what is wrong, or why it was not made."""

    check: Check
    status: Literal["passed", "failed", "skipped"]
    message: str = ""


def checks_of(component: type[Component]) -> Sequence[Check]:
    """The checks that a component is put to, those that all components share first."""
    found: list[Check] = []
    for contract, file in FILES.items():
        if issubclass(component, contract):
            checks: Checks = import_module(f"compat_spec.testing.kinds.{file}").check
            found += [check for check in checks.found if check.applies(component)]
    return found


def run_checks(
    component: type[Component],
    parameters: Mapping[str, Any] | None = None,
    *,
    skip: Mapping[str, str] | None = None,
) -> Iterator[Outcome]:
    """Put a component to all its checks, one after the other.

    Args:
        parameters: called as in a spec. Required ones that are missing are made up where that is possible.
        skip: checks to leave out, by name, and why.
    """
    subject = Subject(component, parameters or {})
    for check in checks_of(component):
        if check.name in (skip or {}):
            yield Outcome(check, "skipped", (skip or {})[check.name])
            continue
        yield outcome_of(check, subject)


def outcome_of(check: Check, subject: Subject) -> Outcome:
    """Put a component to one check."""
    try:
        check.run(subject)
    except ContractBroken as error:
        return Outcome(check, "failed", str(error))
    except (CannotMakeUp, NotChecked) as error:
        return Outcome(check, "skipped", str(error))
    return Outcome(check, "passed")


def demand(holds: bool, message: str) -> None:
    """Raise `ContractBroken` unless something holds."""
    __tracebackhide__ = True
    if not holds:
        raise ContractBroken(message)
