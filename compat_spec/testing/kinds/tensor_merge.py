"""Checks of merges of tensors: `combine`, and `survey` and `study` where there are any."""

from __future__ import annotations

from dataclasses import replace

from compat_spec.components import TensorMerge
from compat_spec.testing.checks import Checks, NotChecked, demand
from compat_spec.testing.subject import Subject
from compat_spec.testing.tensor_cases import (
    SEED,
    cases,
    combine,
    combine_in_pieces,
    combine_these,
    largest_difference,
    networks_of,
    same,
    studies,
    study_of,
)

check = Checks(TensorMerge)


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
        combine_these(merge, case)
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
            f"{largest_difference(result, case.tensors[0]):.3g}. If the method means to change it, say so: "
            "`idempotent: ClassVar[bool] = False`.",
        )


@check.where(lambda cls: cls.unit != "tensor")
def agrees_in_pieces(subject: Subject) -> None:
    """Its `unit` is less than a tensor: pieces of the tensors give the pieces of the result."""
    import torch

    merge = subject.make()
    for case in cases(subject):
        whole = combine(merge, case).reshape(-1)
        parts = combine_in_pieces(merge, case, room=max(len(whole) // 3, 1))
        for given, part in parts:
            wanted, made = list(given.shape), list(part.shape)
            demand(made == wanted, f"A piece of the shape {wanted} of {case} came out as {made}.")
        found = torch.cat([part.reshape(-1) for _, part in parts]) if parts else whole
        demand(
            torch.allclose(found, whole, rtol=1e-5, atol=1e-6),
            f"{case} in pieces give another result than in one: an entry of the result depends on more than the same "
            f'{merge.unit} of each model. Say `unit: ClassVar[Unit] = "tensor"`, or find what it needs in `survey`.',
        )


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


@check.where(studies)
def studies_the_same_again(subject: Subject) -> None:
    """`study` finds the same each time, and finds tensors."""
    import torch

    first, second = subject.once("study, equal: False", lambda: study_of(subject)), study_of(subject)
    for key, value in first.items():
        demand(isinstance(value, torch.Tensor), f"study found {key!r} as a {type(value).__name__}, and no Tensor.")
    alike = first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    demand(alike, "study found something else the second time, from the same networks, data and seed.")


@check.where(studies)
def studies_without_changing_networks(subject: Subject) -> None:
    """`study` leaves the networks that it looks at as they are; `study.copy` is for those who must change one."""
    from compat_spec.testing.unchanged import state_of

    networks, base = networks_of(subject)
    before = [state_of(network) for network in (*networks, base)]
    study_of(subject)
    for number, (old, network) in enumerate(zip(before, (*networks, base), strict=True)):
        changes = old.changes(state_of(network))
        demand(not changes, f"study changed {changes} of network {number}, which other steps share: use study.copy.")
