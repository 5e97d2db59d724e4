"""The merges that start from a base in ways of their own, against plain Python written from their definitions."""

from __future__ import annotations

import itertools
import math
import statistics
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from compat_plugins.merges.arcee_fusion import ArceeFusion
from compat_plugins.merges.expo import Expo
from compat_plugins.merges.model_stock import ModelStock
from compat_plugins.merges.nearswap import Nearswap
from compat_plugins.merges.ram import Ram
from compat_plugins.merges.ramplus_tl import RamPlusTl
from compat_plugins.merges.sce import Sce
from compat_spec.components import TensorMerge
from compat_spec.nn import pieces
from compat_spec.nn.per_tensor import TensorPlace
from tests.plugins.merges.tensors import SHAPES, close, merged, some, tuned

ALL: list[tuple[type[TensorMerge], int, dict[str, Any]]] = [
    (ArceeFusion, 1, {}),
    (Expo, 1, {"alpha": 0.3}),
    (ModelStock, 3, {}),
    (ModelStock, 2, {"filter_wise": True}),
    (Nearswap, 1, {"t": 0.1}),
    (Ram, 3, {}),
    (RamPlusTl, 3, {}),
    (Sce, 3, {}),
    (Sce, 3, {"select_topk": 0.5}),
]
DTYPES = [torch.float64, torch.float32, torch.bfloat16]


@pytest.fixture(params=[7, 1 << 18], ids=["in pieces", "whole"], autouse=True)
def pieces_of_two_sizes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE", request.param)


def lists(tensors: list[Tensor], base: Tensor) -> list[list[float]]:
    """The task vectors, as lists of numbers."""
    return [(tensor.double() - base.double()).flatten().tolist() for tensor in tensors]


def onto(base: Tensor, delta: list[float]) -> Tensor:
    return base.double() + torch.tensor(delta, dtype=torch.float64).view(base.shape)


# -------------------------------------------------------------------------------------------------- expo and nearswap


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_expo_goes_beyond_the_model(shape, dtype):
    (tensor,), base = tuned(1, shape, dtype)
    close(merged(Expo, [tensor], base, alpha=0.5), 1.5 * tensor.double() - 0.5 * base.double())
    assert merged(Expo, [tensor], base, alpha=0).equal(tensor)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_nearswap_moves_each_entry_by_at_most_t(shape, dtype):
    (tensor,), base = tuned(1, shape, dtype)
    result = merged(Nearswap, [tensor], base, t=0.2)
    (delta,) = lists([tensor], base)
    close(result, onto(base, [max(-0.2, min(0.2, one)) for one in delta]))
    near = (tensor.float() - base.float()).abs() < 0.19
    assert result[near].equal(tensor[near]), "what is near is taken over to the bit"


def test_nearswap_counts_small_differences_as_a_millionth():
    base = torch.zeros(3, dtype=torch.float64)
    result = merged(Nearswap, [torch.tensor([1e-7, 1e-6, 1e-5]).double()], base, t=5e-7)
    torch.testing.assert_close(result, torch.tensor([0.5e-7, 5e-7, 5e-7]).double(), rtol=1e-7, atol=0)
    assert merged(Nearswap, [some((3,))], base, t=0).equal(base)


# -------------------------------------------------------------------------------------------------------------- ram


def ram(tensors: list[Tensor], base: Tensor, epsilon: float) -> Tensor:
    expected = []
    for entry in zip(*lists(tensors, base), strict=True):
        changes = [one for one in entry if abs(one) > epsilon]
        expected.append(sum(changes) / len(changes) if changes else 0.0)
    return onto(base, expected)


def ram_plus(tensors: list[Tensor], base: Tensor, epsilon: float, *, r: float, alpha: float) -> Tensor:
    entries = list(zip(*lists(tensors, base), strict=True))
    changed = [[abs(one) > epsilon for one in entry] for entry in entries]
    factors = []
    for model in range(len(tensors)):
        shared = sum(of[model] and sum(of) > 1 for of in changed)
        alone = sum(of[model] and sum(of) == 1 for of in changed)
        factors.append(1 + r * min(shared / alone, alpha) if alone else math.nan)
    expected = []
    for entry, of in zip(entries, changed, strict=True):
        changes = [(one, factor) for one, factor, is_change in zip(entry, factors, of, strict=True) if is_change]
        if len(changes) == 1:
            expected.append(changes[0][0] * changes[0][1])
        else:
            expected.append(sum(one for one, _ in changes) / max(len(changes), 1))
    return onto(base, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_ram_takes_the_mean_of_those_that_changed_an_entry(shape, dtype):
    tensors, base = tuned(3, shape, dtype)
    close(merged(Ram, tensors, base, epsilon=0.25), ram(tensors, base, 0.25))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("r", "alpha"), [(0.1, 0.2), (0.7, 5.0)])
def test_ram_plus_enlarges_what_is_unshared_by_the_ratio_of_what_is_shared(shape, dtype, r, alpha):
    tensors, base = tuned(3, shape, dtype)
    expected = ram_plus(tensors, base, 0.25, r=r, alpha=alpha)
    close(merged(RamPlusTl, tensors, base, epsilon=0.25, r=r, alpha=alpha), expected)


def test_a_difference_of_epsilon_is_no_change():
    base = torch.zeros(3, dtype=torch.float64)
    tensors = [torch.tensor([0.5, 0.5, 1.0]).double(), torch.tensor([1.0, 0.25, 2.0]).double()]
    assert merged(Ram, tensors, base, epsilon=0.5).tolist() == [1, 0, 1.5]
    assert merged(RamPlusTl, tensors, base, epsilon=0.5, r=0.5, alpha=9).tolist() == [1 * (1 + 0.5 * 1 / 1), 0, 1.5]


# -------------------------------------------------------------------------------------------------------------- sce


def sce_by_definition(tensors: list[Tensor], base: Tensor, topk: float) -> Tensor:
    vectors = lists(tensors, base)
    if topk < 1:
        spread = [statistics.pvariance(entry) if len(set(entry)) > 1 else 0.0 for entry in zip(*vectors, strict=True)]
        count = int(topk * sum(one > 0 for one in spread))
        chosen = sorted(range(len(spread)), key=lambda at: -spread[at])[:count]
        vectors = [[one if at in chosen else 0.0 for at, one in enumerate(vector)] for vector in vectors]
    squares = [statistics.fmean(one * one for one in vector) if vector else 0.0 for vector in vectors]
    shares = [one / sum(squares) if sum(squares) > 1e-6 else 1 / len(vectors) for one in squares]
    merged_entries = []
    for entry in zip(*vectors, strict=True):
        sign = 1 if sum(entry) >= 0 else -1
        counted = [(one, share) for one, share in zip(entry, shares, strict=True) if one * sign > 0]
        total = sum(share for _, share in counted)
        merged_entries.append(sum(one * share for one, share in counted) / total if total else 0.0)
    return onto(base, merged_entries)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("topk", [1.0, 0.5])
def test_sce_selects_weighs_and_erases(shape, dtype, topk):
    tensors, base = tuned(3, shape, dtype)
    tensors[1] = (base + (tensors[1] - base) * 2).to(dtype)
    close(merged(Sce, tensors, base, select_topk=topk), sce_by_definition(tensors, base, topk))


def test_sce_selects_among_the_entries_that_vary():
    base = torch.zeros(6, dtype=torch.float64)
    tensors = [torch.tensor([1.0, 1, 1, 1, 2, 3]).double(), torch.tensor([1.0, 1, 1, 1, 1, 1]).double()]
    assert merged(Sce, tensors, base, select_topk=0.5).count_nonzero() == 1
    assert merged(Sce, tensors, base, select_topk=0.4).equal(base)


def test_sce_weighs_models_the_same_where_differences_are_tiny():
    base = torch.zeros(4, dtype=torch.float64)
    tensors = [torch.full((4,), 1e-4).double(), torch.full((4,), 3e-4).double()]
    torch.testing.assert_close(merged(Sce, tensors, base), torch.full((4,), 2e-4).double())
    just = merged(Sce, [tensor * 5 for tensor in tensors], base)  # mean squares of 2.5e-6 in all
    torch.testing.assert_close(just, torch.full((4,), (5e-4 * 1 + 15e-4 * 9) / 10).double())
    larger = merged(Sce, [tensor * 100 for tensor in tensors], base)
    torch.testing.assert_close(larger, torch.full((4,), (1e-2 * 1 + 3e-2 * 9) / 10).double())


# ------------------------------------------------------------------------------------------------------ model_stock


def stock(rows: list[Tensor], base: Tensor) -> Tensor:
    """Of flat tensors."""
    offsets = [row.double() - base.double() for row in rows]
    cosines = [float(a @ b) / max(float(a.norm() * b.norm()), 1e-6) for a, b in itertools.combinations(offsets, 2)]
    cosine, count = statistics.fmean(cosines), len(rows)
    t = count * cosine / (1 + (count - 1) * cosine)
    average = sum(row.double() for row in rows) / count
    return t * average + (1 - t) * base.double()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [2, 4])
def test_model_stock_interpolates_by_the_mean_cosine(shape, dtype, count):
    if not math.prod(shape):
        return
    tensors, base = tuned(count, shape, torch.float64)
    tensors = [(tensor + 0.3).to(dtype) for tensor in tensors]
    base = base.to(dtype)
    expected = stock([tensor.flatten() for tensor in tensors], base.flatten()).view(shape)
    close(merged(ModelStock, tensors, base), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(13,), (5, 4), (2, 3, 5)])
def test_model_stock_by_rows(shape, dtype):
    tensors, base = tuned(3, shape, torch.float64)
    tensors = [(tensor + 0.5).to(dtype) for tensor in tensors]
    base = base.to(dtype)
    rows = [tensor.reshape(-1, shape[-1]) for tensor in (*tensors, base)]
    expected = torch.stack([stock([row[i] for row in rows[:-1]], rows[-1][i]) for i in range(len(rows[0]))])
    close(merged(ModelStock, tensors, base, filter_wise=True), expected.view(shape))


@pytest.mark.parametrize("scale", [1e-5, 3e-3])
def test_model_stock_takes_products_of_norms_for_a_millionth_at_least(scale):
    base = torch.zeros(15, dtype=torch.float64)
    tensors = [scale * (some((15,), seed) + 0.5) for seed in range(3)]
    torch.testing.assert_close(merged(ModelStock, tensors, base), stock(tensors, base), rtol=1e-9, atol=0)


def test_model_stock_keeps_the_base_where_models_contradict_each_other():
    base = some((4,))
    delta = some((4,), 1)
    assert merged(ModelStock, [base + delta, base - delta], base).equal(base)
    for shape in ((0,), (3, 0)):
        for filter_wise in (True, False):
            assert (
                merged(ModelStock, [torch.empty(shape)] * 2, torch.empty(shape), filter_wise=filter_wise).shape == shape
            )


# ----------------------------------------------------------------------------------------------------- arcee_fusion


def softmax(row: list[float]) -> list[float]:
    powers = [math.exp(one - max(row)) for one in row]
    return [power / sum(powers) + 1e-8 for power in powers]


def fused(tensor: Tensor, base: Tensor) -> Tensor:
    width = base.shape[-1] if base.dim() else 1
    rows = [one.double().reshape(-1, width).tolist() for one in (tensor, base)]
    importance = []
    for of_tensor, of_base in zip(*rows, strict=True):
        p, q = softmax(of_tensor), softmax(of_base)
        divergence = sum(x * math.log(x / y) for x, y in zip(p, q, strict=True))
        importance += [abs(x - y) * divergence for x, y in zip(of_tensor, of_base, strict=True)]
    ordered = sorted(importance)
    first, median, third = (ordered[int(share * (len(ordered) - 1))] for share in (0.25, 0.5, 0.75))
    mask = torch.tensor([one >= median + 1.5 * (third - first) for one in importance]).view(base.shape)
    return torch.where(mask, tensor, base)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [shape for shape in SHAPES if math.prod(shape)])
def test_arcee_fusion_takes_over_what_is_important(shape, dtype):
    (tensor,), base = tuned(1, shape, dtype)
    result = merged(ArceeFusion, [tensor], base)
    assert result.equal(fused(tensor, base))
    if base.numel() > 10:
        assert 0 < int((result != base).count_nonzero()) < base.numel() / 2


@pytest.mark.parametrize("shape", [(8,), (2, 4), (3, 2), (3, 3)])
def test_arcee_fusion_takes_quartiles_of_any_number_and_very_different_probabilities(shape):
    for seed in range(40):
        base = some(shape, seed) * 6
        tensor = base + some(shape, 100 + seed)
        assert merged(ArceeFusion, [tensor], base).equal(fused(tensor, base))


def test_arcee_fusion_sees_small_differences_in_float32():
    base = some((40, 500)).float()
    tensor = base + 1e-4 * some((40, 500), 1).float()
    single = merged(ArceeFusion, [tensor], base)
    double = merged(ArceeFusion, [tensor.double()], base.double())
    assert int((single != double).count_nonzero()) <= 2


# -------------------------------------------------------------------------------------------------------- invariants


@pytest.mark.parametrize(("cls", "count", "parameters"), ALL)
@settings(max_examples=30)
@given(
    values=st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=8),  # infinities too: masks hold them
    dtype=st.sampled_from(DTYPES),
    matrix=st.booleans(),
)
def test_models_that_are_their_base_give_it_to_the_bit(cls, count, parameters, values, dtype, matrix):
    base = torch.tensor([values, values] if matrix else values, dtype=dtype)
    assert merged(cls, [base.clone()] * count, base, **parameters).equal(base)


@pytest.mark.parametrize(("cls", "count", "parameters"), ALL)
def test_infinities_that_models_and_base_share_stay_and_spoil_nothing(cls, count, parameters):
    tensors, base = tuned(count, (8, 8), torch.float32)
    mask = torch.full((1, 8), -math.inf)
    result = merged(cls, [torch.cat([tensor, mask]) for tensor in tensors], torch.cat([base, mask]), **parameters)
    assert result[-1].equal(mask[0])
    assert result[:-1].isfinite().all()
    assert not result[:-1].equal(base)


@pytest.mark.parametrize(("cls", "count", "parameters"), ALL)
def test_an_empty_tensor_stays_one(cls, count, parameters):
    for shape in ((0,), (3, 0)):
        empty = torch.empty(shape)
        assert merged(cls, [empty] * count, empty.clone(), **parameters).shape == shape


@pytest.mark.parametrize("shape", [(12,), (4, 6), (3, 2, 5)])
@pytest.mark.parametrize(("cls", "count", "parameters"), ALL, ids=lambda value: str(value))
def test_pieces_make_no_difference(monkeypatch, cls, count, parameters, shape):
    assert cls.unit != "tensor"
    tensors, base = tuned(count, shape)
    whole = merged(cls, tensors, base, **parameters)
    monkeypatch.setattr(pieces, "PIECE", 5)
    torch.testing.assert_close(merged(cls, tensors, base, **parameters), whole, rtol=1e-12, atol=1e-12)


def test_parameters_may_differ_by_tensor():
    tensors, base = tuned(3)
    for cls, count, name, low, high in (
        (Expo, 1, "alpha", 0.1, 0.9),
        (Nearswap, 1, "t", 0.05, 0.3),
        (Ram, 3, "epsilon", 0.1, 0.4),
        (RamPlusTl, 3, "epsilon", 0.1, 0.4),
        (Sce, 3, "select_topk", 0.4, 0.9),
    ):
        varied = {name: {"mlp": {"gradient": [low, high]}, "*": low}}
        for place, plain in ((TensorPlace("h.9.mlp", 1.0), high), (TensorPlace("h.9.attn", 1.0), low)):
            expected = merged(cls, tensors[:count], base, **{name: plain})
            assert merged(cls, tensors[:count], base, at=place, **varied).equal(expected)


@pytest.mark.parametrize(
    ("cls", "wrong", "message"),
    [
        (Expo, {"alpha": -0.1}, "greater than or equal to 0"),
        (Expo, {"alpha": math.inf}, "finite"),
        (Expo, {"models": ["a", "b"], "alpha": 1}, "at most 1"),
        (Expo, {}, "alpha"),
        (Nearswap, {"t": -1}, "greater than or equal to 0"),
        (Nearswap, {}, "t\n"),
        (Nearswap, {"models": ["a", "b"], "t": 1}, "at most 1"),
        (ArceeFusion, {"models": ["a", "b"]}, "at most 1"),
        (ModelStock, {"models": ["a"]}, "at least 2"),
        (Sce, {"select_topk": 0}, "greater than 0"),
        (Sce, {"select_topk": 1.5}, "less than or equal to 1"),
        (Ram, {"epsilon": -1}, "greater than or equal to 0"),
        (RamPlusTl, {"r": math.nan}, "finite"),
        (RamPlusTl, {"alpha": -1}, "greater than or equal to 0"),
    ],
)
def test_parameters_without_sense_are_refused(cls, wrong, message):
    with pytest.raises(ValidationError, match=message):
        cls.model_validate({"models": ["a"], "base": "c"} | wrong)


def test_a_base_is_needed():
    for cls, count, parameters in ALL:
        with pytest.raises(ValidationError, match="base"):
            cls.model_validate({"models": ["a", "b", "c"][:count]} | parameters)
