"""The head reads the places that are asked for, and says the same of them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from compat_spec.nn.anatomy import LAYOUTS
from compat_spec.nn.ensemble import Ensemble
from compat_spec.nn.head import logits_at
from compat_spec.nn.network import Network
from tests.builders import tiny_network

IDS = torch.arange(42).view(3, 14)
SOME = torch.zeros(42, dtype=torch.bool).index_fill(0, torch.tensor([0, 5, 13, 14, 41]), True)


def reads_of(module: nn.Module) -> list[torch.Size]:
    shapes: list[torch.Size] = []
    module.register_forward_hook(lambda _, inputs, __: shapes.append(inputs[0].shape))
    return shapes


@pytest.mark.parametrize("model_type", sorted(LAYOUTS))
@pytest.mark.parametrize("places", [SOME, ~SOME, torch.ones(42, dtype=torch.bool)], ids=["some", "most", "all"])
def test_logits_at_places_are_those_of_all_at_these_places(model_type: str, places: Tensor) -> None:
    network = tiny_network(model_type, dtype=torch.float64)
    shapes = reads_of(network.anatomy.head)
    with torch.no_grad():
        found, expected = logits_at(network, IDS, places), network.logits(IDS).flatten(0, 1)[places]
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-10)
    assert shapes[0][:-1].numel() == int(places.sum())
    assert shapes[1][:-1].numel() == 42  # and nothing is left behind


def test_a_module_without_a_known_head_is_read_whole() -> None:
    networks = [tiny_network(seed=seed) for seed in range(2)]
    network = Network(Ensemble(networks, [1, 1], "probabilities"), networks[0].tokenizer)
    with torch.no_grad():
        assert logits_at(network, IDS, SOME).equal(network.logits(IDS).flatten(0, 1)[SOME])


def test_a_head_that_is_given_something_else_is_left_alone() -> None:
    network = tiny_network()

    class Shifted(nn.Module):
        """Gives its head one token more than it reads."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = network.module
            self.config = network.module.config
            self.transformer, self.lm_head = network.module.transformer, network.module.lm_head

        def forward(self, input_ids: Tensor, use_cache: bool = False) -> object:
            output = self.inner(input_ids=nn.functional.pad(input_ids, (1, 0)), use_cache=False)
            output.logits = output.logits[:, 1:]
            return output

    shifted = Network(Shifted(), network.tokenizer)
    with torch.no_grad():
        assert logits_at(shifted, IDS, SOME).equal(shifted.logits(IDS).flatten(0, 1)[SOME])
