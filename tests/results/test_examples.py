"""The examples that a score is the mean of come back by SQL, to the last bit."""

from __future__ import annotations

import json
import math
import random

import pytest

from compat_spec.results import Results
from tests.results.made_up import on_both, record, score

ODD = [(0, 0.1 + 0.2, 3.0), (4, math.nan, 0.5), (5, math.inf, 1.0), (6, -math.inf, 1.0), (9, -0.0, 1e300)]


@on_both
def test_an_example_is_a_row_with_what_its_score_is_about(results: Results) -> None:
    run = record(
        results,
        [
            score("blend", 2.0, seed=3, step=80, alpha=0.5, examples=[(0, 1.0, 1), (2, 3.0, 1)]),
            score("blend", 0.1, quantity="load", block=0),
        ],
        parameters=["alpha"],
    )
    table = results.query("SELECT * FROM examples ORDER BY example")
    shared = ["routing", run, "blend", "merge", "program", "test", "loss", "loss", 3, 80, 0.5]
    assert table.columns == (
        *("experiment", "run", "merge", "role", "task", "split", "metric", "quantity", "seed", "step", "alpha"),
        *("example", "value", "weight"),
    )
    assert table.rows == [(*shared, 0, 1.0, 1.0), (*shared, 2, 3.0, 1.0)]


@on_both
def test_numbers_come_back_to_the_last_bit(results: Results) -> None:
    draw = random.Random(0)
    many = [(i, draw.gauss(0, 1) * 10 ** draw.randint(-12, 12), draw.random()) for i in range(2000)]
    record(results, [score("average", 1.0, examples=ODD), score("blend", 1.0, examples=many)])
    found = "SELECT example, value, weight FROM examples WHERE merge = '{}' ORDER BY example"
    assert results.query(found.format("blend")).rows == many
    wanted = [(place, None if math.isnan(value) else value, weight) for place, value, weight in ODD]
    assert results.query(found.format("average")).rows == wanted


@on_both
def test_they_belong_to_their_scores_in_whatever_order_those_come(results: Results) -> None:
    rows = [
        score("average", float(seed), seed=seed, quantity=quantity, examples=[(0, float(seed), 1)] * (seed % 3 > 0))
        for seed in range(1500)
        for quantity in ("loss", "accuracy")
    ]
    record(results, rows)
    query = "SELECT count(*), sum(CASE WHEN value = seed THEN 1 END) FROM examples"
    assert results.query(query).rows == [(2000, 2000)]


def test_those_of_a_score_are_one_row(results: Results) -> None:
    record(results, [score("average", 1.0, examples=ODD[:2])])
    ((text,),) = results.query("SELECT examples FROM example_scores").rows
    assert json.loads(text) == [[0, 0.1 + 0.2, 3.0], [4, None, 0.5]]


@on_both
def test_a_score_that_fails_leaves_no_examples(results: Results) -> None:
    with pytest.raises(ValueError, match="this run has no model"):
        record(results, [score("average", 1.0, examples=ODD), score("avrage", 1.0)])
    assert results.query("SELECT count(*) FROM example_scores").rows == [(0,)]
