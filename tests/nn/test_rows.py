"""The rows of features: which tokens are drawn, and what is read to have them."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from compat_spec.nn.data import EncodedSplit
from compat_spec.nn.rows import draw_rows, draw_tokens


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


def stream(lengths: list[tuple[int, int]]) -> EncodedSplit:
    """Of examples with so many tokens in prompt and answer, each with an end of text."""
    ends = torch.tensor([prompt + answer + 1 for prompt, answer in lengths]).cumsum(0)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), ends])
    ids = torch.arange(int(offsets[-1]), dtype=torch.int32)
    prompts = torch.tensor([prompt for prompt, _ in lengths], dtype=torch.int32)
    return EncodedSplit(ids, torch.ones(len(ids), dtype=torch.bool), offsets, prompts)


@given(
    lengths=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=12),
    rows=st.sampled_from(["tokens", "last", "mean"]),
    part=st.sampled_from(["all", "answer"]),
    count=st.integers(1, 40),
    context=st.integers(2, 12),
    seed=st.integers(0, 9),
)
def test_rows_are_tokens_of_what_is_asked_for_and_each_is_read(lengths, rows, part, count, context, seed):
    if part == "answer":
        wanted = [(i, p) for i, (p, a) in enumerate(lengths) if p and a]
    else:
        wanted = [(i, 0) for i, (p, a) in enumerate(lengths) if p + a]
    if not wanted or (rows, part) == ("tokens", "all"):
        return
    encoded = stream(lengths)
    drawn = draw_rows(encoded, rows=rows, part=part, count=count, context=context, seed=seed)
    starts = encoded.offsets.tolist()
    allowed: list[set[int]] = []
    for example, skipped in wanted:
        stop = starts[example + 1] - 1
        allowed.append(set(range(max(starts[example] + skipped, stop - context), stop)))
    places = set((drawn.row_of >= 0).nonzero().flatten().tolist())
    assert places <= set().union(*allowed)
    there = sum(map(len, allowed)) if rows == "tokens" else len(allowed)
    assert drawn.count == int(drawn.row_of.max()) + 1 == min(count, there)
    assert set(drawn.row_of[drawn.row_of >= 0].tolist()) == set(range(drawn.count))
    if rows == "last":
        assert places <= {max(own) for own in allowed}
    if rows == "mean":
        assert sorted(map(sorted, [own for own in allowed if own & places])) == sorted(
            sorted((drawn.row_of == row).nonzero().flatten().tolist()) for row in range(drawn.count)
        )
    # each row is read once, in windows that the network accepts
    read = [place for window in drawn.windows for place in range(max(0, window.start), window.stop) if place in places]
    assert sorted(read) == sorted(places)
    assert all(window.length <= context and window.stop in {s - 1 for s in starts} for window in drawn.windows)


@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=40),
    rows=st.sampled_from(["tokens", "last", "mean"]),
    count=st.integers(1, 300),
    size=st.integers(1, 50),
)
def test_batches_hold_every_row_once_and_about_equally_many(lengths, rows, count, size):
    encoded = stream([(0, length) for length in lengths])
    drawn = draw_rows(encoded, rows=rows, part="all", count=count, context=8, seed=1)
    batches = [drawn.numbers(windows) for windows in drawn.batches(size, 5)]
    assert torch.cat(batches).sort().values.equal(torch.arange(drawn.count))
    for found in batches:
        assert found.equal(found.sort().values)
    if rows != "tokens":  # a window holds one row
        assert {len(found) for found in batches} <= {drawn.count // len(batches), -(-drawn.count // len(batches))}
        assert min(map(len, batches)) >= min(size, drawn.count)


def test_another_seed_draws_other_rows_and_other_batches():
    encoded = stream([(3, 5)] * 50)

    def drawn(seed: int, rows: str) -> Tensor:
        return draw_rows(encoded, rows=rows, part="answer", count=20, context=16, seed=seed).row_of

    for rows in ("tokens", "last", "mean"):
        assert drawn(1, rows).equal(drawn(1, rows))
        assert not drawn(1, rows).equal(drawn(2, rows))
