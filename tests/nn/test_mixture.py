"""Mixtures against a loop over tokens in float64, and what they leave alone."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from compat_spec.errors import CompatError
from compat_spec.nn.anatomy import LAYOUTS
from compat_spec.nn.generation import greedy_answers
from compat_spec.nn.mixture import interpolate, route
from compat_spec.nn.network import Network, seeded
from compat_spec.nn.routing_record import record_routing
from tests.builders import tiny_network

WIDTH = 12
IDS = torch.randint(257, (3, 7), generator=torch.Generator().manual_seed(0))

# the blocks whose MLPs each of four blocks may choose from, as the paper has it
REACH = {
    1: [[0], [1], [2], [3]],
    2: [[0, 1], [1, 2], [2, 3], [3, 2]],
    3: [[0, 1, 2], [1, 2, 3], [2, 3, 1], [3, 2, 1]],
    4: [[0, 1, 2, 3], [1, 2, 3, 0], [2, 3, 1, 0], [3, 2, 1, 0]],
}


def experts(
    count: int = 2, model_type: str = "gpt2", dtype: torch.dtype = torch.float64, blocks: int = 4
) -> list[Network]:
    """Networks that differ in their MLPs only, and do so much."""
    base = tiny_network(model_type, dtype=dtype, blocks=blocks, width=WIDTH)
    return [rewritten(base, seed) for seed in range(count)]


def rewritten(network: Network, seed: int) -> Network:
    twin = Network(copy.deepcopy(network.module), network.tokenizer)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for block in range(len(twin.anatomy)):
            for parameter in twin.anatomy.mlp(block).parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
    return twin


def logits(module: nn.Module, ids: Tensor = IDS) -> Tensor:
    with torch.no_grad():
        found: Tensor = module(input_ids=ids, use_cache=False).logits
    return found


def strengthened(module: nn.Module, dtype: torch.dtype = torch.float64) -> nn.Module:
    """Routers that make up their mind, in double precision."""
    for parameter in module.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(dtype) * 3
    return module


def weights_of(module: nn.Module) -> list[Tensor]:
    return [parameter.detach() for parameter in module.parameters() if parameter.requires_grad]


def by_hand(
    trunk: Network, networks: Sequence[Network], routers: Sequence[Tensor], reach: Sequence[Sequence[int]], top_k: int
) -> Tensor:
    """The logits of a routed network, token by token. One router for all blocks where there is only one."""
    body = copy.deepcopy(trunk)
    choices: list[list[float]] = []

    def mix(block: int, x: Tensor) -> Tensor:
        mlps = [network.anatomy.mlp(there) for there in reach[block] for network in networks]
        tokens, outputs = x.reshape(-1, WIDTH), []
        for place, token in enumerate(tokens):
            if len(routers) > 1 or block == 0:
                scores = [
                    math.exp(sum(float(w * t) for w, t in zip(row, token, strict=True))) for row in routers[block]
                ]
                chances = [score / sum(scores) for score in scores]
                kept = sorted(range(len(chances)), key=lambda e: -chances[e])[:top_k]
                choices[place:] = [[chance if e in kept else 0.0 for e, chance in enumerate(chances)]]
            output = torch.zeros(WIDTH, dtype=token.dtype)
            for chance, mlp in zip(choices[place], mlps, strict=True):
                output += chance * mlp(token[None, None])[0, 0]
            outputs.append(output)
        return torch.stack(outputs).view(x.shape)

    reads: list[Tensor] = []
    for block, module in enumerate(body.anatomy.blocks):
        first, *_, last = [module.get_submodule(name) for name in body.anatomy.layout.mlp_parts * 2]
        first.register_forward_pre_hook(lambda _, inputs: reads.append(inputs[0]))
        last.register_forward_hook(lambda _, __, ___, block=block: mix(block, reads.pop()))
    return logits(body.module)


@pytest.mark.parametrize("router", ["per_block", "shared"])
@pytest.mark.parametrize(
    ("count", "span", "top_k"), [(2, 1, None), (3, 1, 2), (2, 2, None), (2, 2, 1), (2, 3, 4), (1, 4, None), (3, 4, 5)]
)
def test_routing_is_the_sum_of_probability_times_expert(router, count, span, top_k):
    networks = experts(count)
    with seeded(1):
        routed = strengthened(route(networks, router=router, span=span, top_k=top_k))
    routers = weights_of(routed)
    assert [len(router) for router in routers] == [count * span] * (1 if router == "shared" else 4)
    expected = by_hand(networks[0], networks, routers, REACH[span], top_k or count * span)
    torch.testing.assert_close(logits(routed), expected, atol=1e-12, rtol=1e-10)
    assert not torch.allclose(expected, logits(networks[0].module), atol=1e-2)


@pytest.mark.parametrize("model_type", sorted(LAYOUTS))
@pytest.mark.parametrize(("router", "top_k"), [("per_block", None), ("shared", 3)])
def test_routing_works_in_every_architecture(model_type, router, top_k):
    networks = experts(2, model_type, blocks=2)
    with seeded(1):
        routed = strengthened(route(networks, router=router, span=2, top_k=top_k))
    expected = by_hand(networks[0], networks, weights_of(routed), [[0, 1], [1, 0]], top_k or 4)
    # some norms are computed in float32 whatever comes in
    torch.testing.assert_close(logits(routed), expected, atol=1e-6, rtol=1e-5)
    assert not torch.allclose(expected, logits(networks[0].module), atol=1e-2)


@pytest.mark.parametrize("model_type", sorted(LAYOUTS))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_interpolation_at_the_ends_is_the_experts_to_the_bit(model_type, dtype):
    a, b = experts(2, model_type, dtype, blocks=2)
    assert logits(interpolate([a, b], [1.0, 0.0])).equal(logits(a.module))
    assert logits(interpolate([a, b], [0, 1])).equal(logits(b.module))


def test_interpolation_may_take_each_block_from_another_expert():
    a, b = experts(2, dtype=torch.float32)
    chosen = [a.anatomy.mlp(0), b.anatomy.mlp(1), b.anatomy.mlp(2), a.anatomy.mlp(3)]
    expected = logits(a.anatomy.with_mlps(chosen))
    assert logits(interpolate([a, b], [[1, 0, 0, 1], [0, 1, 1, 0]])).equal(expected)


def test_interpolation_adds_up_outputs_with_their_weights():
    networks = experts(3)
    weights = [[0.2, 1.5, -1.0, 0.0], [0.3, 0.3, 0.3, 0.0], [0.5, 0.5, 0.5, 0.0]]

    class Sum(nn.Module):
        def __init__(self, block: int) -> None:
            super().__init__()
            self.block = block

        def forward(self, x: Tensor) -> Tensor:
            parts = [w[self.block] * n.anatomy.mlp(self.block)(x) for w, n in zip(weights, networks, strict=True)]
            return torch.stack(parts).sum(0)

    expected = logits(networks[0].anatomy.with_mlps([Sum(block) for block in range(4)]))
    found = logits(interpolate(networks, [weights[0], 0.3, weights[2]]))
    assert not torch.allclose(found, expected)  # in the last block, 0.3 is not 0
    torch.testing.assert_close(logits(interpolate(networks, weights)), expected, atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("alpha", [0.0, 0.1, 1 / 3, 0.5, 0.9, 1.0])
def test_a_network_mixed_with_itself_is_itself(alpha):
    (network,) = experts(1)
    expected = logits(network.module)
    torch.testing.assert_close(logits(interpolate([network] * 2, [alpha, 1 - alpha])), expected, atol=1e-12, rtol=1e-10)
    with seeded(2):
        routed = strengthened(route([network] * 3, router="shared"))
    torch.testing.assert_close(logits(routed), expected, atol=1e-12, rtol=1e-10)


def test_the_trunk_says_whose_attention_and_embeddings_are_used():
    networks, trunk = experts(2), tiny_network(seed=5, dtype=torch.float64, blocks=4, width=WIDTH)
    with seeded(1):
        routed = strengthened(route(networks, trunk=trunk))
    expected = by_hand(trunk, networks, weights_of(routed), REACH[1], 2)
    torch.testing.assert_close(logits(routed), expected, atol=1e-12, rtol=1e-10)
    assert logits(interpolate(networks, [0, 1], trunk)).equal(
        logits(trunk.anatomy.with_mlps([networks[1].anatomy.mlp(block) for block in range(4)]))
    )


@pytest.mark.parametrize("router", ["per_block", "shared"])
def test_the_networks_that_are_mixed_do_not_change_and_are_not_copied(router):
    networks = experts(2, dtype=torch.float32)
    before = [copy.deepcopy(network.module.state_dict()) for network in networks]
    held = {p.untyped_storage().data_ptr() for network in networks for p in network.module.parameters()}
    for mixed in (route(networks, router=router, span=2), interpolate(networks, [0.5, 0.5])):
        own = {id(p) for p in mixed.parameters() if p.requires_grad}
        assert all(p.untyped_storage().data_ptr() in held for p in mixed.parameters() if id(p) not in own)
        mixed.train()
        output = mixed(input_ids=IDS, use_cache=False).logits
        if own:
            output.sum().backward()
    for network, state in zip(networks, before, strict=True):
        assert all(network.module.state_dict()[name].equal(tensor) for name, tensor in state.items())
        assert all(p.requires_grad and p.grad is None for p in network.module.parameters())
        assert not any(part.training for part in network.module.modules())


@pytest.mark.parametrize(("router", "trained"), [("per_block", 4), ("shared", 1)])
def test_only_routers_are_trained(router, trained):
    routed = route(experts(), router=router, span=2)
    routed(input_ids=IDS, use_cache=False).logits.sum().backward()
    with_gradient = {name for name, p in routed.named_parameters() if p.grad is not None}
    assert with_gradient == {f"transformer.h.{block}.mlp.router.weight" for block in range(trained)}
    assert with_gradient == {name for name, p in routed.named_parameters() if p.requires_grad}
    assert not interpolate(experts(), [0.5, 0.5])(input_ids=IDS, use_cache=False).logits.requires_grad


@pytest.mark.parametrize("router", ["per_block", "shared"])
@pytest.mark.parametrize("top_k", [None, 2])
def test_gradients_of_all_routers_are_those_of_finite_differences(router, top_k):
    with seeded(3):
        routed = strengthened(route(experts(), router=router, span=2, top_k=top_k))
    parameters = [p for p in routed.parameters() if p.requires_grad]
    generator = torch.Generator().manual_seed(4)
    mask = torch.randn(3, 7, 257, generator=generator, dtype=torch.float64)
    (routed(input_ids=IDS, use_cache=False).logits * mask).sum().backward()
    for parameter in parameters:
        direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        values = []
        for step in (1e-6, -2e-6):
            parameter.data += step * direction
            values.append(float((logits(routed) * mask).sum()))
        parameter.data += 1e-6 * direction
        assert parameter.grad is not None
        assert float((parameter.grad * direction).sum()) == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-5)


def test_routers_start_kaiming_uniform_from_the_seed_in_float32():
    networks = experts(3, dtype=torch.bfloat16)

    def start(seed: int) -> Tensor:
        with seeded(seed):
            return torch.stack(weights_of(route(networks, span=4)))

    weights, bound = start(0), math.sqrt(6 / WIDTH)
    assert (weights.dtype, weights.shape) == (torch.float32, (4, 12, WIDTH))
    assert 0.97 * bound < float(weights.abs().max()) <= bound
    # the standard deviation of the uniform distribution is bound / sqrt(3); 576 draws are within 3 % or so of it
    assert float(weights.std()) == pytest.approx(bound / math.sqrt(3), rel=0.08)
    assert start(0).equal(weights)
    assert not start(1).equal(weights)


@pytest.mark.parametrize("top_k", [None, 1])
def test_routing_in_low_precision_stays_close(top_k):
    networks = experts(2, dtype=torch.float32)
    with seeded(1):
        routed = strengthened(route(networks, top_k=top_k), torch.float32)
    exact = logits(routed)
    with torch.autocast("cpu", torch.bfloat16), record_routing(routed) as record:
        rough = logits(routed)
    assert float((rough - exact).abs().mean() / exact.abs().mean()) < 0.1
    assert record.probability.sum(-1).tolist() == pytest.approx([1.0] * 4, abs=1e-6)


def test_a_shared_choice_does_not_outlive_its_pass():
    with seeded(1):
        routed = strengthened(route(experts(), router="shared"))
    long, short = torch.randint(257, (2, 9)), torch.randint(257, (4, 3))
    first = logits(routed, long)
    logits(routed, short)
    assert logits(copy.deepcopy(routed), long).equal(first)
    assert logits(routed, long).equal(first)
    held = [value for part in routed.modules() for value in vars(part).values() if isinstance(value, Tensor)]
    assert not held


@pytest.mark.parametrize("router", ["per_block", "shared"])
def test_decoding_with_kept_keys_and_values_goes_the_same_way(router):
    networks = experts(dtype=torch.float32)
    with seeded(1):
        routed = Network(strengthened(route(networks, router=router, top_k=1), torch.float32), networks[0].tokenizer)
    prompts = [torch.arange(5), torch.arange(40, 49)]
    plain = greedy_answers(routed, prompts, 8, "cpu", cache=False)
    assert greedy_answers(routed, prompts, 8, "cpu", cache=True) == plain


def test_one_block_needs_no_follower():
    networks = experts(blocks=1)
    with seeded(1):
        shared = route(networks, router="shared")
    with seeded(1):
        assert logits(shared).equal(logits(route(networks)))


def test_experts_that_differ_outside_of_their_mlps_need_a_trunk():
    a, b = experts()
    with torch.no_grad():
        b.module.transformer.h[1].attn.c_proj.bias[3] += 1e-3
    for build in (route, lambda networks: interpolate(networks, [1, 1])):
        with pytest.raises(
            CompatError, match=r"expert 2 differs .* in transformer.h.1.attn.c_proj.bias: .*`trunk: base`"
        ):
            build([a, b])
    route([a, b], trunk=a)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"blocks": 3}, "expert 2 has 3 blocks of width 12 in float32, and expert 1 4 blocks of width 12 in float32"),
        ({"width": 16}, "expert 2 has 4 blocks of width 16 in float32"),
        ({"dtype": torch.bfloat16}, "expert 2 has 4 blocks of width 12 in bfloat16"),
    ],
)
def test_experts_of_other_shapes_are_refused(other, words):
    networks = [tiny_network(blocks=4, width=WIDTH), tiny_network(**{"blocks": 4, "width": WIDTH} | other)]
    with pytest.raises(CompatError, match=words):
        route(networks)
    with pytest.raises(CompatError, match="and the trunk 4 blocks"):
        route(networks[1:], trunk=networks[0])


def test_what_does_not_fit_the_depth_is_refused():
    networks = experts()
    with pytest.raises(CompatError, match="span: 5 reaches for the MLPs of 5 blocks, and the networks have 4"):
        route(networks, span=5)
    with pytest.raises(CompatError, match="top_k: 3 is more than the 2 experts"):
        route(networks, top_k=3)
    with pytest.raises(CompatError, match="3 weights are given, one per block, and the networks have 4 blocks"):
        interpolate(networks, [[1, 0, 1], 0.5])


@pytest.mark.parametrize("router", ["per_block", "shared"])
def test_a_record_has_the_mean_probability_and_entropy_of_each_block(router):
    networks = experts(3)
    with seeded(1):
        routed = strengthened(route(networks, router=router, top_k=1))
    seen: dict[int, Tensor] = {}
    for block in range(4):
        routed.transformer.h[block].mlp.register_forward_pre_hook(
            lambda _, inputs, block=block: seen.__setitem__(block, inputs[0])
        )
    counted = torch.tensor([0, 1, 5, 20])
    with record_routing(routed, counted) as record:
        logits(routed)
    logits(routed)
    assert record.tokens == 4
    for block in range(4):
        source = 0 if router == "shared" else block
        scores = (seen[source].reshape(-1, WIDTH) @ weights_of(routed)[source].T)[counted]
        chances = scores.exp() / scores.exp().sum(-1, keepdim=True)
        torch.testing.assert_close(record.probability[block], chances.mean(0))
        torch.testing.assert_close(record.entropy[block], -(chances * chances.log()).sum(-1).mean())


def test_records_add_up_to_the_record_of_all_tokens():
    with seeded(1):
        routed = strengthened(route(experts(), span=2))
    with record_routing(routed) as whole:
        logits(routed)
    with record_routing(routed) as first:
        logits(routed, IDS[:1])
    with record_routing(routed) as rest:
        logits(routed, IDS[1:])
    both = first.add(rest)
    assert both.tokens == whole.tokens == 21
    torch.testing.assert_close(both.probability, whole.probability)
    torch.testing.assert_close(both.entropy, whole.entropy)


def test_a_network_without_routers_has_nothing_to_record():
    with pytest.raises(CompatError, match="GPT2LMHeadModel has no routers"), record_routing(tiny_network().module):
        pass
