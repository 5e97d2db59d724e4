"""Trainers: how an expert is made of a network."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from compat_spec.components.component import FitsModels
from compat_spec.components.names import TaskName

if TYPE_CHECKING:
    from torch import Tensor

    from compat_spec.nn.data import EncodedSplit
    from compat_spec.nn.network import Network


class TrainingSession(Protocol):
    """What the engine offers to a trainer while it runs one step."""

    @property
    def seed(self) -> int: ...

    @property
    def device(self) -> str: ...

    def restore(self) -> Mapping[str, Tensor] | None:
        """The state that `checkpoint` saved before this step was interrupted, or None when it starts afresh."""

    def checkpoint_due(self) -> bool:
        """Whether it is time to call `checkpoint`. The `checkpoint` of a stopping run raises `InterruptedRun`."""

    def checkpoint(self, state: Mapping[str, Tensor]) -> None:
        """Save everything that is needed to go on from here, to the bit."""

    def keep(self, step: int) -> None:
        """Store the network as it is now as the checkpoint `name@step`."""

    def progress(self, done: int, total: int, note: str = "") -> None:
        """Tell the user how far the training is."""

    def record(self, **facts: float | int | str | Sequence[Any]) -> None:
        """Facts for the results (`tokens_per_second=…`, `loss=[…]`); they do not change the fingerprint."""


class Trainer(FitsModels):
    """Makes an expert of a network by training it, or trains what a composed module declares trainable."""

    namespace = "compat.trainers"

    def uses_seed(self) -> bool:
        return True

    def saved_steps(self) -> Sequence[int]:
        """The steps whose checkpoints `train` keeps, besides the last."""
        return ()

    def last_step(self) -> int | None:
        """The number of steps, when it is known before the data is."""
        return None

    def tokens(self) -> int | None:
        """How many tokens it trains on, when that is known before the data is; `compat plan` adds them up."""
        return None

    @abstractmethod
    def train(self, network: Network, data: Mapping[TaskName, EncodedSplit], session: TrainingSession) -> None:
        """Train `network` in place. `data` holds the encoded `train` split of each task that a field names."""
