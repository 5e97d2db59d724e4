"""Reads a single component that is written as in a spec, outside of one: `linear`, `{use: linear, …}`."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from compat_spec.components import Component
from compat_spec.spec.complaints import Setting
from compat_spec.spec.problems import Place, Problems
from compat_spec.spec.validation import find_class, make
from compat_spec.spec.yaml_files import read_value

C = TypeVar("C", bound=Component)


def read_component(contract: type[C], text: str, place: Place, folder: Path, problems: Problems) -> C | None:
    """The component, or None; what is wrong with it is then in `problems`.

    Args:
        contract: what it has to be.
        text: its name, or a mapping with `use` and its parameters, as YAML.
        place: where it was written.
        folder: what its paths are relative to.
    """
    node = read_value(text, place, "", problems)
    if node is None:
        return None
    use = node.mapping["use"].value if "use" in node.mapping else node.value
    if not isinstance(use, str) or not use:
        kind = contract.__name__.lower()
        problems.add(place, "", f"this names no {kind}", "write its name, or {use: NAME} and its parameters")
        return None
    cls = find_class(contract.namespace, use, place, "", problems)
    if cls is None:
        return None
    setting = Setting(where=use, place=place, keys=("use",))
    component, _ = make(cls, use, node.without("use"), setting, folder, problems)
    return component if isinstance(component, contract) else None
