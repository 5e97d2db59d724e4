"""Whether something draws from the random numbers of the whole process, which threads and other components share."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch

T = TypeVar("T")


def drawn_from(act: Callable[[], T]) -> tuple[T, list[str]]:
    """What an act gives, and which of the process's generators it has changed; they are put back as they were."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng([]):
        before = torch.random.get_rng_state()
        try:
            found = act()
            changed = []
            if not torch.equal(before, torch.random.get_rng_state()):
                changed.append("torch")
            if random.getstate() != python:
                changed.append("random")
            if str(np.random.get_state()) != str(numpy):
                changed.append("numpy.random")
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
    return found, changed


def with_global_seed(seed: int, act: Callable[[], T]) -> T:
    """What an act gives when the process's generators start from a seed; they are put back as they were."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng([]):
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        try:
            return act()
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
