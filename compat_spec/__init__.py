"""Runs experiments that combine fine-tuned models: `run_plan(make_plan(load("spec.yaml")), …)` is `compat run`.

The names are imported when they are first used: `load` needs no torch, `run_plan` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from compat_spec.lazy import lazily

if TYPE_CHECKING:
    from compat_spec.errors import CompatError
    from compat_spec.plan import Plan, make_plan
    from compat_spec.report import charts, html_report
    from compat_spec.report.compare import compare
    from compat_spec.results import Results, open_results
    from compat_spec.run import RunSummary, run_plan
    from compat_spec.spec import Spec, SpecError, load
    from compat_spec.store import Store, open_store

__all__ = [
    "CompatError",
    "Plan",
    "Results",
    "RunSummary",
    "Spec",
    "SpecError",
    "Store",
    "charts",
    "compare",
    "html_report",
    "load",
    "make_plan",
    "open_results",
    "open_store",
    "run_plan",
]

_HOMES = {
    "CompatError": "errors",
    "Plan": "plan",
    "make_plan": "plan",
    "charts": "report",
    "html_report": "report",
    "compare": "report.compare",
    "Results": "results",
    "open_results": "results",
    "RunSummary": "run",
    "run_plan": "run",
    "Spec": "spec",
    "SpecError": "spec",
    "load": "spec",
    "Store": "store",
    "open_store": "store",
}

__getattr__ = lazily(__name__, _HOMES)
