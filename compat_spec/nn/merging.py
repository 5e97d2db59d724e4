"""Merges models in parameter space, tensor by tensor: reads, combines, rounds once, writes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from compat_spec.errors import CompatError
from compat_spec.nn.block_names import block_count, depths
from compat_spec.nn.checkpoint import TensorSource
from compat_spec.nn.per_tensor import TensorPlace
from compat_spec.nn.pieces import PIECE, PIECE_ON_GPU
from compat_spec.nn.restacking import restacked
from compat_spec.nn.shards import SHARD_BYTES, ShardWriter
from compat_spec.nn.side_by_side import SideBySide
from compat_spec.nn.tied import with_names_of

if TYPE_CHECKING:
    from compat_spec.components import TensorMerge

__all__ = ["merge_tensor"]


ROOM = 1 << 25
"""So many entries of the result may be under way at once, unless a single tensor has more."""


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
        with ShardWriter(folder, outline, shard_bytes) as writer, SideBySide(max(ROOM, *counts.values(), 0)) as jobs:
            for name in writer.order:
                progress(done, total, name)
                output = self.outputs[name]
                place = TensorPlace(name, output.depth, seed, found or {})
                for size, job in self._jobs(output, place, writer, device):
                    jobs.submit(size, job)
                done += counts[name]

    def _jobs(
        self, output: Output, place: TensorPlace, writer: ShardWriter, device: str
    ) -> Iterator[tuple[int, Callable[[], None]]]:
        """What makes and writes a tensor: how many entries at once, and how."""
        count = math.prod(output.shape)

        def keep() -> None:
            writer.write(output.name, self._kept(output))

        def write(start: int, stop: int, surveyed: Sequence[Mapping[str, Tensor]] = ()) -> None:
            read = self._read(output, start, stop, device)
            if not self.merge.elementwise:
                read = [tensor.reshape(output.shape) for tensor in read]
            here = replace(place, surveyed=[_entries(of_model, start, stop, count) for of_model in surveyed])
            writer.write(output.name, self._combine(output, here, read, output.dtype).cpu(), start)

        def survey_and_write() -> None:
            surveyed = self._survey(output, place, device)
            for start, stop in pieces:
                write(start, stop, surveyed)

        size = PIECE if device == "cpu" else PIECE_ON_GPU
        pieces = [(start, min(start + size, count)) for start in range(0, count, size)]
        if output.kept:
            yield count, keep
        elif not self.merge.elementwise:
            yield from [(count, partial(write, 0, count))] if count else []
        elif self.merge.surveys:
            yield count, survey_and_write
        else:
            yield from ((stop - start, partial(write, start, stop)) for start, stop in pieces)

    def _survey(self, output: Output, place: TensorPlace, device: str) -> list[Mapping[str, Tensor]]:
        """What the merge finds of the tensor of each model, which are read one after the other."""
        work = self._working_dtype(output)
        inputs = self._inputs(output)

        def read(source: tuple[TensorSource, str]) -> Tensor:
            tensors, name = source
            return tensors[name].to(device=device, dtype=work)

        base = read(inputs.pop()) if output.base is not None else None
        return [self.merge.survey(read(one), base, model=model, at=place) for model, one in enumerate(inputs)]

    def tensor(self, name: str, *, seed: int = 0, found: Mapping[str, Tensor] | None = None) -> Tensor:
        """One tensor of the result as it is before it is rounded to its own type."""
        output = self.outputs[name]
        read = self._read(output, 0, math.prod(output.shape), "cpu")
        place = TensorPlace(name, output.depth, seed, found or {})
        precise = torch.promote_types(output.dtype, torch.float32)
        return self._combine(output, place, [tensor.reshape(output.shape) for tensor in read], precise)

    def _read(self, output: Output, start: int, stop: int, device: str) -> list[Tensor]:
        """Entries of what a tensor is made of, flattened, each in the type to compute in before the next is read."""
        work = self._working_dtype(output)
        return [
            tensors.piece(name, start, stop).to(device=device, dtype=work) for tensors, name in self._inputs(output)
        ]

    def _working_dtype(self, output: Output) -> torch.dtype:
        return _working_dtype([output.dtype, *(tensors.dtype(name) for tensors, name in self._inputs(output))])

    def _combine(self, output: Output, place: TensorPlace, read: list[Tensor], dtype: torch.dtype) -> Tensor:
        """What has been read of all models, combined."""
        base = read.pop() if output.base is not None else None
        return merge_tensor(self.merge, read, base, place, dtype=dtype)

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
    ready = [tensor.to(work) for tensor in given]
    base = ready.pop() if base is not None else None
    if merge.surveys and not at.surveyed:
        at = replace(at, surveyed=[merge.survey(one, base, model=model, at=at) for model, one in enumerate(ready)])
    result = merge.combine(ready, base, at=at)
    if result.shape != tensors[0].shape:
        raise CompatError(
            f"{type(merge).__name__} made a tensor of the shape {list(result.shape)} for {at.name}, which is "
            f"{list(tensors[0].shape)}"
        )
    return result.to(dtype)


def _entries(surveyed: Mapping[str, Tensor], start: int, stop: int, count: int) -> Mapping[str, Tensor]:
    """The part that belongs to these entries of a tensor that has `count`."""
    return {key: found.reshape(-1)[start:stop] if found.numel() == count else found for key, found in surveyed.items()}


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
