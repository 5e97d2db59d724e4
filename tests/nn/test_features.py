"""Features are what each block puts out, on the same tokens for every network."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from compat_spec.components import Example
from compat_spec.errors import CompatError
from compat_spec.nn.data import EncodedSplit, encode
from compat_spec.nn.features import draw_tokens, features
from tests.builders import byte_tokenizer, tiny_network


def some_text(tokens: int = 150) -> EncodedSplit:
    words = " ".join(str(i * i % 97) for i in range(tokens))
    return encode(
        [Example("", words[: tokens // 2]), Example("", words[tokens // 2 : tokens])], byte_tokenizer(), "all"
    )


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


def test_another_seed_draws_other_tokens_and_the_same_seed_the_same():
    def drawn(seed: int) -> Tensor:
        return draw_tokens(5000, 50, 64, seed)[1]

    assert drawn(1).equal(drawn(1))
    assert not drawn(1).equal(drawn(2))


@given(length=st.integers(1, 400), tokens=st.integers(1, 100), context=st.integers(1, 50), seed=st.integers(0, 2**31))
def test_as_many_tokens_are_drawn_as_asked_for_each_once_from_the_windows_that_are_read(length, tokens, context, seed):
    windows, drawn = draw_tokens(length, tokens, context, seed)
    assert len(drawn) == min(tokens, length)
    assert drawn.equal(drawn.unique())
    places = drawn.tolist()
    assert all(any(w.start <= place < w.stop for place in places) for w in windows)
    assert all(any(w.start <= place < w.stop for w in windows) for place in places)
    assert all(w.start % context == 0 and w.stop == min(w.start + context, length) for w in windows)
    assert len(windows) * context <= 4 * tokens + 2 * context


def test_every_token_is_as_likely_as_another():
    counts = torch.zeros(60)
    for seed in range(2000):
        counts[draw_tokens(60, 5, 10, seed)[1]] += 1
    # 2000 * 5 / 60 on average; the deviation of a count is about 12
    assert 110 < float(counts.min()) <= float(counts.max()) < 225


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
