"""Averages of what networks predict."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from pydantic import ValidationError
from tokenizers import Tokenizer as Tokenizers
from tokenizers import models
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from compat_plugins.merges.logit_average import LogitAverage
from compat_spec.errors import CompatError
from compat_spec.nn.network import Network
from tests.builders import byte_tokenizer, tiny_network

IDS = torch.arange(30).view(2, 15)


def build(networks: list[Network], **parameters: object) -> Network:
    names = tuple(f"m{i}" for i in range(len(networks)))
    merge = LogitAverage.model_validate({"models": names, **parameters})
    return Network(merge.build(networks, None), networks[0].tokenizer)


def average(networks: list[Network], **parameters: object) -> Tensor:
    with torch.no_grad():
        return build(networks, **parameters).logits(IDS)


@pytest.fixture
def three() -> list[Network]:
    """Of different architectures and sizes."""
    return [
        tiny_network(dtype=torch.float64),
        tiny_network("llama", dtype=torch.float64, width=24, context=32),
        tiny_network("opt", dtype=torch.float64, blocks=2),
    ]


@pytest.mark.parametrize("weights", [None, [1, 1, 1], [2.0, 0.5, 0.1], [0, 3, 1]])
def test_probabilities_are_averaged(three, weights):
    shares = torch.tensor(weights or [1, 1, 1], dtype=torch.float64)
    expected = sum(
        share * network.logits(IDS).detach().softmax(-1)
        for share, network in zip(shares / shares.sum(), three, strict=True)
    )
    torch.testing.assert_close(average(three, weight=weights).exp(), expected, atol=1e-14, rtol=1e-7)


@pytest.mark.parametrize("weights", [None, [2.0, 0.5, 0.0]])
def test_logits_are_averaged(three, weights):
    shares = torch.tensor(weights or [1, 1, 1], dtype=torch.float64)
    expected = sum(
        share * network.logits(IDS).detach() for share, network in zip(shares / shares.sum(), three, strict=True)
    )
    torch.testing.assert_close(average(three, space="logits", weight=weights), expected)


@pytest.mark.parametrize("space", ["probabilities", "logits"])
def test_a_network_averaged_with_itself_predicts_the_same(space):
    network = tiny_network()
    found = average([network] * 3, space=space).log_softmax(-1)
    torch.testing.assert_close(found, network.logits(IDS).detach().log_softmax(-1), atol=1e-5, rtol=1e-5)


class Sure(nn.Module):
    """Leaves nothing to chance."""

    def __init__(self, token: int) -> None:
        super().__init__()
        self.token = token
        self.config = SimpleNamespace(vocab_size=257)

    def forward(self, input_ids: Tensor, use_cache: bool = False) -> object:
        logits = torch.zeros(*input_ids.shape, 257)
        logits[..., self.token] = 3000.0
        return SimpleNamespace(logits=logits)


def test_networks_that_are_sure_of_different_tokens_leave_it_open():
    found = average([Network(Sure(3), byte_tokenizer()), Network(Sure(200), byte_tokenizer())], weight=[3, 1])
    assert found.exp()[0, 0, [3, 200]].tolist() == pytest.approx([0.75, 0.25])
    assert bool(found.isfinite().all())


def test_half_precision_networks_are_averaged_in_float32():
    networks = [tiny_network(seed=seed, dtype=torch.bfloat16) for seed in (0, 1)]
    found = average(networks)
    assert found.dtype == torch.float32
    expected = sum(network.logits(IDS).detach().double().softmax(-1) for network in networks) / 2
    torch.testing.assert_close(found.exp().double(), expected, atol=1e-7, rtol=1e-5)


def test_the_networks_do_not_change_and_are_not_copied():
    networks = [tiny_network(), tiny_network("llama")]
    ensemble = build(networks).module
    held = {parameter.data_ptr() for network in networks for parameter in network.module.parameters()}
    assert {parameter.data_ptr() for parameter in ensemble.parameters()} == held
    assert not any(parameter.requires_grad for parameter in ensemble.parameters())
    ensemble.train()
    for network in networks:
        assert not network.module.training
        assert all(parameter.requires_grad for parameter in network.module.parameters())


def test_the_context_is_the_shortest(three):
    assert build(three).context == 32
    assert build(three, weight=[1, 0, 1]).context == 64


def test_other_tokens_are_refused():
    network = tiny_network()
    padded = Sure(0)
    padded.config.vocab_size = 300
    with pytest.raises(CompatError, match="model 2 predicts 300 tokens, and model 1 257"):
        build([network, Network(padded, byte_tokenizer())])
    core = Tokenizers(models.BPE(vocab={f"<{i}>": i for i in range(257)}, merges=[]))
    other = Network(tiny_network(seed=1).module, PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<256>"))
    with pytest.raises(CompatError, match="model 1 and model 2 have different tokenizers"):
        build([network, other])


def test_architectures_may_differ_but_not_vocabularies():
    assert LogitAverage.compares == {"tokenizer", "vocab_size", "vocabulary"}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"weight": [0, 0]}, "all weights are zero"),
        ({"weight": [1]}, "1 weights for 2 models"),
        ({"weight": [1, -1]}, "greater than or equal to 0"),
        ({"weight": [1, "inf"]}, "finite"),
        ({"space": "text"}, "'probabilities' or 'logits'"),
    ],
)
def test_parameters_without_sense_are_refused(wrong, message):
    with pytest.raises(ValidationError, match=message):
        LogitAverage.model_validate({"models": ["a", "b"]} | wrong)
