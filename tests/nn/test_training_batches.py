"""Training batches: which windows, how many of each task, and that a step's batch is always the same."""

from __future__ import annotations

import pytest
import torch

from compat_spec.errors import CompatError
from compat_spec.nn.batches import IGNORED, Batches
from compat_spec.nn.data import EncodedSplit


def plain(first: int, tokens: int) -> EncodedSplit:
    """A stream of plain text with the ids `first`, `first + 1` …"""
    ids = torch.arange(first, first + tokens, dtype=torch.int32)
    return EncodedSplit(
        ids, torch.ones(tokens, dtype=torch.bool), torch.tensor([0, tokens]), torch.zeros(1, dtype=torch.int32)
    )


def answers(*lengths: tuple[int, int]) -> EncodedSplit:
    """A stream of examples with prompts and answers (their end included) of these lengths; only answers are scored."""
    offsets = torch.tensor([0, *(p + a for p, a in lengths)]).cumsum(0)
    scored = torch.tensor([inside for p, a in lengths for inside in [False] * p + [True] * a])
    prompts = torch.tensor([p for p, _ in lengths], dtype=torch.int32)
    return EncodedSplit(torch.arange(len(scored), dtype=torch.int32), scored, offsets, prompts)


def test_targets_are_the_next_tokens() -> None:
    batches = Batches({"a": plain(100, 50)}, {"a": 1.0}, rows=7, context=5, seed=3)
    inputs, targets = batches.draw(0)
    assert inputs.shape == targets.shape == (7, 5)
    assert inputs.dtype == targets.dtype == torch.int64
    torch.testing.assert_close((inputs - 100 + 1) % 50 + 100, targets)


def test_windows_start_anywhere_in_plain_text() -> None:
    batches = Batches({"a": plain(0, 9)}, {"a": 1.0}, rows=20, context=4, seed=0)
    starts = {int(row) for step in range(20) for row in batches.draw(step)[0][:, 0]}
    assert starts == set(range(9))


def test_a_stream_shorter_than_the_context_goes_round() -> None:
    batches = Batches({"a": plain(0, 3)}, {"a": 1.0}, rows=1, context=7, seed=0)
    inputs, targets = batches.draw(0)
    start = int(inputs[0, 0])
    assert inputs[0].tolist() == [(start + i) % 3 for i in range(7)]
    assert targets[0].tolist() == [(start + i + 1) % 3 for i in range(7)]


def test_where_answers_are_scored_windows_start_at_examples_and_hold_an_answer() -> None:
    split = answers((3, 2), (6, 1), (1, 4), (9, 2))
    batches = Batches({"a": split}, {"a": 1.0}, rows=50, context=7, seed=1)
    inputs, targets = batches.draw(0)
    # the token before a window's first target is the end of the example before; of the first, the end of the stream
    assert {int(start) for start in inputs[:, 0]} == {len(split.ids) - 1, 4, 11}
    assert ((targets != IGNORED).sum(1) > 0).all()
    for row, row_targets in zip(inputs, targets, strict=True):
        places = (row + 1) % len(split.ids)
        assert torch.equal(row_targets != IGNORED, split.scored[places])
        assert torch.equal(row_targets[split.scored[places]], places[split.scored[places]])


def test_answers_out_of_reach_of_the_context_are_refused() -> None:
    with pytest.raises(CompatError, match=r"task far .* context of 8 tokens"):
        Batches({"far": answers((8, 3))}, {"far": 1.0}, rows=1, context=8, seed=0)


def test_a_task_without_text_is_refused() -> None:
    with pytest.raises(CompatError, match="task empty has no text"):
        Batches({"empty": plain(0, 0)}, {"empty": 1.0}, rows=1, context=8, seed=0)


def test_a_batch_depends_on_its_seed_and_step_only() -> None:
    streams, shares = {"a": plain(0, 500), "b": plain(1000, 300)}, {"a": 0.7, "b": 0.3}
    one = Batches(streams, shares, rows=4, context=6, seed=5)
    other = Batches(streams, shares, rows=4, context=6, seed=5)
    one.draw(0)
    torch.rand(3)
    assert torch.equal(one.draw(9)[0], other.draw(9)[0])
    assert not torch.equal(one.draw(9)[0], one.draw(10)[0])
    assert not torch.equal(one.draw(9)[0], Batches(streams, shares, rows=4, context=6, seed=6).draw(9)[0])


def tasks_of(batches: Batches, step: int) -> list[int]:
    inputs = batches.draw(step)[0]
    return [int(((inputs[:, 0] // 1000) == task).sum()) for task in range(3)]


def test_equal_shares_are_equal_in_every_batch() -> None:
    streams = {name: plain(1000 * i, 90) for i, name in enumerate("abc")}
    batches = Batches(streams, {"a": 0.5, "b": 0.25, "c": 0.25}, rows=8, context=4, seed=2)
    assert all(tasks_of(batches, step) == [4, 2, 2] for step in range(50))


def test_uneven_shares_are_met_by_the_steps_together() -> None:
    streams = {name: plain(1000 * i, 90) for i, name in enumerate("abc")}
    shares = {"a": 0.55, "b": 0.27, "c": 0.18}
    batches = Batches(streams, shares, rows=3, context=4, seed=2)
    drawn = torch.tensor([tasks_of(batches, step) for step in range(400)])
    assert (drawn.sum(1) == 3).all()
    expected = 3 * torch.tensor(list(shares.values()))
    assert ((drawn - expected).abs() < 1).all(), "a share is rounded up or down, no further"
    # 1,200 windows drawn one by one would miss by 17; evened out over the steps they miss by a few
    assert ((drawn.sum(0) - 400 * expected).abs() < 4).all()


def test_a_single_row_takes_turns() -> None:
    streams = {name: plain(1000 * i, 90) for i, name in enumerate("abc")}
    batches = Batches(streams, {"a": 0.5, "b": 0.5}, rows=1, context=4, seed=0)
    drawn = [tasks_of(batches, step)[0] for step in range(40)]
    assert 18 <= sum(drawn) <= 22
