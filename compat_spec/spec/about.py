"""What a person should know of a plugin, from its class: for `compat plugins show`, and for a page of the docs."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, get_args

from annotated_types import MaxLen

from compat_spec.components import (
    Component,
    LayerMetric,
    Merge,
    Metric,
    ModelSource,
    ModuleMerge,
    Task,
    TaskName,
    Trainer,
)
from compat_spec.registry import Plugin
from compat_spec.spec.keys import DEFAULT_TRAINER
from compat_spec.spec.parameters import Parameter, parameters_of
from compat_spec.spec.problems import Place, Problems
from compat_spec.spec.writing import as_yaml
from compat_spec.spec.yaml_files import read_value

MODELS = ("math", "code")
BASE = "base"
TASK = "target"
"""What the examples call the models and the task that a spec would declare beside them."""

_WIDEST = 100
_EXAMPLE = re.compile(r"^Example:\s*(.*)\Z", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class About:
    """A plugin that loads, in words.

    Attributes:
        plugin: what the registry knows: name, distribution, version, where its code is.
        component: its class.
    """

    plugin: Plugin
    component: type[Component]

    @property
    def kind(self) -> str:
        """`merge`, `metric`, …"""
        return self.plugin.namespace.removeprefix("compat.").removesuffix("s")

    @property
    def summary(self) -> str:
        """What it does, in a sentence."""
        return self.plugin.summary

    @property
    def paragraphs(self) -> Sequence[str]:
        """The rest of its help, where its source is named; each paragraph is one line."""
        text = _EXAMPLE.sub("", inspect.getdoc(self.component) or "")
        return [" ".join(block.split()) for block in text.split("\n\n")[1:] if block.strip()]

    @cached_property
    def parameters(self) -> Sequence[Parameter]:
        return parameters_of(self.component)

    @property
    def example(self) -> str | None:
        """A part of a spec that uses it, as YAML; None for what no spec names, such as executors.

        That of its docstring, or else the least that it needs: required parameters have the first of their `examples`.
        """
        section = self._section(self._declaration())
        if section is None:
            return None
        text = as_yaml(section, compact=True)
        return text if max(map(len, text.splitlines())) <= _WIDEST else as_yaml(section)

    def _section(self, declaration: dict[str, Any]) -> dict[str, Any] | None:
        name = f"my_{self.kind}"
        if issubclass(self.component, Trainer):
            use = {} if self.plugin.name == DEFAULT_TRAINER else {"use": self.plugin.name}
            return {"models": {"my_model": {"from": BASE, "train": {**use, **declaration}}}}
        for section, contract in (("tasks", Task), ("models", ModelSource), ("merges", Merge), ("metrics", Metric)):
            if issubclass(self.component, contract):
                return {section: {name: {"use": self.plugin.name, **declaration}}}
        return None

    def _declaration(self) -> dict[str, Any]:
        """The parameters of the example, and the keys of the engine that it needs."""
        written = _EXAMPLE.search(inspect.getdoc(self.component) or "")
        found = _read(inspect.cleandoc(written[1])) if written else None
        if found:
            parameters = found["train"] if issubclass(self.component, Trainer) else found
            return {key: value for key, value in parameters.items() if key != "use"}
        needed = {one.name: self._value(one) for one in self.parameters if one.required}
        if issubclass(self.component, ModuleMerge) and self.component.training == "needed":
            needed["train"] = {"on": TASK, "steps": 200}
        if issubclass(self.component, LayerMetric):
            needed["between"] = list(MODELS)
        if issubclass(self.component, Metric):
            needed["on"] = TASK
        return needed

    def _value(self, parameter: Parameter) -> Any:
        if parameter.examples:
            return parameter.examples[0]
        field = self.component.parameters()[parameter.name]
        if parameter.name == "models":
            most = [mark.max_length for mark in field.metadata if isinstance(mark, MaxLen)]
            return list(MODELS[: most[0] if most else None])
        return TASK if TaskName in _types(field.annotation) else BASE


def _types(annotation: Any) -> Iterator[Any]:
    """A type and all that it is made of."""
    yield annotation
    for inner in get_args(annotation):
        yield from _types(inner)


def _read(text: str) -> Any:
    node = read_value(text, Place(0, 0, 0, ""), "", Problems())
    return None if node is None else node.plain()
