"""A component's checks as one parametrised test of pytest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from compat_spec.components import Component
from compat_spec.testing.checks import Check, ContractBroken, NotChecked, checks_of
from compat_spec.testing.parameters import CannotMakeUp
from compat_spec.testing.subject import Subject


def contract(
    component: type[Component], parameters: Mapping[str, Any] | None = None, *, skip: Mapping[str, str] | None = None
) -> Callable[..., None]:
    """A test for each check of a component's contract: `test_contract = contract(MyMerge)`.

    Args:
        parameters: called as in a spec: `{"alpha": 0.3}`. Required ones that are missing are made up where their type,
            bounds or `examples` tell what a value would be.
        skip: checks to leave out, by name, and why; the reason is in pytest's summary.

    Raises:
        ValueError: `skip` names no check of this component.
    """
    import pytest

    subject = Subject(component, parameters or {})
    checks = checks_of(component)
    reasons = dict(skip or {})
    unknown = sorted(set(reasons) - {check.name for check in checks})
    if unknown:
        known = ", ".join(check.name for check in checks)
        raise ValueError(f"{component.__name__} has no check {unknown[0]!r} to skip; there are {known}")

    @pytest.mark.parametrize("check", [pytest.param(check, id=check.name) for check in checks])
    def test(check: Check) -> None:
        __tracebackhide__ = True
        if check.name in reasons:
            pytest.skip(reasons[check.name])
        message = ""
        try:
            check.run(subject)
        except NotChecked as reason:
            pytest.skip(str(reason))
        except CannotMakeUp as error:
            message = str(error)
        except ContractBroken as error:
            if error.__cause__ is not None:  # the component's own traceback tells more
                raise
            message = str(error)
        if message:
            pytest.fail(message, pytrace=False)

    test.__doc__ = f"{component.__name__} keeps its contract."
    return test
