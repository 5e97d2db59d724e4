"""What a merge of models makes of which tensors, checked before anything is read."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from compat_spec.errors import CompatError
from compat_spec.nn.block_names import block_count, depths
from compat_spec.nn.checkpoint import TensorSource
from compat_spec.nn.per_tensor import TensorPlace
from compat_spec.nn.restacking import restacked
from compat_spec.nn.tied import with_names_of

if TYPE_CHECKING:
    from compat_spec.components import TensorMerge


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

    @property
    def bytes(self) -> int:
        return self.dtype.itemsize * math.prod(self.shape)


class MergeOutline:
    """What a merge of these models is going to read and write; nothing has been read.

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
        return sum(tensors.bytes(name) for output in self.outputs.values() for tensors, name in self.inputs(output))

    @property
    def bytes_to_write(self) -> int:
        return sum(output.bytes for output in self.outputs.values())

    @property
    def largest_bytes(self) -> int:
        """Bytes of the largest tensor of the result."""
        return max((output.bytes for output in self.outputs.values()), default=0)

    def inputs(self, output: Output) -> list[tuple[TensorSource, str]]:
        """Where to read what a tensor is made of; the base is the last, where there is one."""
        inputs = [(self.models[model].tensors, name) for model, name in output.origins]
        if output.base is not None:
            assert self.base is not None
            inputs.append((self.base.tensors, output.base))
        return inputs

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
        named = list(zip([*names, self.base.name if self.base else ""], self.inputs(output), strict=False))
        for model, (tensors, name) in named:
            if tensors.shape(name) != output.shape:
                raise CompatError(
                    f"{names[0]} and {model} have different shapes: {name} is {list(output.shape)} and "
                    f"{list(tensors.shape(name))}"
                )
            dtype = tensors.dtype(name)
            if dtype.is_floating_point == output.kept:
                raise CompatError(
                    f"{names[0]} and {model} have different types: {name} is {word(output.dtype)} and {word(dtype)}"
                )
            if dtype.itemsize == 1 and dtype.is_floating_point and self.merge.dtype is None:
                raise CompatError(
                    f"{name} of {model} is stored in {word(dtype)}, which is too coarse to merge into: say in what "
                    "the result is to be stored, such as dtype: bfloat16"
                )


def working_dtype(dtypes: Sequence[torch.dtype]) -> torch.dtype:
    """What to compute in for tensors of these types."""
    return torch.float64 if torch.float64 in dtypes else torch.float32


def word(dtype: torch.dtype) -> str:
    """A type as messages have it."""
    return str(dtype).removeprefix("torch.")
