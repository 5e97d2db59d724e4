"""Merges models in parameter space, tensor by tensor: reads, combines, rounds once, writes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from compat_spec.errors import CompatError
from compat_spec.nn.block_names import block_count, depths
from compat_spec.nn.checkpoint import TensorSource
from compat_spec.nn.per_tensor import TensorPlace
from compat_spec.nn.pieces import PIECE, TensorPieces, room_for
from compat_spec.nn.restacking import restacked
from compat_spec.nn.shards import SHARD_BYTES, ShardWriter
from compat_spec.nn.side_by_side import SideBySide
from compat_spec.nn.tied import with_names_of

if TYPE_CHECKING:
    from compat_spec.components import TensorMerge

__all__ = ["merge_tensor"]


ROOM = 1 << 25
"""So many entries of tensors that are not cut may be under way at once, unless a single one has more."""

JOB = 1 << 21
"""Entries that a thread is given at once, unless a piece has more: to hand over a piece takes a tenth of its time."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model to be merged: what it is called in messages, and its tensors."""

    name: str
    tensors: TensorSource


@dataclass(frozen=True, slots=True)
class Output:
    """One tensor of the result.

    Attributes:
        origins: which models it is made of, by index, and what it is called there.
        base: what it is called in the base, where the merge has one.
        depth: how deep in the network it is, from 0 to 1.
        kept: whether it is kept as it is in the models, for it holds no floating-point numbers.
    """

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    origins: tuple[tuple[int, str], ...]
    base: str | None
    depth: float
    kept: bool


class TensorMerging:
    """A merge of these models, checked: what it is going to read and write is known, and nothing has been read.

    Args:
        merge: how tensors are combined.
        models: in the order of `merge.models`.
        base: the model that a field `base` of the merge names.

    Raises:
        CompatError: the models do not have the same tensors, or tensors that cannot be merged.
    """

    def __init__(self, merge: TensorMerge, models: Sequence[Model], base: Model | None = None) -> None:
        self.merge = merge
        self.models = models
        self.base = base
        self.blocks = self._blocks()
        """For a result with other blocks than the models: the model and the block that each is made of."""
        if self.blocks is None:
            self.models = [self._like_first(model) for model in models]
            self.base = self._like_first(base) if base is not None else None
        self.outputs: Mapping[str, Output] = {output.name: output for output in self._outline()}

    @property
    def bytes_to_read(self) -> int:
        """Bytes of the tensors of all models, their adapters, and the base that the result is made of."""
        return sum(tensors.bytes(name) for output in self.outputs.values() for tensors, name in self._inputs(output))

    @property
    def bytes_to_write(self) -> int:
        return sum(_bytes(output.dtype, output.shape) for output in self.outputs.values())

    @property
    def largest_bytes(self) -> int:
        """Bytes of the largest tensor of the result."""
        return max((_bytes(output.dtype, output.shape) for output in self.outputs.values()), default=0)

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
                tensors.piece(name, start, stop).to(device=device, dtype=work) for tensors, name in self._inputs(output)
            ]
            base = found.pop() if output.base is not None else None
            return found, base

        return TensorPieces(output.shape, self.merge.unit, room_for(torch.device(device).type), read)

    def _working_dtype(self, output: Output) -> torch.dtype:
        return _working_dtype([output.dtype, *(tensors.dtype(name) for tensors, name in self._inputs(output))])

    def _kept(self, output: Output) -> Tensor:
        (first, first_name), *others = self._inputs(output)
        kept = first[first_name]
        for tensors, name in others:
            if not torch.equal(kept, tensors[name]):
                raise CompatError(
                    f"{output.name} ({_word(output.dtype)}) holds no floating-point numbers and cannot be merged, and "
                    "it is not the same in all models"
                )
        return kept

    def _inputs(self, output: Output) -> list[tuple[TensorSource, str]]:
        """Where to read what a tensor is made of; the base is the last, where there is one."""
        inputs = [(self.models[model].tensors, name) for model, name in output.origins]
        if output.base is not None:
            assert self.base is not None
            inputs.append((self.base.tensors, output.base))
        return inputs

    # ------------------------------------------------------------------------------------------------- outline

    def _outline(self) -> Iterator[Output]:
        origins = self._origins()
        depth = depths(origins)
        for name, of in origins.items():
            first_model, first_name = of[0]
            first = self.models[first_model].tensors
            found = first.dtype(first_name)
            output = Output(
                name=name,
                dtype=self._dtype(found),
                shape=first.shape(first_name),
                origins=of,
                base=name if self.base is not None else None,
                depth=depth[name],
                kept=not found.is_floating_point,
            )
            self._check(output)
            yield output

    def _origins(self) -> Mapping[str, tuple[tuple[int, str], ...]]:
        """What each tensor of the result is made of."""
        if self.blocks is not None:
            return restacked([(model.name, model.tensors) for model in self.models], self.blocks)
        return {name: tuple((model, name) for model in range(len(self.models))) for name in self.models[0].tensors}

    def _like_first(self, model: Model) -> Model:
        first = self.models[0]
        return Model(model.name, with_names_of(first.tensors, first.name, model.tensors, model.name))

    def _blocks(self) -> Sequence[tuple[int, int]] | None:
        counts = [block_count(model.tensors) for model in self.models]
        blocks = self.merge.blocks(counts)
        for model, block in blocks or ():
            if not 0 <= block < counts[model]:
                name = self.models[model].name
                raise CompatError(f"{name} has no block {block}: it has {counts[model]}, numbered from 0")
        return blocks

    def _dtype(self, found: torch.dtype) -> torch.dtype:
        if not found.is_floating_point or self.merge.dtype is None:
            return found
        dtype: torch.dtype = getattr(torch, self.merge.dtype)
        return dtype

    def _check(self, output: Output) -> None:
        if not output.kept:
            self.merge.check(TensorPlace(output.name, output.depth, shape=output.shape))
        names = [self.models[model].name for model, _ in output.origins]
        named = list(zip([*names, self.base.name if self.base else ""], self._inputs(output), strict=False))
        for model, (tensors, name) in named:
            if tensors.shape(name) != output.shape:
                raise CompatError(
                    f"{names[0]} and {model} have different shapes: {name} is {list(output.shape)} and "
                    f"{list(tensors.shape(name))}"
                )
            dtype = tensors.dtype(name)
            if dtype.is_floating_point == output.kept:
                raise CompatError(
                    f"{names[0]} and {model} have different types: {name} is {_word(output.dtype)} and {_word(dtype)}"
                )
            if dtype.itemsize == 1 and dtype.is_floating_point and self.merge.dtype is None:
                raise CompatError(
                    f"{name} of {model} is stored in {_word(dtype)}, which is too coarse to merge into: say in what "
                    "the result is to be stored, such as dtype: bfloat16"
                )


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
    work = _working_dtype([dtype, *(tensor.dtype for tensor in given)])
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


def _working_dtype(dtypes: Sequence[torch.dtype]) -> torch.dtype:
    return torch.float64 if torch.float64 in dtypes else torch.float32


def _let_allocator_keep_memory() -> None:
    """Make and drop a block of memory that is much larger than a piece.

    The allocator of Linux returns freed pieces to the system, and gets them back page by page, until it has seen a
    larger block come and go: that took three times as long as all the work on the pieces.
    """
    bytearray(32 * PIECE)


def _bytes(dtype: torch.dtype, shape: Sequence[int]) -> int:
    return dtype.itemsize * math.prod(shape)


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
