"""Checks of merges of tensors: `combine`, and `survey` and `study` where there are any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from compat_spec.components import TensorMerge
from compat_spec.nn.per_tensor import TensorPlace
from compat_spec.testing.checks import Checks, NotChecked, demand
from compat_spec.testing.subject import Subject

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from compat_spec.nn.network import Network

check = Checks(TensorMerge)

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
    """One tensor of the result, as the engine asks for it."""
    at = case.at
    if merge.surveys:
        found = [merge.survey(tensor, case.base, model=model, at=at) for model, tensor in enumerate(case.tensors)]
        at = replace(at, surveyed=found)
    return merge.combine(case.tensors, case.base, at=at)


def cases(subject: Subject, dtype: torch.dtype | None = None, *, equal: bool = False) -> list[Case]:
    """Random tensors of many shapes; those of tiny networks for a merge that has looked at them.

    Args:
        equal: whether they are the same in all models and the base.
    """
    import torch

    merge, dtype = subject.make(), dtype or torch.float32
    if _studies(subject):
        return [case.changed(lambda tensor: tensor.to(dtype)) for case in _studied_cases(subject, equal)]
    drawn = []
    for number, shape in enumerate(SHAPES):
        generator = torch.Generator().manual_seed(number)
        base, shared, *own = (
            torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(len(merge.models) + 2)
        )
        tensors = [base if equal else base + 0.3 * (shared + one) for one in own]
        at = TensorPlace(NAME, depth=0.5, seed=SEED)
        case = Case(tensors, base if _has_base(merge) else None, at)
        drawn.append(case.changed(lambda tensor: tensor.to(dtype, copy=True)))
    return drawn


def _has_base(merge: TensorMerge) -> bool:
    return getattr(merge, "base", None) is not None


def same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are equal to the bit, not-a-numbers included."""
    return one.shape == other.shape and bool(((one == other) | (one.isnan() & other.isnan())).all())


# ----------------------------------------------------------------------------------------------------------- combine


@check
def keeps_shape_and_dtype(subject: Subject) -> None:
    """The result has the shape, type and device of what was given: 0 to 4 dimensions, float32 and float64."""
    import torch

    merge = subject.make()
    for dtype in (torch.float32, torch.float64):
        for case in cases(subject, dtype):
            result, first = combine(merge, case), case.tensors[0]
            demand(
                isinstance(result, torch.Tensor), f"combine made a {type(result).__name__} of {case}, and no Tensor."
            )
            demand(
                result.shape == first.shape,
                f"combine made a tensor of the shape {list(result.shape)} of {case}: keep the shape.",
            )
            demand(result.dtype == dtype, f"combine made {result.dtype} of {case}: compute in the type that is given.")
            demand(result.device == first.device, f"combine moved {case} from {first.device} to {result.device}.")
            demand(
                bool(result.isfinite().all()), f"combine made infinities or not-a-numbers of {case}, which were finite."
            )


@check
def leaves_inputs_unchanged(subject: Subject) -> None:
    """`combine` and `survey` leave the tensors that they are given as they are."""
    merge = subject.make()
    for case in cases(subject):
        before = [tensor.clone() for tensor in case.given()]
        combine(merge, case)
        for number, (old, new) in enumerate(zip(before, case.given(), strict=True)):
            whose = "the base" if number == len(case.tensors) else f"model {number}"
            demand(
                same(old, new),
                f"The tensor of {whose} was changed in place, of {case}: the engine uses it again. Functions that end "
                "in _ and += change a tensor; clone it first.",
            )


@check
def gives_the_same_again(subject: Subject) -> None:
    """The same tensors give the same result, to the bit."""
    merge = subject.make()
    for case in cases(subject):
        first, second = combine(merge, case), combine(merge, case)
        third = combine(subject.make(), case)
        demand(
            same(first, second) and same(first, third),
            f"The same {case} gave another result the second time. Draw with at.random(…), and keep nothing between "
            "calls: tensors are combined side by side, in any order.",
        )


@check
def keeps_off_global_randomness(subject: Subject) -> None:
    """The random numbers of the process are neither used nor changed: they are shared by threads."""
    from compat_spec.testing.randomness import drawn_from, with_global_seed

    merge = subject.make()
    for case in cases(subject):
        found, changed = drawn_from(lambda case=case: combine(merge, case))  # type: ignore[misc]
        demand(
            not changed,
            f"combine drew from the generator of {' and '.join(changed)}: draw with at.random(shape), which depends on "
            "the run's seed and the tensor's name alone.",
        )
        other = with_global_seed(99, lambda case=case: combine(merge, case))  # type: ignore[misc]
        demand(
            same(found, other),
            f"The result of {case} depends on the seed of the whole process: draw with at.random(shape).",
        )


@check
def says_whether_the_seed_matters(subject: Subject) -> None:
    """The run's seed changes the result only if `uses_seed()` says so."""
    merge = subject.make()
    differs = False
    for case in cases(subject):
        other = replace(case, at=replace(case.at, seed=SEED + 1))
        differs = differs or not same(combine(merge, case), combine(merge, other))
    demand(
        merge.uses_seed() or not differs,
        "The result changes with the run's seed, and uses_seed() says False: all seeds would share the result of one. "
        "Let it return True.",
    )


@check
def takes_tensors_that_are_not_contiguous(subject: Subject) -> None:
    """Transposed tensors give what their contiguous copies give."""
    import torch

    merge = subject.make()
    for case in cases(subject):
        if case.tensors[0].dim() < 2:
            continue
        strided = case.changed(lambda tensor: tensor.transpose(0, -1).contiguous().transpose(0, -1))
        try:
            found, wanted = combine(merge, strided), combine(merge, case)
        except RuntimeError as error:
            demand(False, f"combine cannot take {case} that are not contiguous: {error}; reshape instead of view.")
        demand(
            torch.allclose(found, wanted, rtol=1e-5, atol=1e-6),
            f"The same numbers in another layout of memory give another result, of {case}.",
        )


@check
def makes_numbers_of_zeros(subject: Subject) -> None:
    """Tensors of zeros, as biases start, give finite numbers."""
    import torch

    merge = subject.make()
    for case in cases(subject):
        result = combine(merge, case.changed(torch.zeros_like))
        demand(
            bool(result.isfinite().all()),
            f"combine made infinities or not-a-numbers of {case} that are all zero, as biases and masks may be. Is "
            "there a division by a norm?",
        )


@check
def makes_numbers_of_equal_models(subject: Subject) -> None:
    """Models that are all equal, and equal to the base, give finite numbers."""
    merge = subject.make()
    for case in cases(subject, equal=True):
        result = combine(merge, case)
        demand(
            bool(result.isfinite().all()),
            f"combine made infinities or not-a-numbers of {case} that are the same in all models. Is there a division "
            "by a difference?",
        )


@check.where(lambda cls: cls.idempotent)
def keeps_what_is_equal(subject: Subject) -> None:
    """A tensor that is the same in all models and the base comes out as it is, unless `idempotent` says otherwise."""
    import torch

    merge = subject.make()
    for case in cases(subject, equal=True):
        result = combine(merge, case)
        demand(
            torch.allclose(result, case.tensors[0], rtol=1e-5, atol=1e-6),
            f"A tensor that all models share is another afterwards ({case}): the largest difference is "
            f"{_largest(result, case.tensors[0]):.3g}. If the method means to change it, say so: "
            "`idempotent: ClassVar[bool] = False`.",
        )


@check.where(lambda cls: cls.elementwise)
def agrees_in_pieces(subject: Subject) -> None:
    """It is `elementwise`: pieces of the flattened tensors give the pieces of the result."""
    import torch

    merge = subject.make()
    for case in cases(subject):
        count = case.tensors[0].numel()
        whole = combine(merge, case).reshape(-1)
        surveyed: list[Mapping[str, Tensor]] = []
        if merge.surveys:
            surveyed = [merge.survey(one, case.base, model=i, at=case.at) for i, one in enumerate(case.tensors)]
        for start, stop in ((0, count // 3), (count // 3, count)):
            if start == stop:
                continue
            part = case.changed(lambda tensor, start=start, stop=stop: tensor.reshape(-1)[start:stop])
            here = [
                {key: one.reshape(-1)[start:stop] if one.numel() == count else one for key, one in of_model.items()}
                for of_model in surveyed
            ]
            found = merge.combine(part.tensors, part.base, at=replace(case.at, surveyed=here))
            demand(found.shape == (stop - start,), f"A flat piece of {stop - start} entries came out as {found.shape}.")
            demand(
                torch.allclose(found, whole[start:stop], rtol=1e-5, atol=1e-6),
                f"Entries {start} to {stop} of {case} alone are others than in the whole: an entry of the result "
                "depends on more than the same entry of each model. Say `elementwise: ClassVar[bool] = False`, or find "
                "what it needs in `survey`.",
            )


@check
def is_asked_for_what_it_has(subject: Subject) -> None:
    """`surveys` is true if, and only if, there is a `survey`."""
    cls: Any = subject.component
    own = cls.survey is not TensorMerge.survey
    demand(not own or cls.surveys, "survey is never called: say `surveys: ClassVar[bool] = True`.")
    demand(own or not cls.surveys, "surveys is true, and there is no `survey`: every tensor would be read in vain.")


@check
def works_on_a_gpu(subject: Subject) -> None:
    """Tensors on a GPU give a result there, about the same as on the CPU."""
    import torch

    if not torch.cuda.is_available():
        raise NotChecked("there is no GPU here")
    merge = subject.make()
    for case in cases(subject):
        result = combine(merge, case.changed(lambda tensor: tensor.cuda()))
        demand(result.is_cuda, f"combine moved {case} from the GPU to {result.device}.")
        demand(
            torch.allclose(result.cpu(), combine(merge, case), rtol=1e-3, atol=1e-4),
            f"On a GPU, {case} give another result than on the CPU.",
        )


# ------------------------------------------------------------------------------------------------------------- study


def _studies(component: Subject | type) -> bool:
    cls: Any = component.component if isinstance(component, Subject) else component
    return cls.study is not TensorMerge.study


def _networks(subject: Subject, equal: bool = False) -> tuple[list[Network], Network]:
    """A tiny network for each model, and for the base."""
    from compat_spec.testing.tiny import tiny_network

    def made() -> tuple[list[Network], Network]:
        count = len(subject.make().models) + 1
        *networks, base = (tiny_network(seed=0 if equal else seed, blocks=2) for seed in range(count))
        for network in (*networks, base):
            network.module.requires_grad_(False)
        return networks, base

    return subject.once(f"networks, equal: {equal}", made)


def _study(subject: Subject, equal: bool = False) -> Mapping[str, Tensor]:
    from compat_spec.nn.network import seeded
    from compat_spec.testing.in_memory import InMemoryStudy
    from compat_spec.testing.tiny import tiny_split

    networks, base = _networks(subject, equal)
    with seeded(SEED):
        found: Mapping[str, Tensor] = subject.make().study(InMemoryStudy(networks, tiny_split(), base, seed=SEED))
    return found


def _studied_cases(subject: Subject, equal: bool) -> list[Case]:
    found = subject.once(f"study, equal: {equal}", lambda: _study(subject, equal))
    networks, base = _networks(subject, equal)
    tensors = [dict(network.module.named_parameters()) for network in networks]
    origin = dict(base.module.named_parameters()) if _has_base(subject.make()) else {}
    return [
        Case(
            [of_model[name].detach() for of_model in tensors],
            origin[name].detach() if name in origin else None,
            TensorPlace(name, depth=0.5, seed=SEED, found=found),
        )
        for name in tensors[0]
    ]


@check.where(_studies)
def studies_the_same_again(subject: Subject) -> None:
    """`study` finds the same each time, and finds tensors."""
    import torch

    first, second = subject.once("study, equal: False", lambda: _study(subject)), _study(subject)
    for key, value in first.items():
        demand(isinstance(value, torch.Tensor), f"study found {key!r} as a {type(value).__name__}, and no Tensor.")
    alike = first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    demand(alike, "study found something else the second time, from the same networks, data and seed.")


@check.where(_studies)
def studies_without_changing_networks(subject: Subject) -> None:
    """`study` leaves the networks that it looks at as they are; `study.copy` is for those who must change one."""
    from compat_spec.testing.unchanged import state_of

    networks, base = _networks(subject)
    before = [state_of(network) for network in (*networks, base)]
    _study(subject)
    for number, (old, network) in enumerate(zip(before, (*networks, base), strict=True)):
        changes = old.changes(state_of(network))
        demand(not changes, f"study changed {changes} of network {number}, which other steps share: use study.copy.")


def _largest(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max()) if one.shape == other.shape and one.numel() else float("nan")
