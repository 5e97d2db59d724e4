"""What measures of similarity are given: features that belong together, and products of them without short cuts."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

_THIN = 32


def checked(xs: Sequence[Tensor] | Tensor, ys: Sequence[Tensor] | Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """The layers of both sides on one device that has float64: that of `xs`, or the CPU.

    Raises `ValueError` for what is not features `[n, width]` of the same tokens.
    """
    left, right = list(xs), list(ys)
    if not left or not right:
        raise ValueError("there are no layers to compare")
    for features in (*left, *right):
        if not isinstance(features, Tensor):
            raise ValueError(f"features are tensors [n, width], not {type(features).__name__}")
        if features.ndim != 2 or not features.is_floating_point():
            raise ValueError(f"features are [n, width] of a float dtype, not {list(features.shape)} {features.dtype}")
        if not features.numel():
            raise ValueError(f"features need at least one token and a width of 1, and these are {list(features.shape)}")
        if len(features) != len(left[0]):
            raise ValueError(f"layers must have the same tokens: one has {len(features)}, another {len(left[0])}")
    device = torch.device("cpu") if left[0].device.type == "mps" else left[0].device
    on_device = {id(features): features.detach().to(device) for features in (*left, *right)}
    return [on_device[id(x)] for x in left], [on_device[id(y)] for y in right]


def same_layers(xs: Sequence[Tensor], ys: Sequence[Tensor]) -> bool:
    """Whether both sides are the same features, so that half of the pairs say it all."""

    def alike(x: Tensor, y: Tensor) -> bool:
        return x.data_ptr() == y.data_ptr() and x.shape == y.shape and x.stride() == y.stride() and x.dtype == y.dtype

    return len(xs) == len(ys) and all(alike(x, y) for x, y in zip(xs, ys, strict=True))


def product_dtype(*sides: Sequence[Tensor]) -> torch.dtype:
    """In which type products are made at first: float32, or float64 for features of float64."""
    wide = any(features.dtype == torch.float64 for side in sides for features in side)
    return torch.float64 if wide else torch.float32


def product_over_rows(a: Tensor, b: Tensor) -> Tensor:
    """A'B in float64, of `[rows, width]` each, from products in their type.

    Libraries add up products of wide matrices in parts, and those of thin ones row after row: over thousands of rows
    that costs float32 two digits and more, so thin ones are made in float64.
    """
    if min(a.shape[1], b.shape[1]) < _THIN:
        a, b = a.double(), b.double()
    return (a.T @ b).double()


def row_blocks(n: int, size: int) -> Iterator[slice]:
    """All of n rows, so many at a time."""
    return (slice(start, min(start + size, n)) for start in range(0, n, max(1, size)))


@contextmanager
def exact_products(device: torch.device) -> Iterator[None]:
    """Matrix products in the type of their factors: not in TF32 or bfloat16, whatever the process allows elsewhere."""
    with _EXACT, torch.autocast(device.type, enabled=False), torch.no_grad():
        yield


class _ExactInProcess:
    """The precision that the process allows is one for all threads: the first to need it exact sets it, and the last
    to be done sets it back."""

    def __init__(self) -> None:
        self._backends = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)  # type: ignore[attr-defined]
        self._lock = threading.Lock()
        self._inside = 0
        self._allowed: list[str] = []

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._allowed = [backend.fp32_precision for backend in self._backends]
                for backend in self._backends:
                    backend.fp32_precision = "ieee"
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                for backend, precision in zip(self._backends, self._allowed, strict=True):
                    backend.fp32_precision = precision


_EXACT = _ExactInProcess()
