"""What a trainer works with inside one step: resuming, keeping checkpoints, telling how far it is."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from compat_spec.errors import CompatError, InterruptedRun

STATE = "state.safetensors"


class Session:
    """The `TrainingSession` of a step, with its work folder as memory.

    Args:
        folder: the work folder; what it holds of an earlier, interrupted try is where training goes on.
        save: writes the network as it is now into a folder.
        tell: how far the training is, for the user.
        stopping: whether the run has been told to stop.
        checkpoint_every: seconds between checkpoints.
        saved: is called when the folder holds a new checkpoint.
    """

    def __init__(
        self,
        folder: Path,
        *,
        seed: int,
        device: str,
        save: Callable[[Path], None],
        tell: Callable[[int, int, str], None],
        stopping: Callable[[], bool],
        checkpoint_every: float,
        saved: Callable[[], None] = lambda: None,
    ) -> None:
        self.folder = folder
        self.seed = seed
        self.device = device
        self.facts: dict[str, Any] = {}
        self._save = save
        self._tell = tell
        self._stopping = stopping
        self._checkpoint_every = checkpoint_every
        self._saved = saved
        self._last_checkpoint = time.monotonic()

    def restore(self) -> Mapping[str, Tensor] | None:
        path = self.folder / STATE
        return load_file(path) if path.exists() else None

    def checkpoint_due(self) -> bool:
        return self._stopping() or time.monotonic() - self._last_checkpoint >= self._checkpoint_every

    def checkpoint(self, state: Mapping[str, Tensor]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        aside = self.folder / f"{STATE}.part"
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}, aside)
        aside.replace(self.folder / STATE)
        self._saved()
        self._last_checkpoint = time.monotonic()
        if self._stopping():
            raise InterruptedRun("stopped; the next run goes on from here")

    def keep(self, step: int) -> None:
        kept = self.folder / f"step-{step}"
        if kept.exists():
            return
        aside = self.folder / f"step-{step}.part"
        aside.mkdir(parents=True, exist_ok=True)
        self._save(aside)
        aside.rename(kept)

    def progress(self, done: int, total: int, note: str = "") -> None:
        self._tell(done, total, note)

    def record(self, **facts: float | int | str | Sequence[Any]) -> None:
        self.facts.update(facts)

    def hand_over(self, artifact: Path, steps: Iterable[int]) -> None:
        """Copy the kept checkpoints into the artifact; ours stay until it is whole, for a kill may come before.

        Args:
            steps: those that must be there.
        """
        for step in steps:
            if not (self.folder / f"step-{step}").exists():
                raise CompatError(f"the trainer kept no checkpoint of step {step}, which it said it would")
        for kept in sorted(self.folder.glob("step-*")):
            if not kept.name.endswith(".part"):
                shutil.copytree(kept, artifact / kept.name)
