"""Writes specs as YAML."""

from __future__ import annotations

from typing import Any

import yaml

from compat_spec.spec.scalars import CoreResolver


class _Dumper(yaml.SafeDumper):
    """Puts text that looks like a number or `true` under the core schema in quotes, and text of several lines."""

    yaml_implicit_resolvers = CoreResolver.yaml_implicit_resolvers

    def ignore_aliases(self, data: object) -> bool:
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", data, style='"' if "\n" in data else None)


_Dumper.add_representer(str, _Dumper.represent_str)


class _OneLineDumper(_Dumper):
    """Writes line breaks inside text as escapes."""

    def represent_str(self, data: str) -> yaml.ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", data, style='"' if "\n" in data else None)


_OneLineDumper.add_representer(str, _OneLineDumper.represent_str)


def as_yaml(plain: Any, *, compact: bool = False) -> str:
    """A tree of plain values as YAML.

    Args:
        compact: whether what holds no other mapping or list stands on one line.
    """
    flow = None if compact else False
    return yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120, default_flow_style=flow)


def on_one_line(plain: Any) -> str:
    """The same in the flow style, all on one line: `{use: linear, models: [a, b]}`."""
    text: str = yaml.dump(
        plain, Dumper=_OneLineDumper, sort_keys=False, allow_unicode=True, width=float("inf"), default_flow_style=True
    )
    return text.removesuffix("\n").removesuffix("\n...")
