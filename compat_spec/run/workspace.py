"""What the steps that run in one process share: the store, the networks that are open, scores already computed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

from torch import Tensor

from compat_spec.components import Link
from compat_spec.errors import InterruptedRun
from compat_spec.nn.evaluation import TokenScores
from compat_spec.plan import Step
from compat_spec.run.networks import Networks
from compat_spec.store import Store

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """The results of the last `size` different calls."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K, make: Callable[[], V]) -> V:
        return self.get_among([key], key, lambda: [make()])

    def get_among(self, keys: Sequence[K], key: K, make: Callable[[], Sequence[V]]) -> V:
        """The result of one call, where one function makes the results of several."""
        if key in self._values:
            self._values.move_to_end(key)
            return self._values[key]
        made = dict(zip(keys, make(), strict=True))
        self._values |= made
        while len(self._values) > max(self._size, len(made)):
            self._values.popitem(last=False)
        return made[key]


class Workspace:
    """Everything a step needs besides itself.

    Args:
        link: to whom the running step tells its progress, and who tells it to stop.
        checkpoint_every: seconds between the checkpoints of a training.
    """

    def __init__(self, store: Store, link: Link, checkpoint_every: float) -> None:
        self.store = store
        self.link = link
        self.checkpoint_every = checkpoint_every
        self.checked: set[str] = set()
        """The artifacts whose files are known to be what was written, and those of what they refer to."""
        self.networks = Networks(store)
        self.token_scores: Recent[Hashable, TokenScores] = Recent(256)
        self.features: Recent[Hashable, list[Tensor]] = Recent(4)

    def check_inputs(self, step: Step) -> None:
        """Compare what a step reads with its checksums, once in this process. Raises `CorruptArtifactError`."""
        for fingerprint in sorted(step.needs() - self.checked):
            for read in sorted({fingerprint, *self.store.refers(fingerprint)} - self.checked):
                self.store.check(read)
                self.checked.add(read)

    def stop_here(self) -> None:
        """Called where a step can be given up without losing much. Raises `InterruptedRun` in a stopping run."""
        if self.link.stopping():
            raise InterruptedRun("stopped")
