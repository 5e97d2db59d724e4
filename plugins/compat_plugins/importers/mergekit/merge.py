"""Our declaration of a merge of mergekit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from compat_plugins.importers.mergekit.inputs import Input, Slice
from compat_plugins.importers.mergekit.methods import METHODS, Parameter
from compat_plugins.importers.mergekit.models import Models
from compat_plugins.importers.mergekit.parameters import Settings, Source

if TYPE_CHECKING:
    from compat_spec.spec.nodes import Node
    from compat_spec.spec.problems import Place, Problems


class Declared:
    """The parameters of our merge, and where each comes from in the file.

    Args:
        use: the method.
        renumbered: whether its blocks have other numbers than those of the models.
    """

    def __init__(self, use: str, document: Node, problems: Problems, *, renumbered: bool = False) -> None:
        self.use = use
        self.params: dict[str, Any] = {}
        self.origins: dict[str, tuple[Place, str]] = {}
        self._document = document
        self._problems = problems
        self._settings = Settings(problems, renumbered=renumbered)

    def add(self, key: str, value: Any, place: Place, where: str) -> None:
        self.params[key] = value
        self.origins[key] = (place, where)

    def plain(self) -> dict[str, Any]:
        return {"use": self.use, **self.params}

    # ------------------------------------------------------------------------------- merges of the same layers of all

    def combine(self, inputs: Sequence[Input], base: str | None, shared: Sequence[Source]) -> None:
        """A merge by any method but passthrough.

        Args:
            shared: the sources of the parameters that are none of a single model.
        """
        method = METHODS[self.use]
        inputs = list(inputs)
        for i, one in enumerate(inputs):
            if one.name in [other.name for other in inputs[:i]]:
                self._problems.add(one.place, f"{one.where}.model", f"{one.name} is named twice")
        if base is None and method.base in ("apart", "first"):
            self._problems.add(self._document.place, "base_model", f"{self.use} needs a base model")
        if method.base in ("first", "among"):
            if base is not None and base not in [one.name for one in inputs]:
                of_base = Source(self._document.without(*self._document.mapping), "base_model"), *shared
                inputs.append(Input(base, of_base, "base_model", self._document.place_of("base_model")))
            # in mergekit the result has the base's config and tokenizer, in ours the first model's
            inputs.sort(key=lambda one: one.name != base)
        else:
            inputs = [one for one in inputs if one.name != base]
        self._name_models(inputs)
        if method.base in ("apart", "optional") and base is not None:
            self.add("base", base, self._document.place_of("base_model"), "base_model")
        for parameter in method.parameters:
            if parameter.per_model:
                self._of_each(parameter, inputs)
            else:
                self._of_all(parameter, shared)

    def _name_models(self, inputs: Sequence[Input]) -> None:
        first = next((one for one in inputs if one.where != "base_model"), None)
        place, where = (first.place, first.where.rpartition(".")[0]) if first else (self._document.place, "models")
        self.add("models", [one.name for one in inputs], place, where)

    def _of_all(self, parameter: Parameter, sources: Sequence[Source]) -> None:
        value = self._settings.setting(parameter, sources)
        place, where = self._origin(parameter, sources)
        if value is not None:
            self.add(parameter.name, value, place, where)
        elif parameter.default is None:
            what = f"the merge needs `{parameter.name}`"
            self._problems.add(place, where, what, "it stands in the `parameters` of the whole merge")

    def _of_each(self, parameter: Parameter, inputs: Sequence[Input]) -> None:
        each = [self._settings.setting(parameter, one.sources) for one in inputs]
        if parameter.default is None:
            for one, value in zip(inputs, each, strict=True):
                if value is None:
                    self._problems.add(one.place, f"{one.where}.parameters", f"{one.name} needs `{parameter.name}`")
        if any(value is not None for value in each):
            each = [parameter.default if value is None else value for value in each]
            value = each[0] if all(value == each[0] for value in each) else each
            self.add(parameter.name, value, *self._origin(parameter, inputs[0].sources))

    def _origin(self, parameter: Parameter, sources: Sequence[Source]) -> tuple[Place, str]:
        for source in sources:
            if parameter.name in source.parameters.mapping:
                return source.parameters.place_of(parameter.name), f"{source.where}.{parameter.name}"
        return self._document.place, f"parameters.{parameter.name}"

    # ----------------------------------------------------------------------------------------------- passthrough

    def keep(self, inputs: Sequence[Input], base: str | None) -> None:
        """passthrough of one model."""
        (scale,) = METHODS["passthrough"].parameters
        self._name_models(inputs)
        if base is not None and base not in self.params["models"]:
            place = self._document.place_of("base_model")
            self._problems.add(place, "base_model", "passthrough takes one model only", "leave the base model out")
        if inputs:
            self._of_all(scale, inputs[0].sources)

    def stack(self, slices: Sequence[Slice], base: str | None, models: Models) -> None:
        """passthrough of slices."""
        for part in slices:
            if len(part.inputs) > 1:
                what = f"passthrough takes one model for each slice, not {len(part.inputs)}"
                self._problems.add(part.inputs[1].place, f"{part.where}.sources", what)
        inputs = [one for part in slices for one in part.inputs]
        names = {one.name: one for one in inputs}
        self._name_models(sorted(names.values(), key=lambda one: one.name != base))  # whose config is the result's
        total = sum(one.count for one in inputs)
        stack, done = [], 0
        for one in inputs:
            check_depth(one, models, self._problems)
            scale = self._scale(one, done, total)
            stack.append({"model": one.name, "layers": list(one.layers), **({} if scale is None else {"scale": scale})})
            done += one.count
        self.add("slices", stack, self._document.place_of("slices"), "slices")

    def _scale(self, one: Input, before: int, total: int) -> Any:
        """A slice's scale: values over the depth of the slice become one value for each block of the result."""
        (scale,) = METHODS["passthrough"].parameters
        place, where = self._origin(scale, one.sources)

        def over_slice(values: Sequence[float]) -> Any:
            if one.count == 1:
                self._problems.add(place, where, "a slice of one layer has no depth for values to change over")
                return 0
            depths = [min(max(block - before, 0), one.count - 1) / (one.count - 1) for block in range(total)]
            return {"gradient": [_between(values, depth) for depth in depths]}

        return self._settings.setting(scale, one.sources, over_slice)


def check_depth(one: Input, models: Models, problems: Problems) -> None:
    """Report layers that a model has not, as far as that is known."""
    depth = models.depth(one.name)
    if depth is not None and one.layers[1] > depth:
        what = f"layers {list(one.layers)} are taken of {one.name}, which has {depth}"
        problems.add(one.place, f"{one.where}.layer_range", what)


def _between(values: Sequence[float], depth: float) -> float:
    """The value at a depth of a line through evenly spread points, at least two."""
    position = depth * (len(values) - 1)
    below = min(int(position), len(values) - 2)
    return values[below] + (position - below) * (values[below + 1] - values[below])
