"""Merges of tensors that break their contract, each in one way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from compat_spec.components import MergeStudy, TensorMerge
from compat_spec.nn.per_tensor import TensorPlace
from tests.testing.bad.case import Bad


class Mean(TensorMerge):
    """The mean of the models."""

    def combine(self, tensors: Sequence[Tensor], base: Tensor | None, *, at: TensorPlace) -> Tensor:
        return torch.stack(list(tensors)).mean(0)


class Flattening(Mean):
    def combine(self, tensors: Sequence[Tensor], base: Tensor | None, *, at: TensorPlace) -> Tensor:
        return super().combine(tensors, base, at=at).flatten()


class Rounding(Mean):
    def combine(self, tensors: Sequence[Tensor], base: Tensor | None, *, at: TensorPlace) -> Tensor:
        return super().combine(tensors, base, at=at).bfloat16()


class OfMatrices(Mean):
    def combine(self, tensors: Sequence[Tensor], base: Tensor | None, *, at: TensorPlace) -> Tensor:
        rows, columns = tensors[0].shape
        return super().combine(tensors, base, at=at).view(rows, columns)


class InPlace(Mean):
    def combine(self, tensors: Sequence[Tensor], base: Tensor | None, *, at: TensorPlace) -> Tensor:
        total = tensors[0]
        for tensor in tensors[1:]:
            total += tensor
        return total / len(tensors)


class Remembering(Mean):
    _seen: ClassVar[list[int]] = []

    def combine(self, tensors: Sequence[Tensor], base: Tensor | None, *, at: TensorPlace) -> Tensor:
        self._seen.append(1)
        return super().combine(tensors, base, at=at) + len(self._seen)


class Dicing(Mean):
    def combine(self, tensors: Sequence[Tensor], base: Tensor | None, *, at: TensorPlace) -> Tensor:
        return super().combine(tensors, base, at=at) + torch.randn(tensors[0].shape)


class SecretlySeeded(Mean):
    def combine(self, tensors: Sequence[Tensor], base: Tensor | None, *, at: TensorPlace) -> Tensor:
        keep = at.random(tensors[0].shape) < 0.5
        return super().combine(tensors, base, at=at).where(keep, tensors[0])


class Viewing(Mean):
    def combine(self, tensors: Sequence[Tensor], base: Tensor | None, *, at: TensorPlace) -> Tensor:
        return torch.stack([tensor.view(-1) for tensor in tensors]).mean(0).view(tensors[0].shape)


class Normed(Mean):
    def combine(self, tensors: Sequence[Tensor], base: Tensor | None, *, at: TensorPlace) -> Tensor:
        return sum(tensor / tensor.norm() for tensor in tensors)  # type: ignore[return-value]


class Differing(Mean):
    def combine(self, tensors: Sequence[Tensor], base: Tensor | None, *, at: TensorPlace) -> Tensor:
        difference = tensors[0] - tensors[-1]
        return tensors[0] + difference / difference.abs().mean()


class Summing(Mean):
    def combine(self, tensors: Sequence[Tensor], base: Tensor | None, *, at: TensorPlace) -> Tensor:
        return super().combine(tensors, base, at=at) * 2


class Centred(Mean):
    unit = "entry"

    def combine(self, tensors: Sequence[Tensor], base: Tensor | None, *, at: TensorPlace) -> Tensor:
        mean = super().combine(tensors, base, at=at)
        return mean + (tensors[0] - tensors[-1]).abs().sum()


class Reshaping(Mean):
    unit = "row"

    def combine(self, tensors: Sequence[Tensor], base: Tensor | None, *, at: TensorPlace) -> Tensor:
        return super().combine(tensors, base, at=at).reshape(at.shape)


class Moving(Mean):
    def combine(self, tensors: Sequence[Tensor], base: Tensor | None, *, at: TensorPlace) -> Tensor:
        return super().combine(tensors, base, at=at).cpu()


class StudyingAtRandom(Mean):
    def study(self, study: MergeStudy) -> Mapping[str, Tensor]:
        import random

        return {"number": torch.tensor(random.random())}


class StudyingByTraining(Mean):
    def study(self, study: MergeStudy) -> Mapping[str, Tensor]:
        module: Any = study.network(0).module
        with torch.no_grad():
            next(module.parameters()).mul_(0.5)
        return {}


BAD = [
    Bad(Flattening, "keeps_shape_and_dtype", "keep the shape"),
    Bad(Rounding, "keeps_shape_and_dtype", "compute in the type that is given"),
    Bad(OfMatrices, "keeps_shape_and_dtype", "ValueError: not enough values to unpack"),
    Bad(InPlace, "leaves_inputs_unchanged", "The tensor of model 0 was changed in place"),
    Bad(Remembering, "gives_the_same_again", "gave another result the second time"),
    Bad(Dicing, "keeps_off_global_randomness", "drew from the generator of torch"),
    Bad(SecretlySeeded, "says_whether_the_seed_matters", "uses_seed() says False"),
    Bad(Viewing, "takes_tensors_that_are_not_contiguous", "reshape instead of view"),
    Bad(Normed, "makes_numbers_of_zeros", "a division by a norm"),
    Bad(Differing, "makes_numbers_of_equal_models", "a division by a difference"),
    Bad(Summing, "keeps_what_is_equal", "idempotent: ClassVar[bool] = False"),
    Bad(Centred, "agrees_in_pieces", "an entry of the result depends on more"),
    Bad(Reshaping, "agrees_in_pieces", "came out as []"),
    Bad(Moving, "works_on_a_gpu", "moved"),
    Bad(StudyingAtRandom, "studies_the_same_again", "found something else the second time"),
    Bad(StudyingByTraining, "studies_without_changing_networks", "use study.copy"),
]
