"""Whether something draws from the random numbers of the whole process, which threads and other components share."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch

T = TypeVar("T")

_A_SEED = 20_411
"""That hardly anybody starts from: a generator that is seeded anew shows, too."""


def drawn_from(act: Callable[[], T]) -> tuple[T, list[str]]:
    """What an act gives, and which of the process's generators it has changed; they are put back as they were."""
    with _seeded(_A_SEED):
        before = _states()
        found = act()
        after = _states()
    return found, [name for name in before if before[name] != after[name]]


def with_global_seed(seed: int, act: Callable[[], T]) -> T:
    """What an act gives when the process's generators start from a seed; they are put back as they were."""
    with _seeded(seed):
        return act()


def _states() -> dict[str, Any]:
    return {
        "torch": torch.random.get_rng_state().tolist(),
        "random": random.getstate(),
        "numpy.random": [np.asarray(part).tolist() for part in np.random.get_state()],
    }


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng([]):
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
