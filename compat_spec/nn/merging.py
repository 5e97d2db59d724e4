"""Merges models in parameter space, tensor by tensor: reads, combines, rounds once, writes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from compat_spec.errors import CompatError
from compat_spec.nn.outline import MergeOutline, Output, word, working_dtype
from compat_spec.nn.per_tensor import TensorPlace
from compat_spec.nn.pieces import PIECE, TensorPieces, room_for
from compat_spec.nn.shards import SHARD_BYTES, ShardWriter
from compat_spec.nn.side_by_side import SideBySide

if TYPE_CHECKING:
    from compat_spec.components import TensorMerge

__all__ = ["merge_tensor"]


ROOM = 1 << 25
"""So many entries of tensors that are not cut may be under way at once, unless a single one has more."""

JOB = 1 << 21
"""Entries that a thread is given at once, unless a piece has more: to hand over a piece takes a tenth of its time."""


class TensorMerging(MergeOutline):
    """A merge of these models, checked, and ready to be made."""

    def write(
        self,
        folder: Path,
        *,
        seed: int = 0,
        found: Mapping[str, Tensor] | None = None,
        device: str = "cpu",
        shard_bytes: int = SHARD_BYTES,
        progress: Callable[[int, int, str], None] = lambda done, total, name: None,
    ) -> None:
        """Merge, and write the tensors of the result into a folder, as they are made.

        Args:
            found: what the merge's `study` returned.
            device: where tensors are combined; they go there and come back.
            progress: is told how many entries of all are done, and which tensor is next.
        """
        outline = {output.name: (output.dtype, output.shape) for output in self.outputs.values()}
        counts = {name: math.prod(shape) for name, (_, shape) in outline.items()}
        total, done = sum(counts.values()), 0
        _let_allocator_keep_memory()
        with ShardWriter(folder, outline, shard_bytes) as writer, SideBySide(self._room(device)) as jobs:
            for name in writer.order:
                progress(done, total, name)
                output = self.outputs[name]
                place = TensorPlace(name, output.depth, seed, found or {}, shape=output.shape)
                for size, job in self._jobs(output, place, writer, device):
                    jobs.submit(size, job)
                done += counts[name]

    def _room(self, device: str) -> int:
        """How many entries are under way at once, and no more, so that `progress` says what is done."""
        if self.merge.unit == "tensor":
            return ROOM
        return (torch.get_num_threads() + 1) * room_for(torch.device(device).type)

    def _jobs(
        self, output: Output, place: TensorPlace, writer: ShardWriter, device: str
    ) -> Iterator[tuple[int, Callable[[], None]]]:
        """What makes and writes a tensor: how many entries at once, and how."""
        if output.kept:
            yield math.prod(output.shape), lambda: writer.write(output.name, self._kept(output))
            return
        pieces = self._pieces(output, device)

        def write(indices: range, surveyed: Any = None) -> None:
            at = replace(place, surveyed=surveyed)
            for index in indices:
                start, result = combine_piece(self.merge, pieces, index, at)
                writer.write(output.name, result.to(output.dtype).cpu(), start)

        def survey_and_write() -> None:
            write(range(len(pieces)), self.merge.survey(pieces, at=place))

        bounds = pieces.bounds
        largest = max((stop - start for start, stop in bounds), default=0)
        if bounds and self.merge.surveys():
            yield largest, survey_and_write
        elif bounds:
            count = max(JOB // largest, 1)
            for indices in (range(len(pieces))[first : first + count] for first in range(0, len(pieces), count)):
                yield bounds[indices[-1]][1] - bounds[indices[0]][0], partial(write, indices)

    def tensor(self, name: str, *, seed: int = 0, found: Mapping[str, Tensor] | None = None) -> Tensor:
        """One tensor of the result as it is before it is rounded to its own type."""
        output = self.outputs[name]
        place = TensorPlace(name, output.depth, seed, found or {}, shape=output.shape)
        precise = torch.promote_types(output.dtype, torch.float32)
        return _combined(self.merge, self._pieces(output, "cpu"), place, precise)

    def _pieces(self, output: Output, device: str) -> TensorPieces:
        """What a tensor is made of, each in the type to compute in before the next is read."""
        work = self._working_dtype(output)

        def read(start: int, stop: int) -> tuple[list[Tensor], Tensor | None]:
            found = [
                tensors.piece(name, start, stop).to(device=device, dtype=work) for tensors, name in self.inputs(output)
            ]
            base = found.pop() if output.base is not None else None
            return found, base

        return TensorPieces(output.shape, self.merge.unit, room_for(torch.device(device).type), read)

    def _working_dtype(self, output: Output) -> torch.dtype:
        return working_dtype([output.dtype, *(tensors.dtype(name) for tensors, name in self.inputs(output))])

    def _kept(self, output: Output) -> Tensor:
        (first, first_name), *others = self.inputs(output)
        kept = first[first_name]
        for tensors, name in others:
            if not torch.equal(kept, tensors[name]):
                raise CompatError(
                    f"{output.name} ({word(output.dtype)}) holds no floating-point numbers and cannot be merged, and "
                    "it is not the same in all models"
                )
        return kept


def merge_tensor(
    merge: TensorMerge,
    tensors: Sequence[Tensor],
    base: Tensor | None,
    at: TensorPlace,
    *,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """One tensor of the result, from those of the models: combined in float32 or float64, and rounded once.

    Args:
        dtype: of the result; by default that of the first tensor.
    """
    dtype = dtype or tensors[0].dtype
    given = [*tensors, *([base] if base is not None else [])]
    work = working_dtype([dtype, *(tensor.dtype for tensor in given)])
    merge.check(replace(at, shape=tuple(tensors[0].shape)))
    ready = [tensor.detach().to(work) for tensor in given]  # a notebook may give parameters, which want gradients
    base = ready.pop() if base is not None else None
    pieces = pieces_in_memory(merge, ready, base)
    return _combined(merge, pieces, replace(at, shape=pieces.shape), dtype).to(tensors[0].device)


def pieces_in_memory(
    merge: TensorMerge, tensors: Sequence[Tensor], base: Tensor | None, room: int | None = None
) -> TensorPieces:
    """Tensors that are in memory already, piece by piece, as a merge wants them.

    Args:
        room: how many entries a piece has at most; by default what suits the device.
    """

    def part(tensor: Tensor, start: int, stop: int) -> Tensor:
        return tensor if stop - start == tensor.numel() else tensor.reshape(-1)[start:stop]

    def read(start: int, stop: int) -> tuple[list[Tensor], Tensor | None]:
        return [part(tensor, start, stop) for tensor in tensors], part(base, start, stop) if base is not None else None

    return TensorPieces(tensors[0].shape, merge.unit, room or room_for(tensors[0].device.type), read)


def combine_piece(merge: TensorMerge, pieces: TensorPieces, index: int, at: TensorPlace) -> tuple[int, Tensor]:
    """A piece of the result, in the shape in which the merge has it, and which entry it begins with.

    Raises:
        CompatError: the merge made something of another shape.
    """
    piece = pieces[index]
    result = merge.combine(piece.tensors, piece.base, at=replace(at, start=piece.start))
    if result.shape != piece.tensors[0].shape:
        raise CompatError(
            f"{type(merge).__name__} made a tensor of the shape {list(result.shape)} for {at.name}, which is "
            f"{list(piece.tensors[0].shape)}"
        )
    return piece.start, result


def _combined(merge: TensorMerge, pieces: TensorPieces, at: TensorPlace, dtype: torch.dtype) -> Tensor:
    """A whole tensor of the result."""
    at = replace(at, surveyed=merge.survey(pieces, at=at) if pieces.size else None)
    parts = [combine_piece(merge, pieces, index, at)[1].to(dtype).reshape(-1) for index in range(len(pieces))]
    return (torch.cat(parts) if parts else torch.empty(0, dtype=dtype)).reshape(pieces.shape)


def _let_allocator_keep_memory() -> None:
    """Make and drop a block of memory that is much larger than a piece.

    The allocator of Linux returns freed pieces to the system, and gets them back page by page, until it has seen a
    larger block come and go: that took three times as long as all the work on the pieces.
    """
    bytearray(32 * PIECE)
