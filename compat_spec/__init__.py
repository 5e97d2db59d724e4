"""Runs experiments that combine fine-tuned models: `run_plan(make_plan(load("spec.yaml")), …)` is `compat run`.

The names are imported when they are first used: `load` needs no torch, `run_plan` does.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compat_spec.plan import Plan, make_plan
    from compat_spec.results import Results, open_results
    from compat_spec.run import RunSummary, run_plan
    from compat_spec.spec import Spec, load
    from compat_spec.store import Store, open_store

__all__ = [
    "Plan",
    "Results",
    "RunSummary",
    "Spec",
    "Store",
    "load",
    "make_plan",
    "open_results",
    "open_store",
    "run_plan",
]

_HOMES = {
    "Plan": "plan",
    "make_plan": "plan",
    "Results": "results",
    "open_results": "results",
    "RunSummary": "run",
    "run_plan": "run",
    "Spec": "spec",
    "load": "spec",
    "Store": "store",
    "open_store": "store",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
