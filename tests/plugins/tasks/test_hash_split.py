"""Splitting by a hash: even, stable, and independent of how much is asked for."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compat_plugins.tasks.hash_split import TEST_SHARE, fill, position, split_of, training_position
from compat_spec.errors import CompatError


@given(st.text(st.characters()))
def test_every_text_has_one_position(text: str) -> None:
    assert 0 <= position(text) < 1
    assert position(text) == position(text)


def test_positions_are_spread_evenly() -> None:
    positions = [position(f"text {i}") for i in range(5_000)]
    for tenth in range(10):
        inside = sum(tenth <= 10 * p < tenth + 1 for p in positions)
        assert abs(inside - 500) < 5 * 500**0.5


@given(st.text())
def test_training_texts_fill_the_whole_range_again(text: str) -> None:
    assert (split_of(text) == "train") == (position(text) >= TEST_SHARE) == (0 <= training_position(text) < 1)


def test_what_a_split_gets_does_not_depend_on_the_size_of_the_other() -> None:
    def some(train: int, test: int) -> dict[str, list[int]]:
        numbers = itertools.count()
        return fill({"train": train, "test": test}, lambda: next(numbers), str, split_of)

    assert some(50, 10)["train"] == some(50, 1)["train"]
    assert some(50, 10)["test"] == some(500, 10)["test"]


def test_fill_leaves_out_duplicates_and_gives_up_when_there_are_no_more() -> None:
    numbers = itertools.cycle(range(8))
    assert sorted(fill({"all": 8}, lambda: next(numbers) % 8, str, lambda _: "all")["all"]) == list(range(8))
    with pytest.raises(CompatError, match="found only 8 of 9 for all: ask for fewer"):
        fill({"all": 9}, lambda: next(numbers), str, lambda _: "all")
