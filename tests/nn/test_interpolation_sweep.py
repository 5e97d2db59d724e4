"""Interpolations that are read as one module are each what they are alone."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from compat_spec.components import Example
from compat_spec.errors import CompatError
from compat_spec.nn.anatomy import LAYOUTS
from compat_spec.nn.data import encode
from compat_spec.nn.evaluation import token_scores, token_scores_together
from compat_spec.nn.interpolation_sweep import interpolate_together
from compat_spec.nn.mixture import interpolate
from compat_spec.nn.network import Network
from tests.builders import tiny_network

IDS = torch.randint(257, (3, 7), generator=torch.Generator().manual_seed(0))


def experts(count: int, model_type: str = "gpt2") -> list[Network]:
    base = tiny_network(model_type, dtype=torch.float64, blocks=3)
    found = [Network(copy.deepcopy(base.module), base.tokenizer) for _ in range(count)]
    for seed, network in enumerate(found):
        generator = torch.Generator().manual_seed(seed)
        for block in range(3):
            for parameter in network.anatomy.mlp(block).parameters():
                parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.4
    return found


def logits(module: torch.nn.Module) -> Tensor:
    with torch.no_grad():
        found: Tensor = module(input_ids=IDS, use_cache=False).logits
    return found


SWEEPS = {
    "alphas": [[0.0, 1.0, 0.0], [0.3, 0.7, 0.0], [1.0, 0.0, 0.0], [0.2, 0.3, -0.5]],
    "nothing at all": [[0, 0, 0], [1, 0, 0]],
    "parting in the middle": [[[1, 0.5, 0.2], 0.5, 0], [[1, 0.1, 0.2], 0.5, 0], [[1, 0.5, 0.2], 0.5, 0.5 - 0.5]],
    "parting at the top": [[[1, 0.5, 0.2], 0.5, 0], [[1, 0.5, 0.9], 0.5, 0]],
    "no difference": [[0.4, 0.6, 1], [0.4, 0.6, 1]],
    "only one": [[0.4, 0.6, 0]],
}


@pytest.mark.parametrize("weights", SWEEPS.values(), ids=SWEEPS.keys())
def test_each_is_what_it_is_alone(weights):
    networks = experts(3)
    expected = torch.cat([logits(interpolate(networks, own)) for own in weights])
    torch.testing.assert_close(logits(interpolate_together(networks, weights)), expected, atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("model_type", sorted(LAYOUTS))
@pytest.mark.parametrize("sweep", ["alphas", "parting in the middle"])
def test_in_every_architecture(model_type, sweep):
    networks = experts(3, model_type)
    expected = torch.cat([logits(interpolate(networks, own)) for own in SWEEPS[sweep]])
    # some norms are computed in float32 whatever comes in
    found = logits(interpolate_together(networks, SWEEPS[sweep]))
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    assert not torch.allclose(expected[:3], expected[3:6], atol=1e-2)


def test_what_does_not_fit_is_refused_like_alone():
    networks = experts(2)
    for wrong in ([[0.1, 0.2], 0.3], [[0.1, 0.2, 0.3, 0.4], 0.3]):
        with pytest.raises(CompatError, match=r"[24] weights are given, one per block, and the networks have 3 blocks"):
            interpolate_together(networks, [[0.1, 0.2], wrong])
    for wrong in ([0.1], [0.1, 0.2, 0.3]):
        with pytest.raises(ValueError, match=r"[13] weights are given for 2 networks"):
            interpolate(networks, wrong)
        with pytest.raises(ValueError, match=r"[13] weights are given for 2 networks"):
            interpolate_together(networks, [wrong, wrong])


def work(module: torch.nn.Module) -> int:
    with FlopCounterMode(display=False) as counter:
        logits(module)
    return counter.get_total_flops()


def test_what_is_common_is_computed_once():
    networks = experts(2)
    sweep = [[[1, 0.3, 1], 0.5], [[1, 0.6, 1], 0.5]]
    alone = sum(work(interpolate(networks, own)) for own in sweep)
    tokens, width = IDS.numel(), 16
    mlps = 2 * 2 * tokens * 2 * width * 4 * width  # two experts, two matrices
    attention = 2 * tokens * 4 * width * width  # its matrices: what is between them is not counted on a CPU
    # the first block, and the second one's experts
    assert alone - work(interpolate_together(networks, sweep)) == (attention + mlps) + mlps


def test_scores_are_those_of_each():
    networks = experts(2)
    weights = [[0.0, 1.0], [0.5, 0.5], [0.8, 0.2]]
    split = encode([Example("one and one is ", "two"), Example("ten is ", "6")], networks[0].tokenizer, "answer")
    module = Network(interpolate_together(networks, weights), networks[0].tokenizer)
    together = token_scores_together(module, 3, split, tokens=None, context=None, device="cpu", batch_tokens=40)
    for found, own in zip(together, weights, strict=True):
        alone = Network(interpolate(networks, own), networks[0].tokenizer)
        expected = token_scores(alone, split, tokens=None, context=None, device="cpu")
        torch.testing.assert_close(found.loss, expected.loss)
        assert found.correct.equal(expected.correct)
        assert found.sequence.equal(expected.sequence)
