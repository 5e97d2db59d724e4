"""Masks over large tensors. On a CPU torch makes and applies them entry by entry, several times as slowly as here."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_BITS = {torch.float32: torch.int32, torch.float64: torch.int64}


def at_least(values: Tensor, bound: float) -> Tensor:
    """`values >= bound`, bool."""
    if values.device.type != "cpu":
        return values >= bound
    return torch.from_numpy(np.greater_equal(values.numpy(), values.numpy().dtype.type(bound)))


def above(values: Tensor, bound: float) -> Tensor:
    """`values > bound`, bool."""
    if values.device.type != "cpu":
        return values > bound
    return torch.from_numpy(np.greater(values.numpy(), values.numpy().dtype.type(bound)))


def at_most(values: Tensor, bound: float) -> Tensor:
    """`values <= bound`, bool."""
    if values.device.type != "cpu":
        return values <= bound
    return torch.from_numpy(np.less_equal(values.numpy(), values.numpy().dtype.type(bound)))


def count(mask: Tensor) -> int:
    """How many entries are true."""
    return int(mask.count_nonzero()) if mask.device.type != "cpu" else int(np.count_nonzero(mask.numpy()))


def places(mask: Tensor) -> Tensor:
    """Which entries of the flattened mask are true, int64."""
    if mask.device.type != "cpu":
        return mask.reshape(-1).nonzero().view(-1)
    return torch.from_numpy(np.flatnonzero(mask.numpy()))


def keep_(tensor: Tensor, mask: Tensor) -> Tensor:
    """Set all entries to zero that the mask does not have, in place. float32 or float64."""
    if tensor.device.type != "cpu":
        return tensor.masked_fill_(~mask, 0)
    bits = _BITS[tensor.dtype]
    tensor.view(bits).mul_(mask.to(bits))  # the bits times 0 or 1, so that even an infinity becomes zero
    return tensor


def select(mask: Tensor, where: Tensor, elsewhere: Tensor) -> Tensor:
    """`torch.where(mask, where, elsewhere)` of tensors of one shape and type, float32 or float64."""
    if where.device.type != "cpu":
        return torch.where(mask, where, elsewhere)
    bits = _BITS[where.dtype]
    other = elsewhere.view(bits)
    # in whole numbers that wrap around, other + (one - other) is one, whatever the bits mean
    return (where.view(bits) - other).mul_(mask.to(bits)).add_(other).view(where.dtype)
