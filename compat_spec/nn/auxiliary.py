"""What parts of a network ask to be added to the loss of a training, such as routers that are to have equal loads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn


def auxiliary_loss(module: nn.Module) -> Tensor | None:
    """The sum of what the parts of a module ask for of its last pass in training; None where none asks.

    A part asks by a method `auxiliary_loss() -> Tensor | None`, which gives a mean over tokens, and gives it once.
    """
    parts: Iterator[Any] = module.modules()
    asked = [part.auxiliary_loss() for part in parts if hasattr(part, "auxiliary_loss")]
    found = [loss for loss in asked if loss is not None]
    return torch.stack(found).sum() if found else None
