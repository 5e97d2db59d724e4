"""From a step's component calls back to the components themselves."""

from __future__ import annotations

from typing import TypeVar

from compat_spec import registry
from compat_spec.components import Component
from compat_spec.plan import ComponentCall

C = TypeVar("C", bound=Component)


def component_of(call: ComponentCall | None, contract: type[C]) -> C:
    """The component of a call, with its parameters validated again where it runs."""
    assert call is not None, f"the step has no {contract.__name__}"
    component = registry.component(call.namespace, call.use).model_validate(call.params)
    assert isinstance(component, contract), f"{call.use} is not a {contract.__name__}"
    return component
