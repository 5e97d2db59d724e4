"""The component that is checked, with parameters to check it with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from compat_spec.components import Component
from compat_spec.testing.parameters import are_of_the_docstring, example_parameters

T = TypeVar("T")


@dataclass(frozen=True)
class Subject:
    """A component that is checked, with parameters to check it with.

    Args:
        component: the class.
        given: parameters, called as in a spec. Required ones that are missing are made up where that is possible.
    """

    component: type[Component]
    given: Mapping[str, Any] = field(default_factory=dict)
    _found: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        return self.component.__name__

    @cached_property
    def parameters(self) -> Mapping[str, Any]:
        """Parameters that it should take. Raises `CannotMakeUp`."""
        return example_parameters(self.component, self.given)

    @property
    def is_checked_with_its_docstring(self) -> bool:
        """Whether the parameters are those of its docstring's example."""
        return are_of_the_docstring(self.component, self.given, self.parameters)

    def make(self, **changed: Any) -> Any:
        """The component with these parameters, some of them changed."""
        return self.component.model_validate({**self.parameters, **changed})

    def once(self, what: str, find: Callable[[], T]) -> T:
        """Something costly that several checks look at; an error of it is one for each of them."""
        if what not in self._found:
            try:
                self._found[what] = find()
            except Exception as error:
                self._found[what] = _Raised(error)
        found = self._found[what]
        if isinstance(found, _Raised):
            raise found.error
        return found  # type: ignore[no-any-return]


@dataclass(frozen=True)
class _Raised:
    error: Exception
