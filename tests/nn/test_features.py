"""Features are what each block puts out, on the same tokens for every network."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from compat_spec.components import Example
from compat_spec.errors import CompatError
from compat_spec.nn.data import EncodedSplit, encode
from compat_spec.nn.features import feature_batches, features
from compat_spec.nn.mixture import route
from compat_spec.nn.network import Network
from compat_spec.nn.rows import draw_tokens
from tests.builders import byte_tokenizer, tiny_network


def some_text(tokens: int = 150) -> EncodedSplit:
    words = " ".join(str(i * i % 97) for i in range(tokens))
    return encode(
        [Example("", words[: tokens // 2]), Example("", words[tokens // 2 : tokens])], byte_tokenizer(), "all"
    )


EXAMPLES = [
    Example("What is 2 + 3? ", "It is 5."),
    Example("Say nothing. ", ""),
    Example("", "No prompt here."),
    Example("A long one, longer than what is read at once, to be cut: ", "and so its beginning is not seen."),
    *(Example(f"Item {i}: ", f"{i * i * i}!") for i in range(12)),
]
"""Of many lengths, some without an answer or without a prompt."""


def read_one_by_one(network: Network, pick: Callable[[Example], slice], context: int) -> Iterator[list[Tensor]]:
    """Of each example with a prompt and an answer, the picked residuals `[picked, width]` of each block, read alone."""
    for example in EXAMPLES:
        if not example.prompt or not example.answer:
            continue
        ids = [256, *network.tokenizer(example.text)["input_ids"]][-context:]
        found: list[Tensor] = []
        hooks = [
            block.register_forward_hook(lambda _, __, out, found=found: found.append(out[0]))
            for block in network.anatomy.blocks
        ]
        with torch.no_grad():
            network.module(input_ids=torch.tensor([ids]))
        for hook in hooks:
            hook.remove()
        yield [hidden[pick(example)] for hidden in found]


@pytest.mark.parametrize("model_type", ["gpt2", "llama"])
def test_block_features_are_the_hidden_states_of_transformers(model_type):
    network, encoded, context = tiny_network(model_type, dtype=torch.float64), some_text(), 32
    found = features(network, encoded, site="block", tokens=10_000, context=context, seed=0, device="cpu")
    with torch.no_grad():
        read = [
            network.module(input_ids=part[None].long(), output_hidden_states=True)
            for part in encoded.ids.split(context)
        ]
    states = [torch.cat([output.hidden_states[i][0] for output in read]) for i in range(len(found) + 1)]
    assert [x.shape for x in found] == [(len(encoded.ids), 16)] * 3
    for block, state in zip(found[:-1], states[1:-1], strict=True):
        torch.testing.assert_close(block, state.float(), atol=1e-6, rtol=0)
    # the last that transformers gives has gone through the final norm
    body = network.module.base_model
    norm = body.ln_f if model_type == "gpt2" else body.norm
    with torch.no_grad():
        torch.testing.assert_close(norm(found[-1].double()), states[-1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("model_type", ["gpt2", "gpt_neox", "llama", "qwen3", "mistral", "gemma", "opt"])
def test_residual_stream_is_what_blocks_attentions_and_mlps_add_up_to(model_type):
    network, encoded = tiny_network(model_type, dtype=torch.float64), some_text()
    at = {
        site: features(network, encoded, site=site, tokens=60, context=32, seed=3, device="cpu")
        for site in ("block", "attention", "mlp")
    }
    for i in (1, 2):
        total = at["block"][i - 1] + at["attention"][i] + at["mlp"][i]
        torch.testing.assert_close(at["block"][i], total, atol=1e-5, rtol=0)


def test_drawn_tokens_have_the_features_that_they_have_among_all():
    network, encoded = tiny_network(), some_text(600)
    everything = features(network, encoded, site="mlp", tokens=10_000, context=32, seed=0, device="cpu")
    some = features(network, encoded, site="mlp", tokens=25, context=32, seed=5, device="cpu")
    _, drawn = draw_tokens(len(encoded.ids), 25, 32, 5)
    assert len(some) == len(everything) == 3
    for few, all_ in zip(some, everything, strict=True):
        torch.testing.assert_close(few, all_[drawn], atol=1e-5, rtol=0)


@pytest.mark.parametrize("model_type", ["gpt2", "gemma2"])
def test_answers_are_read_after_their_prompts_and_each_example_by_itself(model_type):
    network = tiny_network(model_type, dtype=torch.float64, context=48)
    encoded = encode(EXAMPLES, byte_tokenizer(), "all")

    def found(rows: str) -> list[Tensor]:
        return features(
            network, encoded, site="block", tokens=999, context=None, seed=0, device="cpu", rows=rows, part="answer"
        )

    answers = list(read_one_by_one(network, lambda example: slice(-len(example.answer), None), 48))
    for layer in range(3):
        expected = [blocks[layer] for blocks in answers]
        last, mean = torch.stack([x[-1] for x in expected]), torch.stack([x.mean(0) for x in expected])
        torch.testing.assert_close(found("tokens")[layer], torch.cat(expected).float(), atol=1e-5, rtol=0)
        torch.testing.assert_close(found("last")[layer], last.float(), atol=1e-5, rtol=0)
        torch.testing.assert_close(found("mean")[layer], mean.float(), atol=1e-5, rtol=0)


def test_the_mean_over_an_example_counts_its_prompt_but_no_end_of_text():
    network = tiny_network(dtype=torch.float64, context=48)
    encoded = encode([e for e in EXAMPLES if e.prompt and e.answer], byte_tokenizer(), "answer")
    found = features(network, encoded, site="block", tokens=99, context=None, seed=0, device="cpu", rows="mean")
    # of what is cut, what is read counts
    texts = read_one_by_one(network, lambda example: slice(-min(len(example.text), 48), None), 48)
    expected = torch.stack([blocks[2].mean(0) for blocks in texts])
    torch.testing.assert_close(found[2], expected.float(), atol=1e-5, rtol=0)


def test_fewer_rows_are_some_of_all_in_the_same_order():
    network, encoded = tiny_network(), encode(EXAMPLES, byte_tokenizer(), "all")
    for rows in ("tokens", "last", "mean"):
        everything, few = (
            features(network, encoded, site="mlp", tokens=n, context=40, seed=4, device="cpu", rows=rows, part="answer")
            for n in (999, 7)
        )
        places = torch.cdist(few[1].double(), everything[1].double()).argmin(1)
        assert len(few[1]) == 7
        assert places.equal(places.sort().values)
        torch.testing.assert_close(few[1], everything[1][places], atol=1e-5, rtol=0)


@pytest.mark.parametrize("model_type", ["gpt2", "opt", "gemma"])
def test_the_embedding_comes_before_the_blocks(model_type):
    network, encoded = tiny_network(model_type, dtype=torch.float64), some_text()
    given = {"site": "block", "tokens": 999, "context": 32, "seed": 0, "device": "cpu"}
    first, *blocks = features(network, encoded, **given, embedding=True)
    for block, alone in zip(blocks, features(network, encoded, **given), strict=True):
        assert block.equal(alone)
    with torch.no_grad():
        read = [network.module(input_ids=x[None].long(), output_hidden_states=True) for x in encoded.ids.split(32)]
    torch.testing.assert_close(first, torch.cat([output.hidden_states[0][0] for output in read]).float())


@pytest.mark.parametrize("rows", ["tokens", "last", "mean"])
def test_batches_of_two_networks_belong_together_and_make_up_the_whole(rows):
    texts = [Example(f"{i * 37} and ", f"{i * 7919} or {i}") for i in range(45)]
    encoded = encode(texts, byte_tokenizer(), "all")
    networks = tiny_network(), tiny_network("llama", seed=1, blocks=2, width=32)
    part = "all" if rows == "tokens" else "answer"
    given = {"site": "block", "tokens": 120, "context": 32, "seed": 2, "device": "cpu", "rows": rows, "part": part}
    whole = [features(network, encoded, **given) for network in networks]
    batches = list(zip(*(feature_batches(n, encoded, **given, batch_rows=10) for n in networks), strict=True))
    assert len(batches) == len(whole[0][0]) // 10
    # the layers of both side by side: a row must be one of the whole in all of them at once
    together = torch.cat([layer for network in whole for layer in network], dim=1).double()
    found = torch.cat([torch.cat([layer for network in pair for layer in network], dim=1) for pair in batches]).double()
    assert float(torch.cdist(found, together).amin(1).max()) < 1e-4
    torch.testing.assert_close(found.sum(0), together.sum(0), atol=1e-3, rtol=0)
    assert min(len(left[0]) for left, _ in batches) >= 4


def test_batches_stay_the_same_when_memory_runs_out(monkeypatch):
    network, encoded = tiny_network(), some_text(300)
    given = {"site": "block", "tokens": 300, "context": 16, "seed": 2, "device": "cpu", "batch_rows": 100}
    undisturbed = list(feature_batches(network, encoded, **given))
    forward = network.module.forward

    def small(input_ids: Tensor, **more: object) -> object:
        if len(input_ids) > 3:
            raise torch.OutOfMemoryError
        return forward(input_ids=input_ids, **more)

    monkeypatch.setattr(network.module, "forward", small)
    for halved, whole in zip(feature_batches(network, encoded, **given), undisturbed, strict=True):
        for x, y in zip(halved, whole, strict=True):
            torch.testing.assert_close(x, y, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("router", ["per_block", "shared"])
def test_of_a_composed_network_too_and_its_logits_stay_what_they_are(router):
    a, encoded = tiny_network(), some_text()
    routed = Network(route([a, a], router=router).eval(), a.tokenizer)
    ids = encoded.ids[None, :20].long()
    with torch.no_grad():
        before = routed.logits(ids)
        found = features(routed, encoded, site="mlp", tokens=50, context=32, seed=0, device="cpu")
        assert routed.logits(ids).equal(before)
    # probabilities add up to one, and both experts are a
    one = features(a, encoded, site="mlp", tokens=50, context=32, seed=0, device="cpu")
    for x, y in zip(found, one, strict=True):
        torch.testing.assert_close(x, y, atol=1e-6, rtol=1e-5)


def test_it_tells_how_far_it_is():
    told: list[tuple[int, int]] = []
    tell = lambda done, total: told.append((done, total))  # noqa: E731
    features(tiny_network(), some_text(), site="block", tokens=999, context=16, seed=0, device="cpu", progress=tell)
    assert told[-1] == (len(some_text().ids),) * 2


def test_features_are_float32_even_of_a_bfloat16_network():
    network, encoded = tiny_network(dtype=torch.bfloat16), some_text()
    found = features(network, encoded, site="attention", tokens=20, context=None, seed=0, device="cpu")
    assert {x.dtype for x in found} == {torch.float32}
    assert found[0].equal(found[0].bfloat16().float())


def test_no_hook_stays_behind_even_after_a_failure(monkeypatch):
    network, encoded = tiny_network(), some_text()
    hooks = [block._forward_hooks for block in network.anatomy.blocks]
    features(network, encoded, site="block", tokens=20, context=None, seed=0, device="cpu")
    assert not any(hooks)
    monkeypatch.setattr(network.module.lm_head, "forward", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        features(network, encoded, site="block", tokens=20, context=None, seed=0, device="cpu")
    assert not any(hooks)


def test_an_empty_split_an_unknown_site_and_a_long_context_are_errors():
    network = tiny_network(context=16)
    empty = encode([], byte_tokenizer(), "all")
    with pytest.raises(CompatError, match="no tokens"):
        features(network, empty, site="block", tokens=4, context=None, seed=0, device="cpu")
    with pytest.raises(ValueError, match="no site 'head'; there are block, mlp, attention"):
        features(network, some_text(), site="head", tokens=4, context=None, seed=0, device="cpu")
    with pytest.raises(CompatError, match="more than the 16"):
        features(network, some_text(), site="block", tokens=4, context=99, seed=0, device="cpu")
    with pytest.raises(ValueError, match="no rows 'first'; there are tokens, last, mean"):
        features(network, some_text(), site="block", tokens=4, context=None, seed=0, device="cpu", rows="first")
    with pytest.raises(ValueError, match="no part 'prompt'; there are all, answer"):
        features(network, some_text(), site="block", tokens=4, context=None, seed=0, device="cpu", part="prompt")
    with pytest.raises(CompatError, match="no answer tokens: count all tokens, `part: all`"):
        features(network, some_text(), site="block", tokens=4, context=None, seed=0, device="cpu", part="answer")
