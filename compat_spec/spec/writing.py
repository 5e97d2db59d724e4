"""Writes specs as YAML."""

from __future__ import annotations

from typing import Any

import yaml

from compat_spec.spec.scalars import CoreResolver


class _Dumper(yaml.SafeDumper):
    """Puts text that looks like a number or `true` under the core schema in quotes, and no other text."""

    yaml_implicit_resolvers = CoreResolver.yaml_implicit_resolvers

    def ignore_aliases(self, data: object) -> bool:
        return True


def as_yaml(plain: Any, *, compact: bool = False) -> str:
    """A tree of plain values as YAML.

    Args:
        compact: whether what holds no other mapping or list stands on one line.
    """
    flow = None if compact else False
    return yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120, default_flow_style=flow)
