"""Intervals: against formulas written naively, against scipy, and for how often they hold the truth."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from compat_spec.statistics import Interval, over_examples, over_seeds, over_seeds_and_examples

shapes = st.tuples(st.integers(1, 6), st.integers(1, 9), st.integers(0, 2**32 - 1))


def drawn(seeds: int, examples: int, number: int) -> tuple[Any, Any]:
    generator = np.random.default_rng(number)
    return generator.normal(size=(seeds, examples)), generator.integers(1, 50, examples).astype(float)


def ends(interval: Interval) -> tuple[float, float, float]:
    return interval.mean, interval.low, interval.high


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=9), st.sampled_from([0.5, 0.9, 0.95]))
def test_over_seeds_it_is_that_of_students_t(values: list[float], level: float) -> None:
    found = over_seeds(values, level=level)
    if np.std(values) > 1e-6:
        wanted = stats.ttest_1samp(values, 0)
        low, high = wanted.confidence_interval(level)
        assert ends(found) == pytest.approx((np.mean(values), low, high), abs=1e-9)
        assert found.p_value() == pytest.approx(wanted.pvalue, rel=1e-6)
    assert (found.over, found.level) == ("seeds", level)


@given(shapes)
def test_over_examples_it_is_that_of_the_ratio_of_two_sums(shape: tuple[int, int, int]) -> None:
    values, weights = drawn(1, shape[1] + 1, shape[2])
    n, x, w = len(weights), values[0], weights
    mean = sum(w * x) / sum(w)
    error = math.sqrt(n / (n - 1) * sum((w[i] * (x[i] - mean)) ** 2 for i in range(n))) / sum(w)
    reach = stats.t.ppf(0.975, n - 1) * error
    found = over_examples(x, w)
    assert ends(found) == pytest.approx((mean, mean - reach, mean + reach))
    assert (found.over, found.examples) == ("examples", n)


@given(shapes)
def test_over_both_it_is_that_of_the_analysis_of_variance(shape: tuple[int, int, int]) -> None:
    s, e = shape[0] + 1, shape[1] + 1
    values, _ = drawn(s, e, shape[2])
    grand = values.mean()
    row, column = values.mean(1), values.mean(0)
    ms_seeds = e * sum((row[i] - grand) ** 2 for i in range(s)) / (s - 1)
    ms_examples = s * sum((column[j] - grand) ** 2 for j in range(e)) / (e - 1)
    rest = sum((values[i, j] - row[i] - column[j] + grand) ** 2 for i in range(s) for j in range(e))
    beyond = max(ms_examples - rest / (s - 1) / (e - 1), 0)
    error = math.sqrt((ms_seeds + beyond) / (s * e))
    quantiles = stats.t.ppf(0.975, s - 1), stats.t.ppf(0.975, e - 1)
    reach = math.sqrt((quantiles[0] ** 2 * ms_seeds + quantiles[1] ** 2 * beyond) / (s * e))
    found = over_seeds_and_examples(values)
    assert (found.mean, found.error) == pytest.approx((grand, error))
    assert found.high - found.mean == pytest.approx(reach)
    assert found.over == "seeds and examples"


@given(shapes, st.sampled_from([0.001, 0.05, 0.3, 0.9]))
def test_a_p_value_is_of_the_interval_that_just_reaches(shape: tuple[int, int, int], p: float) -> None:
    values, weights = drawn(*shape)
    if values.size > 1:
        found = over_seeds_and_examples(values, weights, level=1 - p)
        assert found.p_value(found.low) == pytest.approx(p, rel=1e-6)
        assert found.p_value(found.high) == pytest.approx(p, rel=1e-6)
        assert found.p_value(found.mean) == pytest.approx(1)


@given(shapes)
def test_one_seed_and_one_example_are_special_cases(shape: tuple[int, int, int]) -> None:
    values, weights = drawn(*shape)
    assert over_seeds_and_examples(values[:1], weights) == over_examples(values[0], weights)
    assert over_seeds_and_examples(values[:, :1]) == over_seeds(values[:, 0])


@given(shapes)
def test_the_mean_is_that_of_the_means_of_the_seeds(shape: tuple[int, int, int]) -> None:
    values, weights = drawn(*shape)
    found = over_seeds_and_examples(values, weights).mean
    assert found == pytest.approx(np.mean([np.average(of_seed, weights=weights) for of_seed in values]))


@given(shapes, st.floats(-50, 50), st.floats(0.01, 100))
def test_units_do_not_matter(shape: tuple[int, int, int], shift: float, scale: float) -> None:
    values, weights = drawn(*shape)
    before, after = (
        over_seeds_and_examples(x, y) for x, y in ((values, weights), (shift + scale * values, weights / 7))
    )
    assert ends(after) == pytest.approx([shift + scale * end for end in ends(before)], abs=1e-8, nan_ok=True)


@given(shapes)
def test_an_example_of_weight_two_is_two_examples_but_for_their_number(shape: tuple[int, int, int]) -> None:
    values, _ = drawn(*shape)
    doubled = over_seeds_and_examples(values, np.full(values.shape[1], 2.0))
    assert ends(doubled) == pytest.approx(ends(over_seeds_and_examples(values)), nan_ok=True)


@pytest.mark.parametrize(("seeds", "examples"), [(3, 80), (5, 40)])
@pytest.mark.parametrize("spreads", [(0, 1, 0.5), (0.1, 1, 0.5), (1, 1, 0.5), (0, 0, 1)])
def test_it_holds_the_truth_about_as_often_as_it_says(
    seeds: int, examples: int, spreads: tuple[float, float, float]
) -> None:
    generator = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        of_seed, of_example, of_both = (
            spread * generator.normal(size=size)
            for spread, size in zip(spreads, [(seeds, 1), (1, examples), (seeds, examples)], strict=True)
        )
        found = over_seeds_and_examples(of_seed + of_example + of_both)
        held += found.low <= 0 <= found.high
    assert 0.93 <= held / 400 <= 0.995


@pytest.mark.parametrize("seeds", [2, 3])
@pytest.mark.parametrize("spreads", [(0.5, 1), (1, 1), (0, 0)])
def test_few_seeds_make_no_small_p_values(seeds: int, spreads: tuple[float, float]) -> None:
    generator = np.random.default_rng(0)
    small = 0
    for _ in range(2000):
        of_seed, of_example = spreads[0] * generator.normal(size=(seeds, 1)), spreads[1] * generator.normal(size=60)
        small += over_seeds_and_examples(of_seed + of_example + generator.normal(size=(seeds, 60))).p_value() < 0.001
    assert small / 2000 <= 0.002


def test_seeds_that_agree_by_chance_are_not_sure_of_anything() -> None:
    """As many answers right with either seed, but others: that says nothing of a third seed."""
    assert over_seeds_and_examples([[1, 0, 1, 0, 0, 0], [0, 1, 0, 0, 0, 1]]).p_value() > 0.05
    generator = np.random.default_rng(0)
    right = generator.random((2, 2000, 2, 30)) < 0.3
    small = sum(over_seeds_and_examples(a.astype(float) - b).p_value() < 0.001 for a, b in zip(*right, strict=True))
    assert small / 2000 <= 0.002


def test_resampling_three_seeds_would_hold_the_truth_too_seldom() -> None:
    generator = np.random.default_rng(0)
    held = 0
    for _ in range(300):
        values = generator.normal(size=(3, 1)) + generator.normal(size=40) + 0.5 * generator.normal(size=(3, 40))
        of_seeds = generator.multinomial(3, [1 / 3] * 3, 500) / 3
        of_examples = generator.multinomial(40, [1 / 40] * 40, 500) / 40
        low, high = np.quantile(((of_seeds @ values) * of_examples).sum(1), [0.025, 0.975])
        held += low <= 0 <= high
    assert held / 300 < 0.85, "the pigeonhole bootstrap (Owen, 2007)"


def test_with_many_seeds_and_examples_it_is_that_of_the_pigeonhole_bootstrap() -> None:
    generator = np.random.default_rng(1)
    values = 0.5 * generator.normal(size=(60, 1)) + generator.normal(size=300) + 0.1 * generator.normal(size=(60, 300))
    of_seeds = generator.multinomial(60, [1 / 60] * 60, 4000) / 60
    of_examples = generator.multinomial(300, [1 / 300] * 300, 4000) / 300
    resampled = ((of_seeds @ values) * of_examples).sum(1)
    found = over_seeds_and_examples(values)
    assert found.error == pytest.approx(np.std(resampled), rel=0.05)
    assert (found.low, found.high) == pytest.approx(np.quantile(resampled, [0.025, 0.975]), abs=0.03)


def test_over_many_examples_it_is_that_of_the_bootstrap() -> None:
    values, weights = drawn(1, 200, 3)
    found = over_examples(values[0], weights)
    resampled = stats.bootstrap(
        (values[0], weights),
        lambda x, w, axis: (x * w).sum(axis) / w.sum(axis),
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=3000,
        rng=np.random.default_rng(0),
    )
    assert found.error == pytest.approx(resampled.standard_error, rel=0.06)
    assert (found.low, found.high) == pytest.approx(tuple(resampled.confidence_interval), abs=0.02)


def test_what_cannot_be_said_is_not_a_number() -> None:
    alone = over_seeds([2.5])
    assert alone.mean == 2.5
    assert math.isnan(alone.low)
    assert math.isnan(alone.p_value())
    assert alone.over == "nothing"
    for bad in (math.nan, math.inf):
        found = over_seeds_and_examples([[1.0, 2.0], [bad, 3.0]])
        assert math.isnan(found.low)
        assert not math.isfinite(found.mean)


def test_without_any_spread_the_interval_is_a_point() -> None:
    assert ends(over_seeds_and_examples(np.zeros((3, 5)))) == (0, 0, 0)
    assert over_seeds_and_examples(np.zeros((3, 5))).p_value() == 1
    assert over_seeds([1.0, 1.0]).p_value() == 0
    assert over_seeds([0.7 - 0.6] * 3).error == 0, "but for rounding"


@pytest.mark.parametrize(
    ("values", "weights", "message"),
    [
        ([[1.0, 2.0]], [1.0], "do not go with"),
        ([[1.0, 2.0]], [1.0, -1.0], "not negative"),
        ([[1.0, 2.0]], [0.0, 0.0], "not all 0"),
        ([[1.0, 2.0]], [1.0, math.nan], "finite"),
        ([1.0, 2.0], None, "seeds, examples"),
        ([[]], None, "at least one"),
    ],
)
def test_what_makes_no_sense_is_refused(values: Any, weights: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        over_seeds_and_examples(values, weights)


def test_a_level_is_a_share() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        over_seeds([1.0, 2.0], level=95)
