"""`consensus` keeps the contract of merges, and is the formula of the paper, number by number."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from compat_example.consensus import Consensus
from compat_spec.nn.per_tensor import TensorPlace
from compat_spec.testing import contract

test_contract = contract(Consensus)

MODELS = ["one", "two", "three"]


def consensus(tensors: list[Tensor], base: Tensor, **parameters: Any) -> Tensor:
    merge = Consensus.model_validate({"models": MODELS[: len(tensors)], "base": "base", **parameters})
    return merge.combine(tensors, base, at=TensorPlace("weight"))


def by_hand(values: list[float], base: float, selective: list[float], agreement: int, scale: float) -> float:
    """One entry, as the paper defines it."""
    changes = [value - base for value in values]
    total = sum(changes)
    agree = sum(abs(change) >= strict * abs(total - change) for change, strict in zip(changes, selective, strict=True))
    return base + scale * total if agree >= agreement else base


@pytest.mark.parametrize("agreement", [1, 2, 3])
@pytest.mark.parametrize("selective", [[0.4, 0.4, 0.4], [0.1, 0.9, 2.0]])
def test_it_is_the_formula(agreement: int, selective: list[float]) -> None:
    generator = torch.Generator().manual_seed(7)
    base, *tensors = (torch.randn(5, 3, generator=generator, dtype=torch.float64) for _ in range(4))
    merged = consensus(tensors, base, selective=selective, agreement=agreement, scale=0.7)
    rows = zip(*(tensor.flatten().tolist() for tensor in (base, *tensors)), strict=True)
    expected = [by_hand(list(values), start, selective, agreement, 0.7) for start, *values in rows]
    assert torch.allclose(merged.flatten(), torch.tensor(expected, dtype=torch.float64), rtol=1e-12)
    assert agreement == 1 or bool((merged == base).any()), "some entries are left alone"


def test_without_masks_it_is_task_arithmetic() -> None:
    base, one, two = torch.tensor([1.0, 2.0]), torch.tensor([2.0, 2.0]), torch.tensor([1.0, 5.0])
    assert torch.equal(consensus([one, two], base, selective=0), one + two - base)


def test_more_agreement_than_models_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="3 models cannot agree where there are 2"):
        consensus([torch.zeros(2)] * 2, torch.zeros(2), agreement=3)
