"""A bad component, the check that it fails, and what its author is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from compat_spec.components import Component


@dataclass(frozen=True)
class Bad:
    component: type[Component]
    check: str
    words: str
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.component.__name__}-{self.check}"
