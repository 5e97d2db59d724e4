"""The bytes of tensors in files, whole: the operating system moves at most 2 GiB at once."""

from __future__ import annotations

import os

import torch
from torch import Tensor


def bytes_of(tensor: Tensor) -> memoryview:
    """The bytes of a tensor on the CPU; its own, where it is contiguous."""
    return tensor.contiguous().flatten().view(torch.uint8).numpy().data


def read_into(tensor: Tensor, descriptor: int, offset: int) -> None:
    """Fill a contiguous tensor from a file. Raises `EOFError` when the file ends before."""
    buffer = bytes_of(tensor)
    while buffer:
        read = os.preadv(descriptor, [buffer], offset)
        if not read:
            raise EOFError
        buffer, offset = buffer[read:], offset + read


def write_from(tensor: Tensor, descriptor: int, offset: int) -> None:
    """Put the bytes of a tensor into a file."""
    data = bytes_of(tensor)
    while data:
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written
