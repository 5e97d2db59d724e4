"""The `pcb` merge."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, NamedTuple

from pydantic import Field, FiniteFloat

from compat_plugins.merges.deltas import finite_deltas
from compat_plugins.merges.task_vectors import BaseModelName
from compat_spec.components import MergeStudy, TensorMerge
from compat_spec.nn.per_tensor import PerTensor, TensorPlace

if TYPE_CHECKING:
    from torch import Tensor

_EXTREMES = 1e-4
"""The share of a task vector's entries at either end, by magnitude, that are brought to the end of the others."""

_NOTHING = 1e-12
"""A sum of shares below this is not divided by."""


class _Range(NamedTuple):
    least: float
    most: float

    def cut(self, values: Tensor) -> Tensor:
        return values.clamp(self.least, self.most)

    def place(self, values: Tensor) -> Tensor:
        """Where values are within the range, from 0 to 1; all 0 in an empty one."""
        width = self.most - self.least
        return (self.cut(values) - self.least) / width if width > 0 else values.new_zeros(values.shape)


class PCB(TensorMerge):
    """The base plus an average of the models' task vectors, in which entries compete by their scores.

    An entry scores by its size within its own task vector, and by its agreement with the sum of all; the best `density`
    of each model's entries count, in proportion. Sizes and scores are ranked over the whole model.

    Du et al., "Parameter Competition Balancing for Model Merging", 2024, arXiv:2410.02396 (PCB-Merging), as in the
    authors' code, whose agreement is the hyperbolic tangent of a product where the paper has a softmax over the model.
    """

    unit = "entry"

    base: BaseModelName
    density: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.1, description="The share of each model's entries that count."
    )
    lambda_: PerTensor[FiniteFloat] = Field(
        default=1.0, alias="lambda", description="The factor of what is added to the base."
    )

    def study(self, study: MergeStudy) -> Mapping[str, Tensor]:
        import torch

        from compat_spec.nn.aside import read_piece, shapes_of
        from compat_spec.nn.order_statistics import kth_smallest
        from compat_spec.nn.pieces import bounds, room_for

        base, models = study.tensors(None), [study.tensors(model) for model in range(len(self.models))]
        shapes = shapes_of(base)
        entries = {name: math.prod(shape) for name, shape in shapes.items()}
        room = room_for(torch.device(study.device).type)
        count, passes = sum(entries.values()), 0

        def deltas() -> Iterator[list[Tensor]]:
            nonlocal passes
            for done, name in enumerate(entries):
                study.progress(passes * len(entries) + done, 4 * len(entries), "ranking entries")
                for piece in bounds(shapes[name], self.unit, room):
                    start = read_piece(base, name, *piece).to(study.device, torch.float32)
                    of_models = [read_piece(tensors, name, *piece).to(start) for tensors in models]
                    yield finite_deltas(of_models, start, self.models, name)
            passes += 1

        ends = (int(count * _EXTREMES), int(count * (1 - _EXTREMES) - 1))
        sizes = [_Range(*of) for of in kth_smallest(lambda: ([d.abs() for d in piece] for piece in deltas()), ends)]
        best = (min(int(count * (1 - self.density)), count - 1), count - 1)
        scores = kth_smallest(lambda: (_scores(piece, sizes) for piece in deltas()), best)
        return {
            str(model): torch.tensor([*size, *score], dtype=torch.float64)
            for model, (size, score) in enumerate(zip(sizes, scores, strict=True))
        }

    def combine(self, tensors: Sequence[Tensor], base: Tensor | None, *, at: TensorPlace) -> Tensor:
        assert base is not None
        deltas = finite_deltas(tensors, base, self.models, at.name)
        found = [at.found[str(model)].tolist() for model in range(len(tensors))]
        sizes = [_Range(*ranks[:2]) for ranks in found]
        scores = _scores(deltas, sizes)
        shares = [_Range(*ranks[2:]).place(score) for score, ranks in zip(scores, found, strict=True)]
        moved, total = base.new_zeros(base.shape), base.new_zeros(base.shape)
        for delta, size, share in zip(deltas, sizes, shares, strict=True):
            moved.addcmul_(delta.sign() * size.cut(delta.abs()), share)
            total.add_(share)
        return base + at.value(self.lambda_) * moved / total.clamp(min=_NOTHING)


def _scores(deltas: Sequence[Tensor], sizes: Sequence[_Range]) -> list[Tensor]:
    """How well each entry of each task vector competes; below 0 where it goes against the sum of all."""
    together = sum(deltas[1:], deltas[0])
    return [
        (len(deltas) * size.place(delta.abs()).square()).exp() * (delta * together).tanh()
        for delta, size in zip(deltas, sizes, strict=True)
    ]
