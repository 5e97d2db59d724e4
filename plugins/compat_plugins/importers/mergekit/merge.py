"""Our declaration of a merge of mergekit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from compat_plugins.importers.mergekit.inputs import Input, given, of_all
from compat_plugins.importers.mergekit.methods import METHODS, Parameter
from compat_plugins.importers.mergekit.models import Models
from compat_plugins.importers.mergekit.parameters import Settings, Source

if TYPE_CHECKING:
    from compat_spec.spec.nodes import Node
    from compat_spec.spec.problems import Place, Problems


class Declared:
    """The parameters of our merge, and where each comes from in the file."""

    def __init__(self, document: Node, models: Models, problems: Problems) -> None:
        self.params: dict[str, Any] = {}
        self.origins: dict[str, tuple[Place, str]] = {}
        self._document = document
        self._models = models
        self._problems = problems
        self._settings = Settings(problems)

    def add(self, key: str, value: Any, place: Place, where: str) -> None:
        self.params[key] = value
        self.origins[key] = (place, where)

    # ------------------------------------------------------------------------------------- merges of whole models

    def combine(self, inputs: Sequence[Input], base: str | None, name: str) -> None:
        """A merge of whole models by any method but passthrough."""
        method = METHODS[name]
        inputs = list(inputs)
        for i, one in enumerate(inputs):
            if one.name in [other.name for other in inputs[:i]]:
                self._problems.add(one.place, f"{one.where}.model", f"{one.name} is named twice")
        if base is None and method.base in ("apart", "first"):
            self._problems.add(self._document.place, "base_model", f"{name} needs a base model")
        if method.base in ("first", "among"):
            if base is not None and base not in [one.name for one in inputs]:
                place = self._document.place_of("base_model")
                of_base = (
                    Source(self._document.without(*self._document.mapping), "base_model"),
                    of_all(self._document),
                )
                inputs.append(Input(base, of_base, "base_model", place))
            # in mergekit the result has the base's config and tokenizer, in ours the first model's
            inputs.sort(key=lambda one: one.name != base)
        else:
            inputs = [one for one in inputs if one.name != base]
        self._name_models([one.name for one in inputs])
        if method.base in ("apart", "optional") and base is not None:
            self.add("base", base, self._document.place_of("base_model"), "base_model")
        for parameter in method.parameters:
            if parameter.per_model:
                self._of_each(parameter, inputs)
            else:
                self._of_all(parameter, inputs[0].sources[1:] if inputs else ())

    def _name_models(self, names: list[str]) -> None:
        key = "slices" if given(self._document, "slices") else "models"
        self.add("models", names, self._document.place_of(key), key)

    def _of_all(self, parameter: Parameter, sources: Sequence[Source]) -> None:
        value = self._settings.setting(parameter, sources)
        place, where = self._origin(parameter, sources)
        if value is not None:
            self.add(parameter.name, value, place, where)
        elif parameter.default is None:
            self._problems.add(place, where, f"the merge needs `{parameter.name}`")

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
        self._name_models([one.name for one in inputs])
        if base is not None and base not in self.params["models"]:
            place = self._document.place_of("base_model")
            self._problems.add(place, "base_model", "passthrough takes one model only", "leave the base model out")
        if inputs:
            self._of_all(scale, inputs[0].sources)

    def stack(self, slices: Sequence[Sequence[Input]], base: str | None) -> None:
        """passthrough of slices."""
        for i, inputs in enumerate(slices):
            if len(inputs) > 1:
                what = f"passthrough takes one model for each slice, not {len(inputs)}"
                self._problems.add(inputs[1].place, f"slices.{i}.sources", what)
        inputs = [one for inputs in slices for one in inputs]
        names = list(dict.fromkeys(one.name for one in inputs))
        self._name_models(sorted(names, key=lambda name: name != base))  # the config is the base's, and the first's
        total = sum(one.layers[1] - one.layers[0] for one in inputs)
        stack, done = [], 0
        for one in inputs:
            depth = self._models.depth(one.name)
            if depth is not None and one.layers[1] > depth:
                what = f"layers {list(one.layers)} are taken of {one.name}, which has {depth}"
                self._problems.add(one.place, f"{one.where}.layer_range", what)
            scale = self._scale(one, done, total)
            stack.append({"model": one.name, "layers": list(one.layers), **({} if scale is None else {"scale": scale})})
            done += one.layers[1] - one.layers[0]
        self.add("slices", stack, self._document.place_of("slices"), "slices")

    def _scale(self, one: Input, before: int, total: int) -> Any:
        """A slice's scale: values over the depth of the slice become one value for each block of the result."""
        (scale,) = METHODS["passthrough"].parameters
        place, where = self._origin(scale, one.sources)
        count = one.layers[1] - one.layers[0]

        def over_slice(values: Sequence[float]) -> Any:
            if count == 1:
                self._problems.add(place, where, "a slice of one layer has no depth for values to change over")
                return 0
            depths = [min(max(block - before, 0), count - 1) / (count - 1) for block in range(total)]
            return {"gradient": [_between(values, depth) for depth in depths]}

        value = self._settings.setting(scale, one.sources, over_slice)
        parts = list(value) if isinstance(value, dict) and "gradient" not in value else []
        if any(character.isdigit() for part in parts for character in part):
            what = "a filter with a number means a layer of the model that it comes from, and in ours one of the stack"
            self._problems.add(place, where, what, "name parts of layers only, such as o_proj")
        return value


def _between(values: Sequence[float], depth: float) -> float:
    """The value at a depth of a line through evenly spread points, at least two."""
    position = depth * (len(values) - 1)
    below = min(int(position), len(values) - 2)
    return values[below] + (position - below) * (values[below + 1] - values[below])
