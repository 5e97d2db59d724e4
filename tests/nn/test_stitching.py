"""Stitching: what a network loses when it goes on from another's representation."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from compat_spec.components import Example
from compat_spec.errors import CompatError
from compat_spec.nn.anatomy import LAYOUTS
from compat_spec.nn.data import EncodedSplit, encode
from compat_spec.nn.evaluation import token_scores
from compat_spec.nn.linear_maps import ScaledFeatures
from compat_spec.nn.mixture import route
from compat_spec.nn.network import Network
from compat_spec.nn.stitching import StitchingRecipe, stitching_losses
from compat_spec.nn.tails import Tail
from compat_spec.nn.training import Recipe, train
from tests.builders import byte_tokenizer, tiny_network, undisturbed_session


def sums(start: int, stop: int) -> EncodedSplit:
    """Text in which the next byte can be learnt."""
    examples = [Example(f"{i % 10}+{i // 10 % 10}=", f"{i % 10 + i // 10 % 10}\n") for i in range(start, stop)]
    return encode(examples, byte_tokenizer(), "answer")


TRAIN, TEST = sums(0, 150), sums(30, 70)
FIT_ONLY = StitchingRecipe(steps=0, context=16, ridge=1e-9)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Network:
    network = tiny_network(blocks=3)
    session = undisturbed_session(tmp_path_factory.mktemp("training"))
    for parameter in network.module.parameters():
        parameter.requires_grad_(True)
    train(network, {"sums": TRAIN}, Recipe({"sums": 1.0}, steps=150, context=24, lr=1e-2), session)
    return network


def own_loss(network: Network, context: int = 16) -> float:
    return token_scores(network, TEST, tokens=4096, context=context, device="cpu").mean_loss


@pytest.mark.parametrize("model_type", sorted(LAYOUTS))
def test_a_network_goes_on_from_its_own_representation_as_if_nothing_had_happened(model_type):
    # not the end of text: gemma puts in zeros for padding, of which norms make a lot of any rounding
    network = tiny_network(model_type, pad_token_id=0)
    found = stitching_losses(network, network, TRAIN, TEST, FIT_ONLY, device="cpu")
    assert found.tokens == len(token_scores(network, TEST, tokens=4096, context=16, device="cpu"))
    torch.testing.assert_close(
        found.losses.diagonal(), torch.full((3,), own_loss(network), dtype=torch.float64), atol=2e-5, rtol=0
    )
    assert not found.losses.isnan().any()


@pytest.mark.parametrize("model_type", sorted(LAYOUTS))
def test_the_tail_of_a_network_is_what_it_makes_of_its_own_hidden_states(model_type):
    network = tiny_network(model_type, dtype=torch.float64)
    tail = Tail(network)
    ids = TEST.ids[None, :12].long()
    seen: list[Tensor] = []

    def keep(_: object, __: object, output: Tensor | tuple[Tensor, ...]) -> None:
        seen.append(output[0] if isinstance(output, tuple) else output)

    handles = [block.register_forward_hook(keep) for block in network.anatomy.blocks]
    with torch.no_grad():
        whole = network.logits(ids)
    for handle in handles:
        handle.remove()
    for block, hidden in enumerate(seen):
        given = hidden.clone().requires_grad_()
        logits = tail.logits(ids, block, given)
        torch.testing.assert_close(logits, whole)
        logits.sum().backward()
        assert given.grad is not None
        # what stands before the block counts no more
        torch.testing.assert_close(tail.logits(torch.zeros_like(ids), block, hidden), whole)
    with torch.no_grad():
        assert network.logits(ids).equal(whole)
        assert tail.module(input_ids=ids, use_cache=False).logits.equal(whole)


def test_stitched_losses_are_those_of_a_network_put_together_by_hand():
    a, b = tiny_network(seed=1, width=24, blocks=2), tiny_network("llama", seed=2)
    found = stitching_losses(a, b, TRAIN, TEST, FIT_ONLY, device="cpu").losses
    assert found.shape == (2, 3)
    for i in range(2):
        for j in range(3):
            assert float(found[i, j]) == pytest.approx(by_hand(a, b, i, j), abs=1e-4)


def by_hand(a: Network, b: Network, i: int, j: int) -> float:
    """The loss with a map from a least-squares solver, each window by itself, put in by a hook."""

    def hidden(network: Network, block: int, ids: Tensor) -> Tensor:
        with torch.no_grad():
            states = network.module(input_ids=ids, output_hidden_states=True).hidden_states
        # transformers gives what comes before each block: the last one's output is kept by a hook instead
        return states[block + 1] if block + 1 < len(network.anatomy) else last_output(network, ids)

    xs, ys = ([hidden(n, k, w)[0] for w in windows(TRAIN.ids)] for n, k in ((a, i), (b, j)))
    x, y = torch.cat(xs).double(), torch.cat(ys).double()
    weight = torch.linalg.lstsq(torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], dim=1), y).solution
    total, count = 0.0, 0
    start = 1
    while start < len(TEST.ids):
        # whole examples of six or seven tokens, as many as fit in sixteen
        ends = TEST.offsets[(TEST.offsets - start <= 16) & (TEST.offsets > start)]
        stop = int(ends.max())
        ids, targets = TEST.ids[None, start - 1 : stop - 1].long(), TEST.ids[start:stop].long()
        mapped = hidden(a, i, ids).double() @ weight[:-1] + weight[-1]
        handle = b.anatomy.blocks[j].register_forward_hook(lambda *_, mapped=mapped: mapped.float())
        with torch.no_grad():
            logits = b.logits(ids)[0]
        handle.remove()
        scored = TEST.scored[start:stop]
        total += float(F.cross_entropy(logits[scored], targets[scored], reduction="sum"))
        count += int(scored.sum())
        start = stop
    return total / count


def windows(ids: Tensor) -> Iterator[Tensor]:
    for start in range(0, len(ids), 16):
        yield ids[None, start : start + 16].long()


def last_output(network: Network, ids: Tensor) -> Tensor:
    found: list[Tensor] = []
    handle = network.anatomy.blocks[-1].register_forward_hook(lambda _, __, output: found.append(output))
    with torch.no_grad():
        network.logits(ids)
    handle.remove()
    return found[0]


def test_least_squares_is_ridge_regression_and_unmoved_by_what_is_constant():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(40, 5, generator=generator), torch.randn(40, 3, generator=generator)
    x[:, 2] = 7.0
    scales = torch.tensor([1.0, 100.0, 1.0, 1e-3, 1.0])
    (weight,) = ScaledFeatures(x * scales + 5).regressions([ScaledFeatures(y)], 0.1)
    others = [0, 1, 3, 4]
    design = (x.double()[:, others] - x.double()[:, others].mean(0)) / x.double()[:, others].std(0, correction=0)
    target = (y.double() - y.double().mean(0)) / y.double().std(0, correction=0)
    # ridge regression as ordinary least squares with rows that pull towards zero
    padded = torch.cat([design, (0.1 * 40) ** 0.5 * torch.eye(4, dtype=torch.float64)])
    expected = torch.linalg.lstsq(padded, torch.cat([target, torch.zeros(4, 3, dtype=torch.float64)])).solution
    torch.testing.assert_close(weight[others].double(), expected, atol=1e-5, rtol=1e-3)
    assert not weight[2].any()


def test_training_the_maps_lowers_the_loss_and_a_random_network_is_of_less_use(trained):
    recipe = StitchingRecipe(steps=30, context=16, lr=1e-2)
    random = tiny_network(seed=5)
    for network in (trained, random):
        start = stitching_losses(network, trained, TRAIN, TEST, FIT_ONLY, device="cpu").losses
        moved = stitching_losses(network, trained, TRAIN, TEST, recipe, device="cpu").losses
        assert bool((moved < start).all())
        if network is random:
            assert float(start.min()) > own_loss(trained) + 0.2
            assert float(moved.min()) > own_loss(trained) + 0.05


def test_the_same_seed_gives_the_same_losses_and_both_networks_stay_as_they_are(trained):
    other = tiny_network(seed=5)
    before = [p.clone() for network in (trained, other) for p in network.module.parameters()]
    recipe = StitchingRecipe(steps=3, context=16, batch_size=2)
    first, again = (stitching_losses(other, trained, TRAIN, TEST, recipe, device="cpu").losses for _ in range(2))
    assert first.equal(again)
    after = [p for network in (trained, other) for p in network.module.parameters()]
    assert all(x.equal(y) for x, y in zip(before, after, strict=True))
    assert not any(p.grad is not None for p in after)


def test_pairs_of_the_same_depth_are_those_of_all_pairs():
    a, b = tiny_network(blocks=2), tiny_network(seed=1, blocks=3)
    every = stitching_losses(a, b, TRAIN, TEST, StitchingRecipe(steps=2, context=16), device="cpu").losses
    same = stitching_losses(a, b, TRAIN, TEST, StitchingRecipe("same", steps=2, context=16), device="cpu").losses
    asked = torch.eye(2, 3, dtype=torch.bool)
    torch.testing.assert_close(same[asked], every[asked], atol=1e-5, rtol=0)
    assert same[~asked].isnan().all()


@pytest.mark.parametrize("limit", ["stitched._ENTRIES_AT_ONCE", "stitching._MAP_ENTRIES"])
def test_little_memory_changes_nothing(monkeypatch, limit):
    a, b = tiny_network(), tiny_network(seed=1)
    recipe = StitchingRecipe(steps=2, context=16, batch_size=3)
    whole = stitching_losses(a, b, TRAIN, TEST, recipe, device="cpu").losses
    monkeypatch.setattr(f"compat_spec.nn.{limit}", 1)
    torch.testing.assert_close(
        stitching_losses(a, b, TRAIN, TEST, recipe, device="cpu").losses, whole, atol=1e-4, rtol=0
    )


def test_less_goes_through_at_once_when_memory_runs_out(monkeypatch):
    a, b = tiny_network(), tiny_network(seed=1)
    recipe = StitchingRecipe(steps=2, context=16, batch_size=4)
    whole = stitching_losses(a, b, TRAIN, TEST, recipe, device="cpu").losses
    logits = Tail.logits

    def small(self: Tail, ids: Tensor, block: int, hidden: Tensor) -> Tensor:
        if len(ids) > at_most:
            raise torch.OutOfMemoryError
        return logits(self, ids, block, hidden)

    at_most = 2
    monkeypatch.setattr(Tail, "logits", small)
    torch.testing.assert_close(
        stitching_losses(a, b, TRAIN, TEST, recipe, device="cpu").losses, whole, atol=1e-4, rtol=0
    )
    at_most = 0
    with pytest.raises(CompatError, match="no memory for one stitched sequence of 16 tokens"):
        stitching_losses(a, b, TRAIN, TEST, recipe, device="cpu")


def test_it_tells_how_far_it_is_and_stops_when_told():
    told: list[tuple[int, int, str]] = []
    network = tiny_network()
    recipe = StitchingRecipe(steps=2, context=16)
    stitching_losses(network, network, TRAIN, TEST, recipe, device="cpu", progress=lambda *now: told.append(now))
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)
    assert told[-1][:2] == (told[0][1],) * 2
    assert told[0][0] == 0
    assert {note for _, _, note in told} >= {"features", "least squares from block 2", "step 2 of 2", "scoring"}

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stitching_losses(network, network, TRAIN, TEST, recipe, device="cpu", progress=stop)


def test_half_precision_networks_are_stitched_in_half_precision_and_scored_in_float32():
    exact = tiny_network()
    coarse = Network(tiny_network().module.bfloat16(), exact.tokenizer)
    recipe = StitchingRecipe(steps=2, context=16)
    found = stitching_losses(exact, coarse, TRAIN, TEST, recipe, device="cpu").losses
    expected = stitching_losses(exact, exact, TRAIN, TEST, recipe, device="cpu").losses
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0)
    assert not found.float().equal(found.bfloat16().float())


def test_routed_networks_are_stitched_unless_their_blocks_depend_on_the_first(trained):
    routed = Network(route([trained, trained]).eval(), trained.tokenizer)
    found = stitching_losses(trained, routed, TRAIN, TEST, FIT_ONLY, device="cpu").losses
    assert float(found[1, 1]) == pytest.approx(own_loss(trained), abs=1e-3)
    shared = Network(route([trained, trained], router="shared").eval(), trained.tokenizer)
    with pytest.raises(CompatError, match="repeat the first block's choice"):
        stitching_losses(trained, shared, TRAIN, TEST, FIT_ONLY, device="cpu")
    assert stitching_losses(shared, trained, TRAIN, TEST, FIT_ONLY, device="cpu").tokens


def test_what_cannot_be_stitched_is_an_error():
    network = tiny_network()
    with pytest.raises(CompatError, match="no token to score"):
        stitching_losses(network, network, TRAIN, encode([], byte_tokenizer(), "all"), FIT_ONLY, device="cpu")
    with pytest.raises(CompatError, match="a context of 99 tokens is more than the 64"):
        stitching_losses(network, network, TRAIN, TEST, StitchingRecipe(context=99), device="cpu")
    with pytest.raises(CompatError, match="the loss of stitching into block 0 became nan: try a lower lr"):
        stitching_losses(network, network, TRAIN, TEST, StitchingRecipe(lr=1e38, context=16), device="cpu")
    with pytest.raises(CompatError, match="became nan: try a lower lr"):  # by the only step
        stitching_losses(
            network, network, TRAIN, TEST, StitchingRecipe(lr=torch.inf, steps=1, context=16), device="cpu"
        )
    other = Network(network.module, byte_tokenizer())
    other.tokenizer.add_tokens(["=?"])
    network.tokenizer.add_tokens(["!="])
    with pytest.raises(CompatError, match="different tokenizers: token 257"):
        stitching_losses(network, other, TRAIN, TEST, FIT_ONLY, device="cpu")
