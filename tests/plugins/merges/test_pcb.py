"""Task vectors whose entries compete by their scores."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from compat_plugins.merges.pcb import PCB
from compat_spec.errors import CompatError
from compat_spec.nn.merging import merge_tensor
from compat_spec.nn.per_tensor import TensorPlace
from tests.plugins.merges.studies import MadeUpStudy

Tensors = Mapping[str, Tensor]
SHAPES = {"w": (60, 50), "b": (50,), "c": (3, 4, 5), "s": (), "nothing": (0, 4)}


class OfTensors(MadeUpStudy):
    def __init__(self, models: list[Tensors], base: Tensors) -> None:
        super().__init__([])
        self.models, self.base = models, base

    def tensors(self, model: int | None) -> Tensors:
        return self.base if model is None else self.models[model]


def pcb(count: int, **parameters: object) -> PCB:
    names = [f"m{i}" for i in range(count)]
    return PCB.model_validate({"models": names, "base": "base", **parameters})


def merge(models: list[Tensors], base: Tensors, **parameters: object) -> dict[str, Tensor]:
    method, study = pcb(len(models), **parameters), OfTensors(models, base)
    found = method.study(study)
    assert study.told == sorted(study.told)
    assert all(done < total for done, total in study.told)
    return {
        name: merge_tensor(method, [model[name] for model in models], start, TensorPlace(name, found=found))
        for name, start in base.items()
        if start.is_floating_point()
    }


def some(count: int, dtype: torch.dtype = torch.float32) -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [
        {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in SHAPES.items()}
        for _ in range(count)
    ]


def by_the_paper(deltas: np.ndarray, density: float) -> np.ndarray:
    """Of the flattened task vectors `[models, entries]`: what is added to the base."""
    models, entries = deltas.shape
    shares, cut = [], []
    for delta in deltas:
        sizes = np.sort(np.abs(delta))
        low, high = sizes[int(entries * 1e-4)], sizes[int(entries * (1 - 1e-4) - 1)]
        size = np.minimum(np.maximum(np.abs(delta), low), high)
        cut.append(np.where(delta < 0, -size, np.where(delta > 0, size, 0)))
        within = (size - size.min()) / (size.max() - size.min())
        score = np.exp(models * within**2) * np.tanh(delta * deltas.sum(0))
        least = np.sort(score)[int(entries * (1 - density))]
        kept = np.where(score >= least, score, least)
        shares.append((kept - least) / (kept.max() - least))
    return np.sum(np.multiply(shares, cut), 0) / np.maximum(np.sum(shares, 0), 1e-12)


def flat(tensors: Tensors) -> np.ndarray:
    return np.concatenate([tensor.double().numpy().ravel() for tensor in tensors.values()])


@pytest.mark.parametrize("density", [0.05, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_result_is_that_of_the_paper_over_all_entries_of_the_model(count, density, dtype):
    base, *models = some(count + 1, dtype)
    result = merge(models, base, density=density, **{"lambda": 0.7})
    expected = flat(base) + 0.7 * by_the_paper(np.stack([flat(model) - flat(base) for model in models]), density)
    assert {tensor.dtype for tensor in result.values()} == {dtype}
    # the entry at each model's threshold has a share of zero or of a rounding error, which is all the same when alone
    assert np.count_nonzero(np.abs(flat(result) - expected) > 1e-4) <= count


def test_the_ranks_are_those_of_the_whole_model_and_not_of_a_tensor():
    base = {"large": torch.zeros(100), "small": torch.zeros(100)}
    model = {"large": torch.linspace(1, 2, 100), "small": torch.linspace(0.001, 0.002, 100)}
    result = merge([model, model], base, density=0.25)
    assert result["small"].equal(base["small"])
    assert int((result["large"] != 0).sum()) == 49  # half of the tensor's, less the one that is the threshold


def test_an_entry_that_goes_against_the_others_does_not_count():
    generator = torch.Generator().manual_seed(0)
    one = torch.rand(200, generator=generator) + 0.5
    against = -0.5 * one
    base = {"w": torch.zeros(200)}
    result = merge([{"w": one}, {"w": one}, {"w": against}], base, density=0.5)["w"]
    largest = one.sort().values[100]
    assert bool((result[one > largest] > 0).all())
    torch.testing.assert_close(result[one > largest], one.clamp(max=one.sort().values[198])[one > largest])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_models_that_equal_their_base_give_the_base_to_the_bit(dtype):
    base = some(1, dtype)[0] | {"mask": torch.tensor([0.0, float("-inf")]), "counter": torch.tensor(3)}
    result = merge([base, base], base)
    assert all(tensor.equal(base[name]) for name, tensor in result.items())


def test_nothing_is_added_where_lambda_is_zero():
    base, *models = some(3)
    result = merge(models, base, **{"lambda": {"w": 0, "*": 1}})
    assert result["w"].equal(base["w"])
    assert not result["b"].equal(base["b"])


def test_a_model_that_did_not_move_does_not_thin_out_the_others():
    base, model = some(2)
    added = flat(merge([model, base], base, density=0.1)) - flat(base)
    moved = np.abs(added) > 1e-6
    assert abs(moved.mean() - 0.1) < 0.001
    delta = flat(model) - flat(base)
    largest = np.sort(np.abs(delta))[-2]  # the very largest is cut to it
    np.testing.assert_allclose(added[moved], np.clip(delta, -largest, largest)[moved], atol=1e-6)


def test_pieces_of_a_tensor_give_pieces_of_the_result():
    base, *models = some(3)
    method = pcb(2)
    place = TensorPlace("w", found=method.study(OfTensors(models, base)))
    whole = merge_tensor(method, [model["w"] for model in models], base["w"], place)
    pieces = [
        merge_tensor(method, [model["w"][rows] for model in models], base["w"][rows], place)
        for rows in (slice(0, 7), slice(7, 60))
    ]
    torch.testing.assert_close(torch.cat(pieces), whole, atol=1e-6, rtol=1e-5)


def test_ranks_are_found_piece_by_piece(monkeypatch):
    base, *models = some(3)
    whole = pcb(2).study(OfTensors(models, base))
    monkeypatch.setattr("compat_spec.nn.pieces.PIECE", 37)
    pieces = pcb(2).study(OfTensors(models, base))
    assert all(pieces[model].equal(found) for model, found in whole.items())


def test_what_is_given_does_not_change():
    base, *models = some(3)
    before = [flat(tensors) for tensors in (base, *models)]
    merge(models, base)
    assert all(np.array_equal(flat(now), was) for now, was in zip((base, *models), before, strict=True))


def test_a_tensor_that_is_not_finite_is_refused_by_name():
    base, one, two = some(3)
    two["b"][3] = float("inf")
    with pytest.raises(CompatError, match=r"b of m1 .* not finite"):
        merge([one, two], base)


@pytest.mark.parametrize("wrong", [{"density": 0}, {"density": 1.1}, {"density": [0.1]}, {"lambda": "nan"}, {"k": 1}])
def test_parameters_without_sense_are_refused(wrong):
    with pytest.raises(ValidationError):
        pcb(2, **wrong)
    with pytest.raises(ValidationError, match="base"):
        PCB.model_validate({"models": ["a", "b"]})
