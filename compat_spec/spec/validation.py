"""Makes components out of the parameters of a spec."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from compat_spec import registry
from compat_spec.components import Component
from compat_spec.spec.complaints import Complaints, Setting
from compat_spec.spec.nodes import Node
from compat_spec.spec.problems import Place, Problems

NUMBERS = (int, float, int | None, float | None)


def find_class(namespace: str, use: str, place: Place, where: str, problems: Problems) -> type[Component] | None:
    """The class that `use:` names, which may be `distribution:name`."""
    for other in () if registry.has(namespace, use) else registry.CONTRACTS:
        if registry.has(other, use):
            kind, wanted = (space.removeprefix("compat.") for space in (other, namespace))
            known = ", ".join(registry.names(namespace)) or "none"
            problems.add(place, where, f"{use!r} is for {kind}, not for {wanted}", f"installed: {known}")
            return None
    try:
        return registry.component(namespace, use)
    except registry.PluginError as error:
        what, _, advice = str(error).partition("; ")
        problems.add(place, where, what, advice)
        return None


def make(
    cls: type[Component], use: str, params: Node, setting: Setting, folder: Path, problems: Problems
) -> tuple[Component | None, dict[str, Any]]:
    """The component with its parameters validated, and its fields.

    A component with mistakes is None; they are in `problems`, and the fields are those that are right by themselves.
    With mistakes in its sweeps it is None too, and they are not reported again.

    Args:
        folder: where the spec lies; validators find it as `info.context["folder"]`.
    """
    plain = params.plain()
    tainted = any(problems.is_muted(place) for place in params.places())
    truths = dict(_truths_for_numbers(cls, params))
    for key, node in truths.items():
        what = f"{node.in_words()} does not fit"
        problems.add(node.place, f"{setting.where}.{key}", what, "expected a number, not a truth value")
    with problems.of_plugin(use, setting.place, setting.where):
        try:
            component = cls.model_validate(plain, context={"folder": folder})
            return None if truths or tainted else component, dict(component)
        except ValidationError as error:
            errors = error.errors(include_url=False)
            if tainted:  # whether its parameters go together cannot be known
                errors = [error for error in errors if error["loc"]]
            Complaints(cls, use, setting, problems).report(errors, params)
    return None, dict(_right_by_themselves(cls, plain))


def _right_by_themselves(cls: type[Component], plain: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, field in cls.parameters().items():
        if key in plain:
            with suppress(Exception):  # what is wrong with it has been reported
                adapter: TypeAdapter[Any] = TypeAdapter(field.annotation)  # type: ignore[arg-type]
                yield key, adapter.validate_python(plain[key])


def _truths_for_numbers(cls: type[Component], params: Node) -> Iterator[tuple[str, Node]]:
    """Parameters that are `true` or `false` where a number belongs: pydantic would take them for 1 and 0."""
    for key, field in cls.parameters().items():
        node = params.mapping.get(key)
        if node is not None and isinstance(node.value, bool) and field.annotation in NUMBERS:
            yield key, node
