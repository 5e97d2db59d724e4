"""Fingerprints: the SHA-256 of everything that decides a step's result, and of nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel

from compat_spec import registry
from compat_spec.components import Component, ModelName, TaskName
from compat_spec.nn.per_tensor import OTHERS

FORMAT = 1
"""Raised when the engine itself starts to compute steps differently."""

Resolve = Callable[[str], str]
"""From a name of the spec to the fingerprint of what it stands for."""


def fingerprint(content: Mapping[str, Any]) -> str:
    """The fingerprint of JSON-able content, independent of the order of keys."""
    text = json.dumps({"format": FORMAT, **content}, sort_keys=True, separators=(",", ":"), allow_nan=True)
    return hashlib.sha256(text.encode()).hexdigest()


def component_content(use: str, component: Component, resolve: Resolve) -> dict[str, Any]:
    """What a component contributes: its code's identity and its parameters, names replaced by what they stand for."""
    return {
        "code": registry.source_identity(component.namespace, use),
        "params": {key: _canonical(value, resolve) for key, value in component},
        "identity": dict(component.identity()),
    }


def _canonical(value: Any, resolve: Resolve) -> Any:
    if isinstance(value, TaskName | ModelName):
        return {f"{value.kind}": resolve(value)}
    if isinstance(value, BaseModel):
        return {key: _canonical(inner, resolve) for key, inner in value}
    if isinstance(value, Mapping):
        # a list of pairs: two names may stand for one thing; a trainer may take the tasks of a mixture in turn; and of
        # the parts of tensor names the first that fits decides
        pairs = [[_canonical(key, resolve), _canonical(inner, resolve)] for key, inner in value.items()]
        if OTHERS in value or any(isinstance(key, TaskName | ModelName) for key in value):
            return pairs
        return sorted(pairs, key=lambda pair: json.dumps(pair[0], sort_keys=True))
    if isinstance(value, list | tuple):
        return [_canonical(inner, resolve) for inner in value]
    if isinstance(value, set | frozenset):
        return sorted((_canonical(inner, resolve) for inner in value), key=json.dumps)
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return str(value)
