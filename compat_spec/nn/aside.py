"""Tensors that are put aside on the disk, because all of them together may not fit into memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from compat_spec.errors import CompatError
from compat_spec.nn.checkpoint import TensorSource
from compat_spec.nn.raw_bytes import read_into, write_from


class TensorsAside(TensorSource):
    """Tensors by name, written one by one to a file of `folder` and read when they are asked for.

    The file has no name: it is gone with this object, and with a process that is killed.

    Args:
        tensors: are gone through once, and none is held. One that follows itself under another name is written once.

    Raises:
        CompatError: the disk does not take them.
    """

    def __init__(self, folder: Path, tensors: Iterable[tuple[str, Tensor]]) -> None:
        self._folder = folder
        self._stored: dict[str, tuple[int, torch.dtype, tuple[int, ...]]] = {}
        """Where each tensor begins, its type and its shape."""
        end, last, start = 0, None, 0
        with self._explained():
            self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - it is open as long as this is
        for name, tensor in tensors:
            if tensor is not last:
                last, start = tensor, end
                with self._explained():
                    write_from(tensor.detach().cpu(), self._file.fileno(), end)
                end += tensor.nbytes
            self._stored[name] = (start, tensor.dtype, tuple(tensor.shape))

    def __len__(self) -> int:
        return len(self._stored)

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __contains__(self, name: object) -> bool:
        return name in self._stored

    def shape(self, name: str) -> tuple[int, ...]:
        return self._stored[name][2]

    def dtype(self, name: str) -> torch.dtype:
        return self._stored[name][1]

    def piece(self, name: str, start: int, stop: int) -> Tensor:
        offset, dtype, _ = self._stored[name]
        tensor = torch.empty(stop - start, dtype=dtype)
        read_into(tensor, self._file.fileno(), offset + start * dtype.itemsize)
        return tensor

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise CompatError(
                f"what was found of the models cannot be put aside in {self._folder}: {error.strerror or error}"
            ) from error


def read_piece(tensors: Mapping[str, Tensor], name: str, start: int, stop: int) -> Tensor:
    """The entries from `start` to `stop` of a flattened tensor; no more is read where they lie on a disk."""
    if isinstance(tensors, TensorSource):
        return tensors.piece(name, start, stop)
    return tensors[name].reshape(-1)[start:stop]


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """The shapes of those tensors that hold floating-point numbers; none is read where they lie on a disk."""
    if isinstance(tensors, TensorSource):
        return {name: tensors.shape(name) for name in tensors if tensors.dtype(name).is_floating_point}
    return {name: tuple(tensor.shape) for name, tensor in tensors.items() if tensor.is_floating_point()}
