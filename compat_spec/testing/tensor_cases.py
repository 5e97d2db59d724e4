"""What merges of tensors are checked with: random tensors, or tiny networks for those that look at networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from compat_spec.components import TensorMerge
from compat_spec.nn.per_tensor import TensorPlace
from compat_spec.testing.subject import Subject

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from compat_spec.nn.network import Network

SHAPES = ((), (1,), (7,), (5, 3), (4, 6), (2, 3, 4, 2), (0,), (0, 3))
"""Of tensors that a network may have; a scalar and an empty one are rare, and there."""

NAME = "transformer.h.1.mlp.c_fc.weight"
SEED = 3


@dataclass(frozen=True)
class Case:
    """One tensor of each model, and of the base where the merge has one."""

    tensors: Sequence[Tensor]
    base: Tensor | None
    at: TensorPlace

    def __str__(self) -> str:
        first = self.tensors[0]
        return f"tensors of the shape {list(first.shape)} in {str(first.dtype).removeprefix('torch.')}"

    def given(self) -> list[Tensor]:
        return [*self.tensors, *([self.base] if self.base is not None else [])]

    def changed(self, change: Any) -> Case:
        """The same with each tensor changed by a function."""
        base = change(self.base) if self.base is not None else None
        return replace(self, tensors=[change(tensor) for tensor in self.tensors], base=base)


def combine(merge: TensorMerge, case: Case) -> Tensor:
    """One tensor of the result, as the engine asks for it; of copies, so that one fault is found by one check."""
    return combine_these(merge, case.changed(lambda tensor: tensor.clone()))


def combine_these(merge: TensorMerge, case: Case) -> Tensor:
    """The same of the tensors themselves."""
    made = combine_in_pieces(merge, case, case.tensors[0].numel())
    if not made:
        return case.tensors[0].clone()
    ((given, result),) = made
    # in the shape of the tensor, unless it has none that a piece may have
    right = isinstance(result, type(given)) and result.shape == given.shape
    return result.reshape(case.tensors[0].shape) if right else result


def combine_in_pieces(merge: TensorMerge, case: Case, room: int) -> list[tuple[Tensor, Tensor]]:
    """Each piece of the first tensor, and what `combine` makes of it; a tensor without entries has no pieces."""
    from compat_spec.nn.merging import pieces_in_memory

    pieces = pieces_in_memory(merge, case.tensors, case.base, room)
    at = replace(case.at, shape=pieces.shape)
    at = replace(at, surveyed=merge.survey(pieces, at=at) if pieces.size else None)
    return [
        (piece.tensors[0], merge.combine(piece.tensors, piece.base, at=replace(at, start=piece.start)))
        for piece in pieces
    ]


def cases(subject: Subject, dtype: torch.dtype | None = None, *, equal: bool = False) -> list[Case]:
    """Random tensors of many shapes; those of tiny networks for a merge that has looked at them.

    Args:
        equal: whether they are the same in all models and the base.
    """
    import torch

    merge, dtype = subject.make(), dtype or torch.float32
    if studies(subject):
        return [case.changed(lambda tensor: tensor.to(dtype)) for case in _studied_cases(subject, equal)]
    drawn = []
    for number, shape in enumerate(SHAPES):
        generator = torch.Generator().manual_seed(number)
        base, shared, *own = (
            torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(len(merge.models) + 2)
        )
        tensors = [base if equal else base + 0.3 * (shared + one) for one in own]
        at = TensorPlace(NAME, depth=0.5, seed=SEED)
        case = Case(tensors, base if has_base(merge) else None, at)
        drawn.append(case.changed(lambda tensor: tensor.to(dtype, copy=True)))
    return drawn


def has_base(merge: TensorMerge) -> bool:
    return getattr(merge, "base", None) is not None


def same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are equal to the bit, not-a-numbers included."""
    return one.shape == other.shape and bool(((one == other) | (one.isnan() & other.isnan())).all())


def largest_difference(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max()) if one.shape == other.shape and one.numel() else float("nan")


# --------------------------------------------------------------------------------------------------------- study


def studies(component: Subject | type) -> bool:
    cls: Any = component.component if isinstance(component, Subject) else component
    return cls.study is not TensorMerge.study


def networks_of(subject: Subject, equal: bool = False) -> tuple[list[Network], Network]:
    """A tiny network for each model, and for the base."""
    from compat_spec.testing.tiny import tiny_network

    def made() -> tuple[list[Network], Network]:
        count = len(subject.make().models) + 1
        *networks, base = (tiny_network(seed=0 if equal else seed, blocks=2) for seed in range(count))
        for network in (*networks, base):
            network.module.requires_grad_(False)
        return networks, base

    return subject.once(f"networks, equal: {equal}", made)


def study_of(subject: Subject, equal: bool = False) -> Mapping[str, Tensor]:
    from compat_spec.nn.network import seeded
    from compat_spec.testing.in_memory import InMemoryStudy
    from compat_spec.testing.tiny import tiny_split

    networks, base = networks_of(subject, equal)
    with seeded(SEED):
        found: Mapping[str, Tensor] = subject.make().study(InMemoryStudy(networks, tiny_split(), base, seed=SEED))
    return found


def _studied_cases(subject: Subject, equal: bool) -> list[Case]:
    found = subject.once(f"study, equal: {equal}", lambda: study_of(subject, equal))
    networks, base = networks_of(subject, equal)
    tensors = [dict(network.module.named_parameters()) for network in networks]
    origin = dict(base.module.named_parameters()) if has_base(subject.make()) else {}
    return [
        Case(
            [of_model[name].detach() for of_model in tensors],
            origin[name].detach() if name in origin else None,
            TensorPlace(name, depth=0.5, seed=SEED, found=found),
        )
        for name in tensors[0]
    ]
