"""Tied tensors: a head that is the input embeddings again is stored by some models, and left out by others."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from compat_spec.errors import CompatError
from compat_spec.nn.checkpoint import TensorSource


def with_names_of(first: TensorSource, first_name: str, other: TensorSource, other_name: str) -> TensorSource:
    """The tensors of `other` by the names that `first` has.

    What `other` lacks, and what in `first` equals another tensor to the bit, is tied to that: `other` then has its own
    tensor of that name in both places. What `other` has beyond `first` is left out when it is such a copy.

    Args:
        first_name: what to call the model of `first` in messages; likewise `other_name`.

    Raises:
        CompatError: they do not have the same tensors.
    """
    apart = sorted(set(first) ^ set(other))
    if not apart:
        return other
    owners = {name: first if name in first else other for name in apart}
    common = sorted(set(first) & set(other))
    twins = {name: _twin(owner, name, common) for name, owner in owners.items()}
    strangers = [name for name in apart if twins[name] is None]
    if strangers:
        in_first = strangers[0] in first
        owner_name, lacking_name = (first_name, other_name) if in_first else (other_name, first_name)
        raise CompatError(
            f"{first_name} and {other_name} do not have the same tensors: {owner_name} has {strangers[0]} and "
            f"{lacking_name} has not" + (f"; there are {len(strangers) - 1} more" if len(strangers) > 1 else "")
        )
    return _Renamed(other, {name: twin for name in first if (twin := twins.get(name) or name)})


def _twin(tensors: TensorSource, name: str, among: Sequence[str]) -> str | None:
    """One of the tensors `among` that is the same to the bit; none for a constant: zeros are equal by chance."""
    kind = tensors.shape(name), tensors.dtype(name)
    alike = [other for other in among if (tensors.shape(other), tensors.dtype(other)) == kind]
    if not alike or _is_constant(tensors, name):
        return None
    return next((other for other in alike if _are_equal(tensors, name, other)), None)


def _is_constant(tensors: TensorSource, name: str) -> bool:
    first = tensors.piece(name, 0, min(1, math.prod(tensors.shape(name))))
    return all(bool((piece == first).all()) for _, piece in tensors.pieces(name))


def _are_equal(tensors: TensorSource, one: str, other: str) -> bool:
    pairs = zip(tensors.pieces(one), tensors.pieces(other), strict=True)
    return all(torch.equal(a.view(torch.uint8), b.view(torch.uint8)) for (_, a), (_, b) in pairs)


class _Renamed(TensorSource):
    """Tensors of another source, by other names."""

    def __init__(self, tensors: TensorSource, own_names: Mapping[str, str]) -> None:
        self._tensors = tensors
        self._own_names = own_names

    def __len__(self) -> int:
        return len(self._own_names)

    def __iter__(self) -> Iterator[str]:
        return iter(self._own_names)

    def __contains__(self, name: object) -> bool:
        return name in self._own_names

    def shape(self, name: str) -> tuple[int, ...]:
        return self._tensors.shape(self._own_names[name])

    def dtype(self, name: str) -> torch.dtype:
        return self._tensors.dtype(self._own_names[name])

    def bytes(self, name: str) -> int:
        return self._tensors.bytes(self._own_names[name])

    def piece(self, name: str, start: int, stop: int) -> Tensor:
        return self._tensors.piece(self._own_names[name], start, stop)
