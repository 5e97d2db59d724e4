"""What an executor runs: a step, with what the steps of one process share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compat_spec.components import Job, JobReport, Link
from compat_spec.plan import Step
from compat_spec.run.devices import make_repeatable
from compat_spec.store import Store

if TYPE_CHECKING:
    from compat_spec.run.workspace import Workspace


class StepRunner:
    """The `JobRunner` of a store. A copy in another process has a workspace of its own there.

    The imports of what computes take seconds. The process of the scheduler, which only hands it on, does without.
    """

    def __init__(self, store: Store, checkpoint_every: float) -> None:
        self._store = store
        self._checkpoint_every = checkpoint_every
        self._workspace: Workspace | None = None

    def __setstate__(self, state: tuple[Store, float]) -> None:
        self._store, self._checkpoint_every = state
        self._workspace = None
        import compat_spec.run.work  # noqa: F401  (a process that receives it will compute: it gets ready meanwhile)

    def __getstate__(self) -> tuple[Store, float]:
        return self._store, self._checkpoint_every

    @property
    def anywhere(self) -> bool:
        return self._store.anywhere

    def __call__(self, job: Job, device: str, link: Link) -> JobReport:
        from compat_spec.run.work import run_step
        from compat_spec.run.workspace import Workspace

        if self._workspace is None:
            make_repeatable(device)
            self._workspace = Workspace(self._store, link, self._checkpoint_every)
        self._workspace.link = link
        return run_step(Step.from_data(job.payload), self._workspace, device)
