"""Reads the tensors of a model folder one by one, whether it is one safetensors file or many shards."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from safetensors import safe_open
from torch import Tensor

from compat_spec.errors import CompatError

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"


class Checkpoint:
    """The tensors of a model folder by name, read lazily: `with Checkpoint(folder) as tensors: tensors["lm_head"]`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stack = ExitStack()
        self._files: dict[str, Any] = {}
        if (folder / INDEX).exists():
            self._shard_of: dict[str, str] = json.loads((folder / INDEX).read_text("utf-8"))["weight_map"]
        elif (folder / SINGLE).exists():
            self._shard_of = dict.fromkeys(self._open(SINGLE).keys(), SINGLE)
        else:
            raise CompatError(f"{folder} has no {SINGLE} and no {INDEX}; only safetensors are read")

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stack.close()

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._shard_of))

    def __contains__(self, name: object) -> bool:
        return name in self._shard_of

    def __getitem__(self, name: str) -> Tensor:
        tensor: Tensor = self._open(self._shard_of[name]).get_tensor(name)
        return tensor

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape, without reading the tensor."""
        return tuple(self._open(self._shard_of[name]).get_slice(name).get_shape())

    def _open(self, shard: str) -> Any:
        if shard not in self._files:
            self._files[shard] = self._stack.enter_context(safe_open(self.folder / shard, framework="pt"))
        return self._files[shard]
