"""Random numbers that depend on a seed, a name and a place: not on threads, devices, or what was drawn before."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

_BLOCK = 1 << 16
"""Each so many numbers are a stream of their own, so that those of a piece can be drawn without those before it."""


def uniform(shape: Sequence[int], seed: int, name: str, start: int = 0) -> Tensor:
    """Numbers drawn evenly from the multiples of 2^-24 in [0, 1), float32, on the CPU.

    Args:
        start: how many numbers of the sequence that has this seed and name come before.
    """
    stop = start + math.prod(shape)
    drawn = np.empty(stop - start, dtype=np.float32)
    entropy = [seed, int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "big")]
    for block in range(start // _BLOCK, -(-stop // _BLOCK)):
        stream = np.random.Generator(np.random.SFC64(np.random.SeedSequence(entropy, spawn_key=(block,))))
        first, last = max(block * _BLOCK, start), min((block + 1) * _BLOCK, stop)
        if first > block * _BLOCK:
            numbers = stream.random(last - block * _BLOCK, dtype=np.float32)[first - block * _BLOCK :]
            drawn[first - start : last - start] = numbers
        else:
            stream.random(out=drawn[first - start : last - start], dtype=np.float32)
    return torch.from_numpy(drawn).reshape(tuple(shape))
