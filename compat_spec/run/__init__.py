"""Plan -> artifacts and rows: runs the steps that the store lacks, on an executor, and records all of them.

`run_plan` is `compat run`, `SingleMerge` is `compat merge`. They are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from compat_spec.lazy import lazily

if TYPE_CHECKING:
    from compat_spec.run.devices import resolve_devices
    from compat_spec.run.experiment import Failure, RunSummary, run_plan
    from compat_spec.run.single_merge import SingleMerge

__all__ = ["Failure", "RunSummary", "SingleMerge", "resolve_devices", "run_plan"]

_HOMES = {
    "Failure": "experiment",
    "RunSummary": "experiment",
    "SingleMerge": "single_merge",
    "resolve_devices": "devices",
    "run_plan": "experiment",
}

__getattr__ = lazily(__name__, _HOMES)
