"""What a person should know of a plugin, from its class: for `compat plugins show`, and for a page of the docs."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import yaml

from compat_spec.components import (
    Component,
    LayerMetric,
    Merge,
    Metric,
    ModelName,
    ModelSource,
    ModuleMerge,
    Task,
    TaskName,
    Trainer,
)
from compat_spec.registry import Plugin
from compat_spec.spec.keys import DEFAULT_TRAINER
from compat_spec.spec.parameters import Parameter, parameters_of

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
        return None if section is None else _as_yaml(section)

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
        if written:
            found = yaml.safe_load(inspect.cleandoc(written[1]))
            return {key: value for key, value in found.get("train", found).items() if key != "use"}
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
        if parameter.name == "models":
            (most,) = [getattr(mark, "max_length", None) for mark in self._marks("models")][-1:] or [None]
            return list(MODELS[:most])
        annotation = str(self.component.parameters()[parameter.name].annotation)
        if TaskName.__name__ in annotation:
            return TASK
        if ModelName.__name__ in annotation:
            return BASE
        return ...

    def _marks(self, name: str) -> Sequence[Any]:
        return [mark for mark in self.component.parameters()[name].metadata if hasattr(mark, "max_length")]


def _as_yaml(section: Mapping[str, Any]) -> str:
    """A section with one declaration: on one line where that is not long."""
    ((title, declarations),) = section.items()
    ((name, declaration),) = declarations.items()

    def dump(value: Any, **options: Any) -> str:
        text: str = yaml.safe_dump(value, sort_keys=False, width=10_000, allow_unicode=True, **options)
        return text

    line = f"  {name}: {dump(declaration, default_flow_style=True)}"
    if len(line) <= _WIDEST:
        return f"{title}:\n{line}"
    lines = [f"    {key}: {dump(value, default_flow_style=True).removesuffix('...' + chr(10))}" for key, value in declaration.items()]
    return f"{title}:\n  {name}:\n" + "".join(lines)
