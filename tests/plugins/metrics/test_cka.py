"""CKA between the layers of two networks."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from compat_plugins.metrics.cka import CKA
from compat_spec.components import Example
from compat_spec.errors import CompatError
from compat_spec.nn.data import encode
from compat_spec.nn.features import features
from compat_spec.nn.network import Network
from tests.builders import byte_tokenizer, tiny_network

ENCODED = encode([Example("", "The quick brown fox jumps over the lazy dog. " * 4)], byte_tokenizer(), "all")


def layers(network: Network) -> list[torch.Tensor]:
    return features(network, ENCODED, site="mlp", tokens=100, context=None, seed=0, device="cpu")


@pytest.mark.parametrize("unbiased", [False, True])
def test_a_network_is_like_itself_and_less_like_another(unbiased):
    metric = CKA(unbiased=unbiased)
    one, other = layers(tiny_network()), layers(tiny_network(seed=1, blocks=2, width=32))
    itself = metric.compare(one, one)
    torch.testing.assert_close(itself.diagonal(), torch.ones(3, dtype=torch.float64))
    apart = metric.compare(one, other)
    assert apart.shape == (3, 2)
    assert float(apart.max()) < 0.99


def test_unbiased_is_another_number():
    one, other = layers(tiny_network()), layers(tiny_network(seed=1))
    biased, unbiased = (CKA(unbiased=choice).compare(one, other) for choice in (False, True))
    assert bool((unbiased < biased).all())


def test_too_few_tokens_are_refused_by_the_spec_and_by_the_split():
    with pytest.raises(ValidationError, match="greater than or equal to 4"):
        CKA(tokens=3)
    with pytest.raises(CompatError, match="unbiased CKA needs at least 4 tokens, not 3"):
        CKA(unbiased=True).compare([torch.ones(3, 2)], [torch.ones(3, 2)])
