"""The verdict in words: what is best, by how much, and what cannot be told."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from compat_spec.report.data.gathered import gather
from compat_spec.report.data.intervals import Interval
from compat_spec.report.page.verdict import Verdict, verdicts
from compat_spec.report.wording import number
from compat_spec.results import ModelRow, Results, ScoreRow
from compat_spec.statistics import over_seeds_and_examples
from tests.results.made_up import MODELS, record, score


def verdict(results: Results, scores: list[ScoreRow], **more: Any) -> Verdict:
    record(results, scores, **more)
    return verdicts(gather(results))[0]


def test_the_best_merge_is_compared_with_base_experts_and_fine_tuning(results: Results) -> None:
    found = verdict(
        results,
        [score("average", 2.0), score("base", 3.0), score("math", 2.5), score("code", 4.0), score("blend", 2.25)],
    )
    assert found.sentences == (
        "Of 2 merges, average has the lowest loss: 2.000 nats per token.",
        "That is 1.000 below the base and 0.500 below the best expert (math).",
        "Next comes blend with 2.250.",
    )
    assert "One seed" in found.doubts[0]
    assert [(line.model, line.place) for line in found.lines] == [
        ("average", 1),
        ("blend", 2),
        ("math", None),
        ("base", None),
        ("code", None),
    ]


def test_differences_are_taken_seed_by_seed(results: Results) -> None:
    """Seeds that differ by much, models by the same in each: the difference is certain, the means are not."""
    rows = [score("average", 2.0 + seed, seed=seed) for seed in (0, 1, 2)]
    rows += [score("base", 3.0 + seed, seed=seed) for seed in (0, 1, 2)]
    found = verdict(results, rows)
    assert "That is 1.000 [1.000,\u00a01.000] below the base." in found.sentences
    # 3 ± 4.30265 · 1 / √3
    assert found.sentences[0] == "The merge average has a loss of 3.000 [0.516,\u00a05.484] nats per token."


@pytest.mark.parametrize(("distances", "told"), [((0.2, 0.21, 0.22), True), ((0.2, -0.3, 0.25), False)])
def test_two_that_cannot_be_told_apart_are_said_so(results: Results, distances: tuple[float, ...], told: bool) -> None:
    rows = [score("average", 2.0, seed=seed) for seed in (0, 1, 2)]
    rows += [score("blend", 2.0 + distance, seed=seed) for seed, distance in enumerate(distances)]
    (sentence,) = [one for one in verdict(results, rows).sentences if one.startswith("Next")]
    assert ("too little to say which of the two is better" in sentence) != told


def test_higher_is_better_for_accuracy(results: Results) -> None:
    rows = [score("average", 0.5, quantity="accuracy"), score("blend", 0.75, quantity="accuracy")]
    assert verdict(results, rows).sentences[0] == "Of 2 merges, blend has the highest accuracy: 0.750."


def test_sweeps_diverged_seeds_and_missing_seeds_are_doubts(results: Results) -> None:
    rows = [score("blend", 2.0 + alpha, alpha=alpha, seed=seed) for alpha in (0.0, 0.5) for seed in (0, 1)]
    rows += [score("average", 3.0), score("base", math.nan), score("base", 1.0, seed=1)]
    doubts = " ".join(verdict(results, rows, parameters=["alpha"]).doubts)
    assert "2 seeds: intervals (Student's t) are wide" in doubts
    assert "flatters merges with many points (blend: 2)" in doubts
    assert "Not on all 2 seeds: average." in doubts
    assert "No number (NaN or infinite, at every point or for some seed): base." in doubts


def test_a_task_without_merges_has_its_best_model(results: Results) -> None:
    found = verdict(results, [score("math", 1.0, task="math"), score("base", 2.0, task="math")])
    assert found.sentences == ("No merge was measured. Of 2 models, math has the lowest loss: 1.000 nats per token.",)
    assert not found.has_merges


def test_numbers_per_example_make_intervals_over_both(results: Results) -> None:
    """As `compat_spec.statistics` has them, of the values and of their differences in pairs."""
    values = {"average": [[1.0, 2.0, 4.5], [1.5, 2.25, 4.0]], "base": [[2.0, 2.5, 6.0], [2.25, 3.5, 5.0]]}
    weights = [1.0, 2.0, 5.0]
    rows = [
        score(
            model,
            float(np.average(own, weights=weights)),
            seed=seed,
            examples=[(place, value, weight) for place, (value, weight) in enumerate(zip(own, weights, strict=True))],
        )
        for model, of_model in values.items()
        for seed, own in enumerate(of_model)
    ]
    found = verdict(results, rows)
    (cell,) = found.lines[0].cells
    expected = over_seeds_and_examples(values["average"], weights)
    assert cell is not None
    assert (cell.mean, cell.low, cell.high) == pytest.approx((expected.mean, expected.low, expected.high))
    assert cell.over == found.over == "2 seeds and 3 examples"
    difference = over_seeds_and_examples(np.array(values["base"]) - np.array(values["average"]), weights)
    low, high = number(difference.low), number(difference.high)
    assert f"That is {number(difference.mean)} [{low},\u00a0{high}] below the base." in found.sentences


def test_one_seed_has_an_interval_over_its_examples(results: Results) -> None:
    examples = [(place, float(place), 1.0) for place in range(40)]
    found = verdict(results, [score("average", 19.5, examples=examples), score("blend", 25.0)])
    assert found.over == "40 examples"
    assert found.doubts[0].startswith("One seed. Intervals are over 40 examples, of these trained models only:")
    assert found.lines[1].cells[0] == Interval(25.0, None, None, 1)


def test_seeds_on_different_examples_are_compared_as_wholes(results: Results) -> None:
    rows = [
        score("average", 1.5 + seed, seed=seed, examples=[(seed, 1.0 + seed, 1.0), (7, 2.0 + seed, 1.0)])
        for seed in (0, 1)
    ]
    assert verdict(results, rows).over == "2 seeds"


def test_what_may_be_chance_is_said_of_models_and_of_all_merges(results: Results) -> None:
    """Not only of the merge that comes next: here that one is certainly worse, and the one after it may not be."""
    values = {
        "average": (2.0, 2.0, 2.0),
        "blend": (2.02, 2.021, 2.019),
        "third": (1.5, 2.2, 2.5),
        "base": (1.5, 2.5, 2.75),
        "math": (3.0, 3.1, 3.0),
    }
    rows = [score(model, value, seed=seed) for model, of in values.items() for seed, value in enumerate(of)]
    found = verdict(results, rows, models=(*MODELS, ModelRow(name="third", role="merge")))
    assert "Its distance from the base may be chance: the interval holds 0." in found.sentences
    assert found.sentences[-1] == "It cannot be told from 1 other merge: third."
    assert "its intervals do not allow for the choice" in " ".join(found.doubts)


def test_several_metrics_of_one_quantity_are_a_doubt(results: Results) -> None:
    rows = [score("average", 2.0 + i, seed=seed, metric=metric) for seed in (0, 1) for i, metric in enumerate("ab")]
    found = verdict(results, [*rows, *(score("average", 0.5, quantity="accuracy", seed=seed) for seed in (0, 1))])
    (doubt,) = [one for one in found.doubts if "metric" in one]
    assert doubt.startswith("Each loss is a mean of what 2 metrics found (a and b)")
    assert "compat compare --metric a" in doubt
