"""Variants of routing against their formulas, and none of them looks ahead."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from compat_spec.errors import CompatError
from compat_spec.nn.anatomy import LAYOUTS, frozen_copy
from compat_spec.nn.auxiliary import auxiliary_loss
from compat_spec.nn.generation import greedy_answers
from compat_spec.nn.mixture import AttentionMixture, Choice, Mixture, route, route_residuals
from compat_spec.nn.mixture.choosing import chosen_by_experts
from compat_spec.nn.network import Network, seeded
from compat_spec.nn.routers import Router, imbalance, routers, routers_of
from compat_spec.nn.routing_record import record_routing
from tests.builders import tiny_network
from tests.nn.test_mixture import IDS, WIDTH, experts, logits, strengthened, weights_of

VARIANTS: dict[str, dict[str, Any]] = {
    "normalize": {"top_k": 2, "normalize": True},
    "noise": {"top_k": 2, "noise": True},
    "balance": {"balance": 0.1},
    "capacity": {"capacity": 1.5},
    "previous": {"router": "previous"},
    "sequence": {"router": "sequence", "top_k": 1},
    "attention": {"parts": "attention"},
    "both": {"parts": "both", "top_k": 2, "router": "shared"},
}
"""Arguments of `route`."""


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def with_other_attentions(networks: list[Network]) -> list[Network]:
    """The networks, with attentions of their own too."""
    for seed, network in enumerate(networks):
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for block in range(len(network.anatomy)):
                for parameter in network.anatomy.attention(block).parameters():
                    parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return networks


def routed(variant: str, model_type: str = "gpt2", dtype: torch.dtype = torch.float64, blocks: int = 3) -> nn.Module:
    networks = experts(3, model_type, dtype, blocks)
    if VARIANTS[variant].get("parts", "mlp") != "mlp":
        networks = with_other_attentions(networks)
    with seeded(1):
        return strengthened(route(networks, trunk=networks[0], **VARIANTS[variant]), dtype)


# ------------------------------------------------------------------------------------------- all of them


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("model_type", ["gpt2", "opt", "gpt_neox", "llama"])
def test_no_token_is_told_of_what_follows_it(variant: str, model_type: str) -> None:
    module = routed(variant, model_type)
    changed = IDS.clone()
    changed[:, 4:] = (changed[:, 4:] + 100) % 257
    whole, other, prefix = logits(module), logits(module, changed), logits(module, IDS[:, :4])
    # another length is another matrix product, and some norms are in float32
    torch.testing.assert_close(whole[:, :4], other[:, :4], atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(whole[:, :4], prefix, atol=1e-6, rtol=1e-6)
    assert not torch.allclose(whole[:, 4:], other[:, 4:], atol=1e-3)


@pytest.mark.parametrize("variant", VARIANTS)
def test_answers_are_the_same_with_and_without_a_cache(variant: str) -> None:
    network = Network(routed(variant, dtype=torch.float32), tiny_network().tokenizer)
    prompts = [torch.arange(5), torch.arange(40, 49)]
    plain = greedy_answers(network, prompts, 8, "cpu", cache=False)
    assert greedy_answers(network, prompts, 8, "cpu", cache=True) == plain


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_of_all_routers_are_those_of_finite_differences(variant: str) -> None:
    module = routed(variant)  # in evaluation, without noise
    generator = torch.Generator().manual_seed(4)
    mask = torch.randn(3, 7, 257, generator=generator, dtype=torch.float64)
    (module(input_ids=IDS, use_cache=False).logits * mask).sum().backward()
    trained = {name: p for name, p in module.named_parameters() if p.requires_grad and "noise" not in name}
    assert len(trained) == {"both": 2}.get(variant, 3)
    for parameter in trained.values():
        direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        values = []
        for step in (1e-6, -2e-6):
            parameter.data += step * direction
            values.append(float((logits(module) * mask).sum()))
        parameter.data += 1e-6 * direction
        assert parameter.grad is not None
        assert float((parameter.grad * direction).sum()) == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_copy_goes_its_own_way_and_nothing_is_left_behind(variant: str) -> None:
    module = routed(variant)
    expected = logits(module)
    twin = copy.deepcopy(module)
    logits(module, IDS[:2, :3])
    assert logits(twin).equal(expected)
    assert logits(module).equal(expected)
    held = [value for part in module.modules() for value in vars(part).values() if isinstance(value, Tensor)]
    assert not held


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("training", [False, True])
def test_a_pass_that_was_left_in_the_middle_is_forgotten(variant: str, training: bool) -> None:
    module = routed(variant)
    expected = logits(module)

    def leave(*_: object) -> None:
        raise KeyboardInterrupt

    handle = module.transformer.h[2].register_forward_pre_hook(leave)
    with pytest.raises(KeyboardInterrupt):
        module.train(training)(input_ids=IDS[:1, :3], use_cache=False)
    handle.remove()
    twin = copy.deepcopy(module).eval()
    assert auxiliary_loss(twin) is None
    assert logits(twin).equal(expected)
    assert logits(module.eval()).equal(expected)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_block_has_a_router_that_reports_can_watch(variant: str) -> None:
    module = routed(variant)
    with torch.no_grad(), record_routing(module) as record:
        logits(module)
    assert record.probability.shape == (3, 3)
    assert record.probability.sum(-1).tolist() == pytest.approx([1.0] * 3)
    assert record.tokens == IDS.numel()


# ------------------------------------------------------------------------------------- what tokens choose


def test_normalized_weights_are_the_softmax_of_those_that_are_kept() -> None:
    scores = draw(13, 5)
    weights, rows = Choice(top_k=2, normalize=True).weights(scores.softmax(-1))
    for place, row in enumerate(scores.tolist()):
        kept = sorted(range(5), key=lambda e: -row[e])[:2]
        total = sum(math.exp(row[e]) for e in kept)
        expected = [math.exp(row[e]) / total if e in kept else 0.0 for e in range(5)]
        assert weights[place].tolist() == pytest.approx(expected)
        assert rows is not None
        assert [e for e in range(5) if place in rows[e]] == sorted(kept)


def test_noise_is_drawn_in_training_only_and_its_size_is_trained() -> None:
    router = Router(6, 4, noise=True).double()
    x = draw(2, 9, 6)
    assert router.noise is not None
    assert not router.noise.any()
    router.noise.data = draw(4, 6, seed=1)
    plain = (x @ router.weight.T).softmax(-1)
    torch.testing.assert_close(router.eval()(x), plain)
    with seeded(3):
        noisy = router.train()(x)
    with seeded(3):
        drawn = torch.randn(2, 9, 4, dtype=torch.float64)
    expected = (x @ router.weight.T + drawn * (1 + (x @ router.noise.T).exp()).log()).softmax(-1)
    torch.testing.assert_close(noisy, expected)
    noisy[..., 0].sum().backward()
    assert router.noise.grad is not None
    assert float(router.noise.grad.abs().sum()) > 0


# -------------------------------------------------------------------------------------------- equal loads


def test_imbalance_is_the_formula_of_switch() -> None:
    p = (draw(3, 7, 4) * 2).softmax(-1)
    rows = p.flatten(0, 1).tolist()
    share = [sum(row.index(max(row)) == e for row in rows) / len(rows) for e in range(4)]
    mean = [sum(row[e] for row in rows) / len(rows) for e in range(4)]
    assert float(imbalance(p)) == pytest.approx(4 * sum(f * m for f, m in zip(share, mean, strict=True)))
    assert float(imbalance(torch.eye(4))) == pytest.approx(1)
    assert float(imbalance(torch.eye(4)[[0] * 5])) == pytest.approx(4)


def test_the_loss_for_equal_loads_is_asked_for_once_per_pass_and_in_training_only() -> None:
    module = routed("balance")
    module(input_ids=IDS, use_cache=False)
    assert auxiliary_loss(module) is None
    module.train()
    with torch.no_grad():
        module(input_ids=IDS, use_cache=False)
    assert auxiliary_loss(module) is None
    with record_routing(module):
        seen: list[Tensor] = []
        for router in routers_of(module):
            router.register_forward_hook(lambda _, __, output: seen.append(output))
        module(input_ids=IDS, use_cache=False)
    loss = auxiliary_loss(module)
    assert loss is not None
    torch.testing.assert_close(loss, torch.stack([0.1 * imbalance(p) for p in seen]).sum())
    loss.backward()
    assert all(router.weight.grad is not None for router in routers_of(module) if isinstance(router, Router))
    assert auxiliary_loss(module) is None


def test_a_shared_router_is_balanced_once() -> None:
    with seeded(0):
        module = route(experts(2), router="shared", balance=1.0).train()
    module(input_ids=IDS, use_cache=False)
    loss = auxiliary_loss(module)
    assert loss is not None
    assert 0.5 < float(loss.detach()) <= 2


# ------------------------------------------------------------------------------------- what experts choose


@given(st.integers(1, 9), st.integers(1, 5), st.floats(0.2, 5), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_an_expert_takes_its_share_of_every_prefix(seq: int, count: int, capacity: float, seed: int) -> None:
    # few different numbers, so that some are equal
    p = torch.randint(4, (2, seq, count), generator=torch.Generator().manual_seed(seed)).double().softmax(-1)
    found = chosen_by_experts(p, capacity)
    for text in range(2):
        for t in range(seq):
            room = math.ceil(min(capacity / count, 1) * (t + 1) - 1e-9)
            for expert in range(count):
                so_far = p[text, : t + 1, expert].tolist()
                best = sorted(range(t + 1), key=lambda place: (-so_far[place], place))[:room]
                assert bool(found[text, t, expert]) == (t in best)


def test_capacity_gives_each_expert_about_its_share() -> None:
    p = draw(4, 200, 4).softmax(-1)
    chosen = chosen_by_experts(p, 1.0).double().mean((0, 1))
    # the rule is met at every prefix: a token that was taken early stays, so that there are more than over the whole
    assert all(0.25 <= share < 0.30 for share in chosen.tolist())
    assert chosen_by_experts(p, 4.0).all()


def test_tokens_that_no_expert_takes_add_nothing() -> None:
    mixture = routed("capacity", blocks=1).transformer.h[0].mlp
    assert isinstance(mixture, Mixture)
    assert mixture.texts is not None
    mixture.texts.now = (1, 9)
    x = draw(1, 9, WIDTH)
    with torch.no_grad():
        p = mixture.router(x)
        chosen = chosen_by_experts(p, 1.5)
        expected = sum((p * chosen)[..., e, None] * expert(x) for e, expert in enumerate(mixture.experts))
        torch.testing.assert_close(mixture(x), expected)


# ---------------------------------------------------------------------------------------- what routers read


def test_a_router_of_the_block_before_reads_what_that_block_read() -> None:
    module = routed("previous")
    reads: list[Tensor] = []
    said: list[Tensor] = []
    for block in module.transformer.h:
        block.mlp.register_forward_pre_hook(lambda _, inputs: reads.append(inputs[0]))
        block.mlp.router.register_forward_hook(lambda _, __, output: said.append(output))
    logits(module)
    for block, read in enumerate((reads[0], reads[0], reads[1])):
        torch.testing.assert_close(said[block], (read @ weights_of(module)[block].T).softmax(-1))


def test_a_router_of_texts_reads_the_mean_of_the_text_so_far() -> None:
    (router,) = routers("sequence", WIDTH, 3, 1)
    x = draw(2, 6, WIDTH).float()
    expected = [[(x[b, : t + 1].mean(0) @ router.weight.T).softmax(-1) for t in range(6)] for b in range(2)]  # type: ignore[union-attr]
    torch.testing.assert_close(router(x), torch.stack([torch.stack(row) for row in expected]))
    with pytest.raises(ValueError, match=r"reads \[batch, seq, width\], and was given \[6, 12\]"):
        router(x[0])


# ---------------------------------------------------------------------------------------------- attentions


@pytest.mark.parametrize("model_type", sorted(LAYOUTS))
def test_attentions_of_one_expert_alone_are_its_own(model_type: str) -> None:
    networks = with_other_attentions(experts(2, model_type, blocks=2))
    module = route(networks, parts="both", trunk=networks[0])
    for router in (part for part in module.modules() if isinstance(part, Router)):
        router.forward = lambda x: torch.tensor([0.0, 1.0], dtype=x.dtype).expand(*x.shape[:-1], 2)  # type: ignore[method-assign]
    expected = copy.deepcopy(networks[0].module)
    for block in range(2):
        ours, theirs = Network(expected, networks[0].tokenizer).anatomy, networks[1].anatomy
        ours.attention(block).load_state_dict(theirs.attention(block).state_dict())
        ours.mlp(block).load_state_dict(theirs.mlp(block).state_dict())
    torch.testing.assert_close(logits(module), logits(expected), atol=1e-6, rtol=1e-5)
    assert not torch.allclose(logits(module), logits(networks[0].module), atol=1e-2)


def test_attentions_are_added_up_with_their_probabilities() -> None:
    networks = with_other_attentions(experts(3, blocks=1))
    with seeded(1):
        module = strengthened(route(networks, parts="attention", trunk=networks[0], top_k=2))
    mixture = module.transformer.h[0].attn
    assert isinstance(mixture, AttentionMixture)
    x = draw(2, 5, WIDTH)
    p = (x @ mixture.router.weight.T).softmax(-1)
    p = torch.where(p < p.min(-1, keepdim=True).values + 1e-15, 0.0, p)
    outputs = [network.anatomy.attention(0)(x)[0] for network in networks]
    expected = sum(p[..., e, None] * output for e, output in enumerate(outputs))
    torch.testing.assert_close(mixture(x)[0], expected)


@pytest.mark.parametrize("variant", ["attention", "both", "capacity", "sequence"])
@pytest.mark.parametrize("model_type", ["gpt2", "opt", "llama"])
def test_what_needs_more_than_keys_and_values_does_not_cache(variant: str, model_type: str) -> None:
    module: Any = routed(variant, model_type)
    with pytest.raises(ValueError, match="use_cache=False"):
        module(input_ids=IDS, use_cache=True)
    with pytest.raises(ValueError, match="use_cache=False"):
        module.generate(IDS[:1], max_new_tokens=2, pad_token_id=0)


def test_only_what_is_mixed_may_differ_without_a_trunk() -> None:
    networks = with_other_attentions(experts(2))
    route(networks, parts="both")
    with pytest.raises(CompatError, match=r"outside of its attentions, in transformer.h.0.mlp.c_fc.bias"):
        route(networks, parts="attention")
    with pytest.raises(ValueError, match="span: 2 is for MLPs"):
        route(networks, parts="both", span=2)


# ----------------------------------------------------------------------------------------------- residuals


@pytest.mark.parametrize("model_type", sorted(LAYOUTS))
def test_a_residual_of_full_rank_that_has_all_the_weight_is_the_expert(model_type: str) -> None:
    base, *others = experts(3, model_type, blocks=2)
    module = route_residuals(others, base, rank=WIDTH)
    for router in routers_of(module):
        router.forward = lambda x: torch.tensor([0.0, 1.0], dtype=x.dtype).expand(*x.shape[:-1], 2)  # type: ignore[method-assign]
    torch.testing.assert_close(logits(module), logits(others[1].module), atol=1e-6, rtol=1e-5)
    for router in routers_of(module):
        router.forward = lambda x: torch.zeros(*x.shape[:-1], 2, dtype=x.dtype)  # type: ignore[method-assign]
    torch.testing.assert_close(logits(module), logits(base.module), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("rank", [1, 5])
def test_residuals_are_the_nearest_of_their_rank_and_are_mixed_before_the_activation(rank: int) -> None:
    base, *others = experts(3, blocks=1)
    with seeded(1):
        module = strengthened(route_residuals(others, base, rank=rank))
    (router,) = weights_of(module)

    def layer(name: str, x: Tensor, p: list[float]) -> Tensor:
        ours, *theirs = (network.anatomy.mlp(0).get_submodule(name) for network in (base, *others))
        matrix, bias = ours.weight.detach().clone(), ours.bias.detach().clone()
        for weight, their in zip(p, theirs, strict=True):
            left, values, right = torch.linalg.svd(their.weight.detach() - ours.weight.detach(), full_matrices=False)
            matrix += weight * sum(values[i] * torch.outer(left[:, i], right[i]) for i in range(rank))
            bias += weight * (their.bias.detach() - ours.bias.detach())
        return x @ matrix + bias

    x = draw(4, WIDTH)
    found = module.transformer.h[0].mlp(x[None])[0]
    for token, output in zip(x, found, strict=True):
        p = (router @ token).softmax(0).tolist()
        expected = layer("c_proj", base.anatomy.mlp(0).act(layer("c_fc", token, p)), p)
        torch.testing.assert_close(output, expected)


@pytest.mark.parametrize("has_bias", [[False, True, False], [True, False, True]], ids=["an expert", "all but one"])
def test_layers_with_and_without_a_bias_have_a_difference(has_bias: list[bool]) -> None:
    networks = [
        tiny_network("llama", seed=seed, dtype=torch.float64, blocks=2, width=WIDTH, mlp_bias=bias)
        for seed, bias in enumerate(has_bias)
    ]
    for network in networks:
        for block in range(2):
            for place, parameter in enumerate(network.anatomy.mlp(block).parameters()):
                parameter.data = draw(*parameter.shape, seed=place)
    base, *others = networks
    module = route_residuals(others, base, rank=WIDTH)
    for router in routers_of(module):
        router.forward = lambda x: torch.tensor([1.0, 0.0], dtype=x.dtype).expand(*x.shape[:-1], 2)  # type: ignore[method-assign]
    x = draw(2, 5, WIDTH)
    for block in range(2):
        torch.testing.assert_close(module.model.layers[block].mlp(x), others[0].anatomy.mlp(block)(x))


def test_residuals_train_their_routers_only_and_keep_the_experts_as_they_are() -> None:
    base, *others = experts(3, dtype=torch.float32)
    module = route_residuals(others, base, rank=2, balance=0.1).train()
    module(input_ids=IDS, use_cache=False).logits.sum().backward()
    assert {name for name, p in module.named_parameters() if p.grad is not None} == {
        f"transformer.h.{block}.mlp.router.weight" for block in range(4)
    }
    assert auxiliary_loss(module) is not None


def test_residuals_need_layers_of_one_shape_and_a_known_form() -> None:
    base, *others = experts(2, blocks=1)
    wide = tiny_network(dtype=torch.float64, blocks=1, width=WIDTH, n_inner=20)
    with pytest.raises(CompatError, match=r"a layer of an expert is \[12, 20\], and the base's \[12, 48\]"):
        route_residuals([wide], base, rank=2)
    other = frozen_copy(base.module)
    other.transformer.h[0].mlp.c_fc = nn.Sequential(other.transformer.h[0].mlp.c_fc)
    with pytest.raises(CompatError, match="mlp_form"):
        route_residuals(others, Network(other, base.tokenizer), rank=2)
