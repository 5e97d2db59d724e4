"""The parameters of the routing merge; what it computes is tested with the mixtures."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from compat_plugins.merges.residual_routing import ResidualRouting
from compat_plugins.merges.routing import Routing
from compat_spec.components import ModelName
from compat_spec.errors import CompatError
from compat_spec.nn.network import Network, seeded
from compat_spec.nn.routers import routers_of
from compat_spec.nn.routing_record import record_routing
from compat_spec.spec import load
from tests.builders import tiny_network

IDS = torch.arange(30).view(2, 15)


def test_every_parameter_reaches_the_network():
    network = tiny_network()
    merge = Routing.model_validate({"models": ["a", "a"], "router": "shared", "span": 2, "top_k": 3})
    routed = merge.build([network] * 2, None)
    with record_routing(routed) as record:
        output = Network(routed, network.tokenizer).logits(IDS)
    assert output.shape == (2, 15, 257)
    assert record.probability.shape == (3, 4)
    assert record.probability[1].equal(record.probability[0])
    assert [part.mlp.choice.top_k for part in routed.transformer.h] == [3] * 3
    assert len(routers_of(routed)) == 3


def test_every_variant_reaches_the_network():
    network = tiny_network()
    given = {"models": ["a"] * 3, "top_k": 2, "normalize": True, "noise": True, "balance": 0.2, "experts": "both"}
    routed = Routing.model_validate(given).build([network] * 3, None)
    for block in routed.transformer.h:
        for part in (block.mlp, block.attn):
            assert (part.choice.top_k, part.choice.normalize) == (2, True)
            assert part.router.noise is not None
            assert part.router.balance == 0.2
    routed = Routing.model_validate({"models": ["a"] * 3, "capacity": 1.5, "router": "previous"}).build(
        [network] * 3, None
    )
    assert [block.mlp.choice.capacity for block in routed.transformer.h] == [1.5] * 3


def test_residuals_reach_the_network():
    network = tiny_network()
    merge = ResidualRouting.model_validate(
        {"models": ["a", "b"], "base": "c", "rank": 5, "router": "shared", "balance": 1}
    )
    assert merge.trunk == ModelName("c")
    routed = merge.build([network] * 2, network)
    assert len(routers_of(routed)) == 3
    assert [block.mlp.entries[0].rank for block in routed.transformer.h] == [5] * 3
    assert merge.misfit({"hidden_size": 4}) == "rank: 5 is more than the 4 that the width of the models allows"
    assert merge.misfit({"hidden_size": 5}) is None


def test_the_page_has_every_parameter_and_its_specs_are_right(tmp_path):
    page = (Path(__file__).parents[3] / "docs" / "routing.md").read_text("utf-8")
    own = set(Routing.model_fields) | set(ResidualRouting.model_fields)
    assert {name for name in own if f"`{name}" not in page and f"{name}:" not in page} == set()
    first, second = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    for number, merges in enumerate((first, "merges:\n" + second)):
        spec = tmp_path / f"{number}.yaml"
        spec.write_text(f"extends: {Path(__file__).parents[3] / 'specs' / 'laptop.yaml'}\nname: page\n{merges}")
        assert len(load(spec).merges) == 1


def test_models_with_attentions_of_their_own_need_a_trunk():
    a, b = tiny_network(), tiny_network(seed=1)
    merge = Routing.model_validate({"models": ["a", "b"], "trunk": "a"})
    assert merge.trunk == ModelName("a")
    with pytest.raises(CompatError, match="trunk: base"):
        merge.build([a, b], None)
    with seeded(0):
        logits = Network(merge.build([a, b], a), a.tokenizer).logits(IDS)
    with seeded(0):
        assert not logits.equal(Network(merge.build([a, b], b), a.tokenizer).logits(IDS))


def test_what_the_engine_must_know():
    assert Routing.training == "needed"
    assert Routing.routed
    assert Routing.model_validate({"models": ["a"]}).uses_seed()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"normalize": True, "top_k": 1}, "routers learn nothing; take 2 or more"),
        ({"noise": True}, "give a top_k that is less than the 2 experts"),
        ({"noise": True, "top_k": 2}, "give a top_k that is less than the 2 experts"),
        ({"capacity": 1, "top_k": 1}, "with capacity the experts choose tokens: leave out top_k"),
        ({"capacity": 1, "normalize": True}, "leave out normalize"),
        ({"capacity": 1, "balance": 0.1}, "leave out balance"),
        ({"capacity": 1, "noise": True}, "leave out noise"),
        ({"capacity": 1, "router": "sequence"}, "router cannot be sequence"),
        ({"capacity": 3}, "capacity: 3 is more than the 2 experts"),
        ({"capacity": 0}, "greater than 0"),
        ({"experts": "both", "span": 2}, "span: 2 is for MLPs: leave it out with experts: both"),
        ({"balance": -1}, "greater than or equal to 0"),
        ({"balance": "inf"}, "finite number"),
        ({"top_k": 5, "span": 2}, "top_k: 5 is more than the 4 experts"),
        ({"top_k": 0}, "greater than or equal to 1"),
        ({"span": 0}, "greater than or equal to 1"),
        ({"router": "global"}, "'per_block', 'shared', 'previous' or 'sequence'"),
    ],
)
def test_parameters_without_sense_are_refused(wrong, message):
    with pytest.raises(ValidationError, match=message):
        Routing.model_validate({"models": ["a", "b"]} | wrong)
    assert Routing.model_validate({"models": ["a", "b"], "top_k": 4, "span": 2}).top_k == 4
