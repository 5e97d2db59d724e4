"""What the steps that run in one process share: the store, the networks that are open, scores already computed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeAlias, TypeVar

from torch import Tensor

from compat_spec.errors import InterruptedRun
from compat_spec.nn.evaluation import TokenScores
from compat_spec.run.networks import Networks
from compat_spec.store import Store

Tell: TypeAlias = Callable[[str, int, int, str], None]
"""How far a step is: its fingerprint, done, total, a note."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """The results of the last `size` different calls."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K, make: Callable[[], V]) -> V:
        if key in self._values:
            self._values.move_to_end(key)
        else:
            self._values[key] = make()
            if len(self._values) > self._size:
                self._values.popitem(last=False)
        return self._values[key]


class Workspace:
    """Everything a step needs besides itself.

    Args:
        tell: takes the progress of the running step.
        stopping: whether the run has been told to stop.
        checkpoint_every: seconds between the checkpoints of a training.
    """

    def __init__(self, store: Store, *, tell: Tell, stopping: Callable[[], bool], checkpoint_every: float) -> None:
        self.store = store
        self.tell = tell
        self.stopping = stopping
        self.checkpoint_every = checkpoint_every
        self.networks = Networks(store)
        self.token_scores: Recent[Hashable, TokenScores] = Recent(256)
        self.features: Recent[Hashable, list[Tensor]] = Recent(4)

    def stop_here(self) -> None:
        """Called where a step can be given up without losing much. Raises `InterruptedRun` in a stopping run."""
        if self.stopping():
            raise InterruptedRun("stopped")
