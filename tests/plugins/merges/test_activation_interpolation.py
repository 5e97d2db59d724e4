"""How the parameters of activation interpolation become weights."""

from __future__ import annotations

import copy

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from compat_plugins.merges.activation_interpolation import ActivationInterpolation
from compat_spec.errors import CompatError
from compat_spec.nn.network import Network
from tests.builders import tiny_network

IDS = torch.arange(30).view(2, 15)


def experts(count: int) -> list[Network]:
    base = tiny_network(dtype=torch.float64)
    made = []
    for seed in range(count):
        module = copy.deepcopy(base.module)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                if ".mlp." in name:
                    parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
        made.append(Network(module, base.tokenizer))
    return made


def merged(networks: list[Network], given: Network | None = None, **parameters: object) -> Tensor:
    names = tuple(f"m{i}" for i in range(len(networks)))
    merge = ActivationInterpolation.model_validate({"models": names, **parameters})
    return logits(merge.build(networks, given))


def logits(module: nn.Module) -> Tensor:
    with torch.no_grad():
        found: Tensor = module(input_ids=IDS, use_cache=False).logits
    return found


def test_alpha_is_the_weight_of_the_first_model():
    a, b = experts(2)
    assert merged([a, b], alpha=1).equal(logits(a.module))
    assert merged([a, b], alpha=0).equal(logits(b.module))
    torch.testing.assert_close(merged([a, b], alpha=0.3), merged([a, b], weight=[0.3, 0.7]))
    torch.testing.assert_close(merged([a, b], alpha=[0.3, 0.0, 1.0]), merged([a, b], weight=[[0.3, 0, 1], [0.7, 1, 0]]))
    assert not torch.allclose(merged([a, b], alpha=0.3), merged([a, b], alpha=0.7))


def test_equal_weights_by_default():
    networks = experts(3)
    torch.testing.assert_close(merged(networks), merged(networks, weight=[1 / 3] * 3))
    torch.testing.assert_close(merged(networks[:2]), merged(networks[:2], alpha=0.5))
    assert not torch.allclose(merged(networks), merged(networks, weight=[0.3, 0.3, 0.3]))


def test_the_trunk_is_used():
    a, b = experts(2)
    trunk = tiny_network(seed=9, dtype=torch.float64)
    expected = trunk.anatomy.with_mlps([b.anatomy.mlp(i) for i in range(3)])
    assert merged([a, b], trunk, alpha=0, trunk="base").equal(logits(expected))


def test_a_list_must_be_as_long_as_the_network_is_deep():
    with pytest.raises(CompatError, match="2 weights are given, one per block, and the networks have 3 blocks"):
        merged(experts(2), alpha=[0.1, 0.2])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"alpha": 0.5, "weight": [0.5, 0.5]}, "alpha or weight, not both"),
        ({"alpha": 0.5, "models": ["a", "b", "c"]}, "alpha is for two models, and there are 3"),
        ({"weight": [1.0]}, "1 weights for 2 models"),
        ({"alpha": 1.5}, "less than or equal to 1"),
        ({"alpha": [0.5, -1]}, "greater than or equal to 0"),
        ({"weight": [1, "inf"]}, "finite"),
    ],
)
def test_parameters_without_sense_are_refused(wrong, message):
    with pytest.raises(ValidationError, match=message):
        ActivationInterpolation.model_validate({"models": ["a", "b"]} | wrong)
