"""Reads the tensors of a model one by one, or piece by piece, whether it is one safetensors file or many shards."""

from __future__ import annotations

import json
import math
import os
import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from types import TracebackType

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from compat_spec.errors import CompatError
from compat_spec.nn.pieces import bounds, room_for
from compat_spec.nn.raw_bytes import read_into

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"

_INDEX_ENDING = ".safetensors.index.json"
"""Other libraries begin its name differently (`diffusion_pytorch_model`)."""

_SHARD = re.compile(r"(?P<start>.+)-(?P<number>\d+)-of-(?P<count>\d+)\.safetensors")

_POINTER = b"version https://git-lfs"
"""How a file begins that Git LFS has not fetched."""

DTYPES: Mapping[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""What the format calls the types of torch."""


class TensorSource(Mapping[str, Tensor]):
    """The tensors of a model by name, read when they are asked for; each is the caller's own."""

    @abstractmethod
    def shape(self, name: str) -> tuple[int, ...]: ...

    @abstractmethod
    def dtype(self, name: str) -> torch.dtype: ...

    def bytes(self, name: str) -> int:
        """How many bytes are read to have a tensor."""
        return self.dtype(name).itemsize * math.prod(self.shape(name))

    @abstractmethod
    def piece(self, name: str, start: int, stop: int) -> Tensor:
        """The entries from `start` to `stop` of the flattened tensor."""

    def pieces(self, name: str) -> Iterator[tuple[int, Tensor]]:
        """All of a tensor, piece by piece: which entry each begins with, and its entries."""
        for start, stop in bounds(self.shape(name), "entry", room_for("cpu")):
            yield start, self.piece(name, start, stop)

    @abstractmethod
    def __contains__(self, name: object) -> bool:
        """Whether there is such a tensor, without reading it, which is what a `Mapping` does by default."""

    def __getitem__(self, name: str) -> Tensor:
        shape = self.shape(name)
        return self.piece(name, 0, math.prod(shape)).reshape(shape)


@dataclass(frozen=True, slots=True)
class _Stored:
    """Where a tensor lies."""

    file: Path
    offset: int
    dtype: torch.dtype
    shape: tuple[int, ...]


class Checkpoint(TensorSource):
    """The tensors of a folder or of one file, by name: `with Checkpoint(folder) as tensors: tensors["lm_head"]`.

    Nothing is mapped into memory: what is read is what is asked for, and is gone when the caller lets go of it.

    Raises:
        CompatError: there are no safetensors, or they are damaged.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self._descriptors: dict[Path, int] = {}
        self._opening = Lock()
        self._stored: dict[str, _Stored] = {}
        for file, names in _files(place).items():
            found = _header(file)
            wanted = found.keys() if names is None else names
            for name in wanted:
                if name not in found:
                    raise CompatError(f"the index of {place} says that {file.name} has {name}, which it has not")
                if name in self._stored:
                    raise CompatError(f"{name} is twice in {place}: in {self._stored[name].file.name} and {file.name}")
                self._stored[name] = found[name]

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._descriptors.clear()

    def __len__(self) -> int:
        return len(self._stored)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._stored))

    def __contains__(self, name: object) -> bool:
        return name in self._stored

    def shape(self, name: str) -> tuple[int, ...]:
        return self._stored[name].shape

    def dtype(self, name: str) -> torch.dtype:
        return self._stored[name].dtype

    def piece(self, name: str, start: int, stop: int) -> Tensor:
        stored = self._stored[name]
        size = stored.dtype.itemsize
        tensor = torch.empty(stop - start, dtype=stored.dtype)
        if stop > start:
            self._fill(tensor, stored.file, stored.offset + start * size)
        return tensor

    def _fill(self, tensor: Tensor, file: Path, offset: int) -> None:
        with self._opening:
            if file not in self._descriptors:
                self._descriptors[file] = os.open(file, os.O_RDONLY)
        try:
            read_into(tensor, self._descriptors[file], offset)
        except EOFError:
            raise CompatError(f"{file} has become shorter while it was read") from None


def _files(place: Path) -> Mapping[Path, list[str] | None]:
    """The files of a model, with the names to take from each; None is all of them.

    As transformers has it, a single file goes before an index, which goes before loose files. Whole sets of shards
    without an index are found by their numbers, whatever lies beside them (`consolidated.safetensors`).
    """
    if place.is_file():
        return {place: None}
    if (place / SINGLE).exists():
        return {place / SINGLE: None}
    indices = [place / INDEX] if (place / INDEX).exists() else sorted(place.glob(f"*{_INDEX_ENDING}"))
    if len(indices) > 1:
        raise CompatError(f"{place} has several indices of shards: {', '.join(index.name for index in indices)}")
    if indices:
        return _by_index(indices[0])
    found = sorted(place.glob("*.safetensors"))
    if not found:
        raise CompatError(f"{place} has no {SINGLE} and no {INDEX}; only safetensors are read")
    return dict.fromkeys(_numbered(found) or found)


def _by_index(index: Path) -> Mapping[Path, list[str] | None]:
    try:
        shard_of = json.loads(index.read_text("utf-8"))["weight_map"]
        files: dict[Path, list[str] | None] = {}
        for name, shard in shard_of.items():
            if Path(shard).is_absolute() or ".." in Path(shard).parts:
                raise CompatError(f"{index} names {shard}, which is not in its folder")
            names = files.setdefault(index.parent / shard, [])
            assert names is not None
            names.append(name)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CompatError(f"{index} is not an index of shards: {error}") from error
    for file in files:
        if not file.is_file():
            raise CompatError(f"{index} names {file.name}, which is not there: the model is not whole")
    return files


def _numbered(files: Sequence[Path]) -> list[Path]:
    """Those of one set of shards, `…-00001-of-00003.safetensors`; none where there is no such set, or several."""
    shards = {file: found for file in files if (found := _SHARD.fullmatch(file.name))}
    sets = {(found["start"], int(found["count"])) for found in shards.values()}
    if len(sets) != 1:
        return []
    ((start, count),) = sets
    missing = set(range(1, count + 1)) - {int(found["number"]) for found in shards.values()}
    if missing:
        raise CompatError(
            f"{files[0].parent} has no shard {min(missing)} of {count} of {start}: the model is not whole"
        )
    return list(shards)


def _header(file: Path) -> dict[str, _Stored]:
    """What is in a file, by name."""
    try:
        with file.open("rb") as opened:
            if opened.read(len(_POINTER)) == _POINTER:
                raise CompatError(f"{file} is a pointer of Git LFS, not the file itself: fetch it with git lfs pull")
        with safe_open(file, framework="np"):  # checks the header against the file
            pass
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            header = json.loads(opened.read(length))
    except (SafetensorError, OSError, ValueError) as error:
        raise CompatError(f"{file} cannot be read: {error}") from error
    header.pop("__metadata__", None)
    stored = {}
    for name, entry in header.items():
        if entry["dtype"] not in DTYPES:
            raise CompatError(f"{name} in {file} is of the type {entry['dtype']}, which cannot be merged")
        start = 8 + length + entry["data_offsets"][0]
        stored[name] = _Stored(file, start, DTYPES[entry["dtype"]], tuple(entry["shape"]))
    return stored
