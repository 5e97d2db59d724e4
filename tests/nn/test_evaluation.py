"""Every scored token is predicted once, from what stands before it, and no number depends on how it was computed."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from compat_spec.components import Example
from compat_spec.errors import CompatError
from compat_spec.nn.data import EncodedSplit, encode
from compat_spec.nn.evaluation import inference, token_scores
from compat_spec.nn.network import Network
from compat_spec.nn.windows import evaluation_windows, read_in_batches
from tests.builders import byte_tokenizer, tiny_network

PROBLEMS = [
    Example("2+3=", "5"),
    Example("What is one and one? ", "two, of course"),
    Example("x" * 30, "a" * 25),  # longer than the context of 24
    Example("?", "!"),
    Example("count: ", "1 2 3 4"),
]
TEXT = [
    Example("", "Once upon a time there was a king."),
    Example("", "He had a dog."),
    Example("", "The end, at last!"),
]


def problems() -> EncodedSplit:
    return encode(PROBLEMS, byte_tokenizer(), "answer")


def text() -> EncodedSplit:
    return encode(TEXT, byte_tokenizer(), "all")


def naive_loss(network: Network, ids: Tensor, target: int, start: int) -> float:
    """-log p of the token at `target` given those from `start` on, in float64 by the definition."""
    with torch.no_grad():
        logits = network.logits(ids[None, start:target].long())[0, -1].double()
    probabilities = logits.exp() / logits.exp().sum()
    return -float(probabilities[int(ids[target])].log())


def lengths_to_split(lengths: list[tuple[int, int]]) -> EncodedSplit:
    offsets, scored = [0], []
    for prompt, answer in lengths:
        scored += [False] * prompt + [True] * answer
        offsets.append(len(scored))
    return EncodedSplit(
        ids=torch.arange(len(scored), dtype=torch.int32) % 256,
        scored=torch.tensor(scored),
        offsets=torch.tensor(offsets),
        prompt_lengths=torch.tensor([p for p, _ in lengths], dtype=torch.int32),
    )


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), min_size=1, max_size=12),
    st.integers(2, 12),
    st.none() | st.integers(1, 60),
)
def test_windows_hold_each_token_once_and_examples_that_fit_are_whole(lengths, context, tokens):
    encoded = lengths_to_split(lengths)
    windows = evaluation_windows(encoded, tokens, context)
    covered = [place for window in windows for place in range(window.start, window.stop)]
    assert covered == list(range(1, 1 + len(covered)))
    assert all(1 <= window.length <= context for window in windows)
    if tokens is None:
        assert len(covered) == len(encoded.ids) - 1
    if encoded.scored.all():
        return
    ends = encoded.offsets.tolist()
    assert not covered or covered[-1] + 1 in ends
    if tokens is not None:
        assert len(covered) <= max(tokens, ends[1] - 1)
    starts = {window.start for window in windows}
    for start, end in itertools.pairwise(ends):
        if end - start <= context:
            assert not any(start < cut < end for cut in starts if cut > 1)


def test_scores_of_plain_text_agree_with_a_loop_in_float64():
    network, encoded, context = tiny_network(dtype=torch.float64), text(), 24
    scores = token_scores(network, encoded, tokens=None, context=context, device="cpu")
    assert len(scores) == len(encoded.ids) - 1
    for target in range(1, len(encoded.ids)):
        start = (target - 1) // context * context
        expected = naive_loss(network, encoded.ids, target, start)
        assert float(scores.loss[target - 1]) == pytest.approx(expected, abs=1e-5)


def test_an_answer_is_predicted_from_its_whole_prompt():
    network, encoded = tiny_network(dtype=torch.float64), problems()
    scores = token_scores(network, encoded, tokens=None, context=24, device="cpu")
    targets = encoded.scored.nonzero().flatten().tolist()
    assert len(scores) == len(targets) == sum(len(example.answer) + 1 for example in PROBLEMS)
    windows = evaluation_windows(encoded, None, 24)
    expected = [
        naive_loss(network, encoded.ids, target, next(w.start - 1 for w in windows if w.start <= target < w.stop))
        for target in targets
    ]
    torch.testing.assert_close(scores.loss, torch.tensor(expected), atol=1e-5, rtol=0)
    assert scores.mean_loss == pytest.approx(sum(expected) / len(expected), abs=1e-6)


def test_scores_name_the_example_of_each_token():
    scores = token_scores(tiny_network(), problems(), tokens=None, context=24, device="cpu")
    assert scores.sequence.tolist() == [i for i, e in enumerate(PROBLEMS) for _ in range(len(e.answer) + 1)]


def test_examples_alone_score_as_they_do_together_where_a_window_holds_one():
    network, encoded, context = tiny_network(), problems(), 40
    together = token_scores(network, encoded, tokens=None, context=context, device="cpu")
    end = byte_tokenizer().eos_token_id
    ids = torch.tensor([[end, *encoded.ids[encoded.offsets[1] : encoded.offsets[2]].tolist()]])
    # the window of the second example holds nothing else: with the first it does not fit, and the third is too long
    with torch.no_grad():
        log_p = network.logits(ids[:, :-1])[0].log_softmax(-1)
    n = len(PROBLEMS[1].answer) + 1
    expected = -log_p[-n:].gather(1, ids[0, -n:, None])[:, 0]
    assert len(PROBLEMS[1].text) < context < len(PROBLEMS[0].text) + len(PROBLEMS[1].text) + 1
    torch.testing.assert_close(together.loss[together.sequence == 1], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("make", [text, problems])
@pytest.mark.parametrize("batch_tokens", [1, 50, 100_000])
def test_batches_and_padding_change_nothing(make, batch_tokens):
    network, encoded = tiny_network(dtype=torch.float64), make()
    usual = token_scores(network, encoded, tokens=None, context=24, device="cpu")
    scores = token_scores(network, encoded, tokens=None, context=24, device="cpu", batch_tokens=batch_tokens)
    torch.testing.assert_close(scores.loss, usual.loss, atol=1e-6, rtol=0)
    assert scores.correct.equal(usual.correct)
    assert scores.sequence.equal(usual.sequence)


def test_tokens_limit_plain_text_exactly_and_answers_to_whole_examples():
    network = tiny_network()
    whole = token_scores(network, text(), tokens=None, context=8, device="cpu")
    some = token_scores(network, text(), tokens=20, context=8, device="cpu")
    assert len(some) == 20
    torch.testing.assert_close(some.loss, whole.loss[:20])
    first_two = len(PROBLEMS[0].text) + len(PROBLEMS[1].text) + 2
    answers = token_scores(network, problems(), tokens=first_two + 3, context=64, device="cpu")
    assert set(answers.sequence.tolist()) == {0, 1}
    assert set(token_scores(network, problems(), tokens=1, context=64, device="cpu").sequence.tolist()) == {0}


class AlwaysNext(nn.Module):
    """Is sure that each token is followed by the next one of the vocabulary."""

    def forward(self, input_ids: Tensor, use_cache: bool = False) -> object:
        logits = 50.0 * nn.functional.one_hot((input_ids + 1) % 257, 257).float()
        return type("Output", (), {"logits": logits})


def test_a_sure_network_is_right_where_it_is_right_and_pays_where_not():
    ids = torch.tensor([10, 11, 12, 40, 41], dtype=torch.int32)
    encoded = EncodedSplit(
        ids, torch.ones(5, dtype=torch.bool), torch.tensor([0, 5]), torch.zeros(1, dtype=torch.int32)
    )
    scores = token_scores(Network(AlwaysNext(), byte_tokenizer()), encoded, tokens=None, context=None, device="cpu")
    assert scores.correct.tolist() == [True, True, False, True]
    assert scores.accuracy == 0.75
    assert scores.mean_loss == pytest.approx(50 / 4, rel=1e-6)


def test_a_bfloat16_network_is_scored_in_float32():
    network = tiny_network(dtype=torch.bfloat16)
    scores = token_scores(network, text(), tokens=None, context=24, device="cpu")
    with torch.no_grad():
        logits = network.logits(text().ids[None, :24].long())[0].float()
    expected = nn.functional.cross_entropy(logits, text().ids[1:25].long(), reduction="none")
    torch.testing.assert_close(scores.loss[:24], expected, atol=1e-6, rtol=0)


def test_dropout_is_off_and_each_part_keeps_its_mode():
    network = tiny_network(resid_pdrop=0.5)
    expected = token_scores(network, text(), tokens=None, context=24, device="cpu")
    network.module.train()
    network.anatomy.blocks[0].eval()
    modes = [part.training for part in network.module.modules()]
    scores = token_scores(network, text(), tokens=None, context=24, device="cpu")
    assert scores.loss.equal(expected.loss)
    assert [part.training for part in network.module.modules()] == modes
    with pytest.raises(KeyError), inference(network.module):
        raise KeyError
    assert [part.training for part in network.module.modules()] == modes


def test_context_is_what_the_network_accepts_by_default_and_no_more():
    network = tiny_network(context=16)
    usual = token_scores(network, text(), tokens=None, context=None, device="cpu")
    assert usual.loss.equal(token_scores(network, text(), tokens=None, context=16, device="cpu").loss)
    with pytest.raises(CompatError, match="context of 17 tokens is more than the 16"):
        token_scores(network, text(), tokens=None, context=17, device="cpu")


@pytest.mark.parametrize("examples", [[], [Example("", "")]])
def test_nothing_to_score_is_an_error(examples):
    with pytest.raises(CompatError, match="no token to score"):
        token_scores(tiny_network(), encode(examples, byte_tokenizer(), "all"), tokens=None, context=None, device="cpu")


def test_progress_ends_at_all_tokens():
    seen: list[tuple[int, int]] = []
    encoded = text()
    token_scores(
        tiny_network(),
        encoded,
        tokens=None,
        context=8,
        device="cpu",
        batch_tokens=16,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == sorted(seen)
    assert len(seen) > 2
    assert seen[-1] == (len(encoded.ids) - 1, len(encoded.ids) - 1)


def test_a_batch_that_does_not_fit_is_halved_and_no_window_is_lost():
    read = []

    def reads_three_at_most(batch):
        if len(batch) > 3:
            raise torch.OutOfMemoryError
        read.extend(batch)

    windows = evaluation_windows(text(), None, 5)
    read_in_batches(windows, 1000, reads_three_at_most)
    assert sorted(read) == windows


def test_one_sequence_that_does_not_fit_is_an_error_that_says_what_to_change():
    def reads_nothing(_):
        raise torch.OutOfMemoryError

    with pytest.raises(CompatError, match="one sequence of 5 tokens; choose a smaller `context`"):
        read_in_batches(evaluation_windows(text(), None, 5), 1000, reads_nothing)
