"""The settings of mergekit's parameters in the words of ours.

A setting is a value, a list of values over depth, or a list of these with the parts of tensor names that they are for:
`[{filter: mlp, value: 0.3}, {value: 0.5}]`, of which the first that fits holds. Where none fits, the next source of
the parameter is asked (a model's own, its slice's, that of all), and in the end the method's default holds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compat_plugins.importers.mergekit.methods import Parameter
from compat_spec.nn.per_tensor import OTHERS

if TYPE_CHECKING:
    from compat_spec.spec.nodes import Node
    from compat_spec.spec.problems import Problems

_TRUTHS = {
    **dict.fromkeys(("1", "yes", "on", "y", "t", "true"), True),
    **dict.fromkeys(("0", "no", "off", "n", "f", "false"), False),
}
"""What mergekit takes for true and false."""


@dataclass(frozen=True)
class Source:
    """A mapping of parameters, and its path in the file."""

    parameters: Node
    where: str


def over_depth(values: Sequence[float]) -> Any:
    """Values that are spread evenly over the depth of the whole result."""
    return {"gradient": list(values)}


class Settings:
    """Converts the settings of one merge, and reports those that ours cannot have.

    Args:
        renumbered: whether the blocks of the merge have other numbers than those of the models.
    """

    def __init__(self, problems: Problems, *, renumbered: bool = False) -> None:
        self._problems = problems
        self._renumbered = renumbered

    def setting(
        self,
        parameter: Parameter,
        sources: Sequence[Source],
        gradient: Callable[[Sequence[float]], Any] = over_depth,
    ) -> Any:
        """The setting of a parameter; None when no source has it.

        Args:
            sources: from the first that is asked to the last.
            gradient: makes ours of values over depth.
        """
        found: dict[str, Any] = {}
        last: tuple[Node, str] | None = None
        for source in sources:
            node = source.parameters.mapping.get(parameter.name)
            if node is None or OTHERS in found:
                continue
            last = node, f"{source.where}.{parameter.name}"
            for part, value, where in self._conditions(*last):
                if OTHERS not in found and part not in found:
                    found[part] = self._value(parameter, value, where, gradient)
        if last is None or not found:
            return None
        if OTHERS not in found:
            if parameter.default is None:
                self._add(*last, "nothing is said for the tensors that no filter fits", "add an entry without a filter")
            found[OTHERS] = parameter.default
        if len(found) == 1:
            return found[OTHERS]
        if parameter.kind != "number":
            self._add(*last, f"{parameter.name} cannot differ from tensor to tensor", "give one value")
        return found

    def _conditions(self, node: Node, where: str) -> Iterator[tuple[str, Node, str]]:
        """The part of a tensor's name, the value, and the path of each entry."""
        entries = [(node, where)] if node.mapping else [(item, f"{where}.{i}") for i, item in enumerate(node.items)]
        if not any(entry.mapping for entry, _ in entries):
            if node.value != []:
                yield OTHERS, node, where
            return
        for entry, path in entries:
            value, part = entry.mapping.get("value"), entry.mapping.get("filter")
            if value is None:
                self._add(entry, path, f"{entry.in_words()} has no `value`", "write {filter: part of a name, value: …}")
                continue
            plain = OTHERS if part is None or part.value is None else str(part.value)
            if self._renumbered and re.search(r"(^|\.)\d", plain):
                what = (
                    "a filter with a number means a layer of the model that it comes from, and here one of the result"
                )
                self._add(part or entry, f"{path}.filter", what, "name parts of layers only, such as o_proj")
            yield plain, value, f"{path}.value"

    def _value(self, parameter: Parameter, node: Node, where: str, gradient: Callable[[Sequence[float]], Any]) -> Any:
        if not isinstance(node.value, list):
            return self._scalar(parameter, node, where)
        values = [self._scalar(parameter, item, f"{where}.{i}") for i, item in enumerate(node.items)]
        if len(values) == 1:
            return values[0]
        if parameter.kind != "number":
            self._add(node, where, f"{parameter.name} cannot change over depth", "give one value")
            return values[0]
        return gradient(values)

    def _scalar(self, parameter: Parameter, node: Node, where: str) -> Any:
        value = node.value
        try:
            if parameter.kind == "switch":
                return bool(value) if value in (0, 1) else _TRUTHS[str(value).lower()]
            if isinstance(value, bool) or not isinstance(value, int | float | str):
                raise ValueError
            number = float(value) if isinstance(value, str) else value
            return int(number) if parameter.kind == "integer" and number == int(number) else number
        except (ValueError, KeyError, OverflowError):
            kinds = {"switch": "true or false", "integer": "a whole number", "number": "a number"}
            self._add(node, where, f"{node.in_words()} does not fit", f"expected {kinds[parameter.kind]}")
            return 0

    def _add(self, node: Node, where: str, what: str, advice: str = "") -> None:
        self._problems.add(node.place, where, what, advice)
