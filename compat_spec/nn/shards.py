"""Writes a model as a stream: tensor by tensor, piece by piece, into safetensors files of bounded size."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import torch
from torch import Tensor

from compat_spec.nn.checkpoint import DTYPES, INDEX, SINGLE, Checkpoint
from compat_spec.nn.raw_bytes import write_from

SHARD_BYTES = 5 * 10**9

NAMES = {dtype: name for name, dtype in DTYPES.items()}


class ShardWriter:
    """A folder of safetensors, written tensor by tensor and piece by piece, in any order and from several threads.

    Args:
        outline: the type and shape of every tensor, which stand at the beginning of the files.
        shard_bytes: how large a file becomes at most, unless a single tensor is larger.
    """

    def __init__(
        self, folder: Path, outline: Mapping[str, tuple[torch.dtype, tuple[int, ...]]], shard_bytes: int = SHARD_BYTES
    ) -> None:
        self._folder = folder
        self._outline = outline
        # wide types first, so that every tensor begins at a multiple of its entries' size
        self.order: Sequence[str] = sorted(outline, key=lambda name: (-outline[name][0].itemsize, name))
        """The order in which the tensors lie in the files: the fastest to write them in."""
        self._shards = self._split(shard_bytes)
        self._places: dict[str, tuple[int, int]] = {}
        """The descriptor of the file of each tensor, and where it begins there."""

    def __enter__(self) -> ShardWriter:
        for number, shard in enumerate(self._shards):
            self._begin(self._folder / self._file_name(number), shard)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for descriptor in {descriptor for descriptor, _ in self._places.values()}:
            os.close(descriptor)
        self._places.clear()
        if kind is None and len(self._shards) > 1:
            self._write_index()

    def write(self, name: str, piece: Tensor, start: int = 0) -> None:
        """Entries of a tensor, in its own type, from the entry `start` of the flattened tensor on."""
        dtype, shape = self._outline[name]
        assert piece.dtype == dtype
        assert start + piece.numel() <= math.prod(shape)
        descriptor, offset = self._places[name]
        offset += start * dtype.itemsize
        write_from(piece, descriptor, offset)

    def _split(self, shard_bytes: int) -> list[list[str]]:
        shards: list[list[str]] = []
        filled = 0
        for name in self.order:
            size = self._bytes(name)
            if not shards or filled + size > shard_bytes:
                shards.append([])
                filled = 0
            shards[-1].append(name)
            filled += size
        return shards or [[]]

    def _bytes(self, name: str) -> int:
        dtype, shape = self._outline[name]
        return dtype.itemsize * math.prod(shape)

    def _file_name(self, shard: int) -> str:
        count = len(self._shards)
        return SINGLE if count == 1 else f"model-{shard + 1:05}-of-{count:05}.safetensors"

    def _begin(self, file: Path, names: Sequence[str]) -> None:
        """Write the header of a file, and make room for its tensors."""
        header: dict[str, object] = {"__metadata__": {"format": "pt"}}
        end = 0
        starts: dict[str, int] = {}
        for name in names:
            dtype, shape = self._outline[name]
            starts[name], end = end, end + self._bytes(name)
            header[name] = {"dtype": NAMES[dtype], "shape": list(shape), "data_offsets": [starts[name], end]}
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        os.pwrite(descriptor, len(text).to_bytes(8, "little") + text, 0)
        os.truncate(descriptor, 8 + len(text) + end)
        self._places |= {name: (descriptor, 8 + len(text) + start) for name, start in starts.items()}

    def _write_index(self) -> None:
        weight_map = {name: self._file_name(number) for number, shard in enumerate(self._shards) for name in shard}
        total = sum(map(self._bytes, self._outline))
        parameters = sum(math.prod(shape) for dtype, shape in self._outline.values() if dtype.is_floating_point)
        metadata = {"total_parameters": parameters, "total_size": total}
        index = {"metadata": metadata, "weight_map": dict(sorted(weight_map.items()))}
        (self._folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", "utf-8")


def copy_tensors(source: Path, folder: Path, shard_bytes: int = SHARD_BYTES) -> None:
    """Write the tensors of a model into another folder, in shards of this size."""
    with Checkpoint(source) as tensors:
        outline = {name: (tensors.dtype(name), tensors.shape(name)) for name in tensors}
        with ShardWriter(folder, outline, shard_bytes) as writer:
            for name in writer.order:
                for start, piece in tensors.pieces(name):
                    writer.write(name, piece, start)
