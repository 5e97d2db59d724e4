"""Plan -> artifacts and rows: runs the steps that the store lacks, on an executor, and records all of them."""

from compat_spec.run.devices import resolve_devices
from compat_spec.run.experiment import Failure, RunSummary, run_plan

__all__ = ["Failure", "RunSummary", "resolve_devices", "run_plan"]
