"""Random numbers that depend on a seed and a name alone: not on threads, devices, or what was drawn before."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

_BLOCK = 1 << 20
"""Each so many numbers are a stream of their own, so that threads can draw them side by side."""


def uniform(shape: Sequence[int], seed: int, name: str) -> Tensor:
    """Numbers drawn evenly from the multiples of 2^-24 in [0, 1), float32, on the CPU."""
    count = math.prod(shape)
    drawn = np.empty(count, dtype=np.float32)
    root = np.random.SeedSequence([seed, int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "big")])

    def fill(start: int, stream: np.random.SeedSequence) -> None:
        np.random.Generator(np.random.SFC64(stream)).random(out=drawn[start : start + _BLOCK], dtype=np.float32)

    starts = range(0, count, _BLOCK)
    streams = root.spawn(len(starts))
    if len(starts) == 1:  # most tensors are small, and to start threads takes longer than to fill them
        fill(0, streams[0])
    else:
        with ThreadPoolExecutor(torch.get_num_threads()) as threads:
            list(threads.map(fill, starts, streams))
    return torch.from_numpy(drawn).reshape(tuple(shape))
