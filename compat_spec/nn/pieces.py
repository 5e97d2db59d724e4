"""Goes through large tensors piece by piece, so that what is made on the way stays small."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Piece", "TensorPieces", "Unit"]

PIECE = 1 << 18
"""Entries of a piece on a CPU: what several models' pieces in float32 take still fits into its cache."""

PIECE_ON_GPU = 1 << 24

Unit = Literal["tensor", "row", "entry"]
"""What is never cut: the whole tensor, a row along its last dimension, or a single entry."""


@dataclass(frozen=True, slots=True)
class Piece:
    """The same entries of a tensor of each model.

    Attributes:
        start: which entry of the flattened tensor is the first.
        tensors: of the models, in order: `[entries]`, or `[rows, width]`, or the whole tensors, by the unit.
        base: of the base, where the merge has one.
    """

    start: int
    tensors: Sequence[Tensor]
    base: Tensor | None


class TensorPieces:
    """A tensor of all models, piece by piece. It may be gone through more than once, and is read each time.

    Args:
        shape: of the whole tensor.
        unit: what is not cut.
        room: how many entries a piece has at most, unless a single row has more.
        read: the entries from one to another of the flattened tensors, of the models and of the base.
    """

    def __init__(
        self,
        shape: Sequence[int],
        unit: Unit,
        room: int,
        read: Callable[[int, int], tuple[Sequence[Tensor], Tensor | None]],
    ) -> None:
        self.shape = tuple(shape)
        self.size = math.prod(self.shape)
        self.bounds = bounds(self.shape, unit, room)
        """The first entry of each piece, and the one after its last."""
        self._form = {"tensor": self.shape, "row": (-1, self.shape[-1] if self.shape else 1), "entry": (-1,)}[unit]
        self._read = read

    def __len__(self) -> int:
        return len(self.bounds)

    def __getitem__(self, index: int) -> Piece:
        start, stop = self.bounds[index]
        tensors, base = self._read(start, stop)
        formed = [tensor.reshape(self._form) for tensor in tensors]
        return Piece(start, formed, base.reshape(self._form) if base is not None else None)

    def __iter__(self) -> Iterator[Piece]:
        return (self[index] for index in range(len(self)))


def room_for(device: str) -> int:
    """How many entries a piece has at most, by the type of device that it is on."""
    return PIECE if device == "cpu" else PIECE_ON_GPU


def bounds(shape: Sequence[int], unit: Unit, room: int) -> Sequence[tuple[int, int]]:
    """How a tensor is cut; a tensor without entries has no pieces."""
    size = math.prod(shape)
    if not size:
        return []
    width = {"tensor": size, "row": shape[-1] if shape else 1, "entry": 1}[unit]
    step = max(room // width, 1) * width
    return [(start, min(start + step, size)) for start in range(0, size, step)]
