"""Writes a model as a stream: tensor by tensor, piece by piece, into safetensors files of bounded size."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import torch
from torch import Tensor

from compat_spec.nn.checkpoint import DTYPES, INDEX, SINGLE

SHARD_BYTES = 5 * 10**9
"""How large a file becomes at most, unless a single tensor is larger."""

NAMES = {dtype: name for name, dtype in DTYPES.items()}


class ShardWriter:
    """A folder of safetensors whose tensors are given one after the other, in the order of `order`.

    What they are called, and their types and shapes, must be known before: it stands at the beginning of the files.
    """

    def __init__(
        self, folder: Path, outline: Mapping[str, tuple[torch.dtype, tuple[int, ...]]], shard_bytes: int = SHARD_BYTES
    ) -> None:
        self._folder = folder
        self._outline = outline
        # wide types first, so that every tensor begins at a multiple of its entries' size
        self.order: Sequence[str] = sorted(outline, key=lambda name: (-outline[name][0].itemsize, name))
        self._shards = self._split(shard_bytes)
        self._file: BinaryIO | None = None
        self._left = 0
        self._shard = self._tensor = -1

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._file is not None:
            self._file.close()
        if kind is None and len(self._shards) > 1:
            self._write_index()

    @property
    def total_bytes(self) -> int:
        return sum(map(self._bytes, self._outline))

    def begin(self, name: str) -> None:
        """What is written next is this tensor: the next of `order`."""
        self._tensor += 1
        assert name == self.order[self._tensor], f"{name} is not the next tensor"
        assert self._left == 0, f"{self._left} bytes of the tensor before {name} are missing"
        if self._shard < 0 or name not in self._shards[self._shard]:
            self._open_next_shard()
        self._left = self._bytes(name)

    def write(self, piece: Tensor) -> None:
        """The next entries of the tensor that was begun, in its own type."""
        assert self._file is not None
        data = piece.contiguous().flatten().view(torch.uint8).numpy().data
        self._left -= len(data)
        assert self._left >= 0, "more entries than the tensor has"
        while data:  # the operating system writes at most 2 GiB at once
            data = data[self._file.write(data) :]

    def _split(self, shard_bytes: int) -> list[dict[str, None]]:
        shards: list[dict[str, None]] = []
        filled = 0
        for name in self.order:
            size = self._bytes(name)
            if not shards or filled + size > shard_bytes:
                shards.append({})
                filled = 0
            shards[-1][name] = None
            filled += size
        return shards or [{}]

    def _bytes(self, name: str) -> int:
        dtype, shape = self._outline[name]
        return dtype.itemsize * math.prod(shape)

    def _file_name(self, shard: int) -> str:
        count = len(self._shards)
        return SINGLE if count == 1 else f"model-{shard + 1:05}-of-{count:05}.safetensors"

    def _open_next_shard(self) -> None:
        if self._file is not None:
            self._file.close()
        self._shard += 1
        header: dict[str, object] = {"__metadata__": {"format": "pt"}}
        offset = 0
        for name in self._shards[self._shard]:
            dtype, shape = self._outline[name]
            end = offset + self._bytes(name)
            header[name] = {"dtype": NAMES[dtype], "shape": list(shape), "data_offsets": [offset, end]}
            offset = end
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        self._file = (self._folder / self._file_name(self._shard)).open("wb", buffering=0)
        self._file.write(len(text).to_bytes(8, "little") + text)

    def _write_index(self) -> None:
        weight_map = {name: self._file_name(number) for number, shard in enumerate(self._shards) for name in shard}
        index = {"metadata": {"total_size": self.total_bytes}, "weight_map": dict(sorted(weight_map.items()))}
        (self._folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", "utf-8")
