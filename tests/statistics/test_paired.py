"""Paired tests and effects against scipy, and corrections against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from compat_spec.statistics import (
    benjamini_hochberg,
    effect_size,
    holm,
    over_examples,
    sign_flips,
    win_rate,
)

numbers = st.lists(st.floats(-5, 5).map(lambda x: round(x, 3)), min_size=1, max_size=9)
p_values = st.lists(st.floats(0, 1), min_size=1, max_size=9)


@given(numbers)
def test_few_differences_are_tested_exactly(differences: list[float]) -> None:
    found = sign_flips(differences)
    signs = np.array(np.meshgrid(*[[1, -1]] * len(differences))).reshape(len(differences), -1)
    sums = np.abs(differences @ signs)
    assert found.p_value == pytest.approx((sums >= abs(sum(differences)) - 1e-9).mean())
    assert found.exact


def test_it_is_the_permutation_test_of_scipy() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 9))
    wanted = stats.permutation_test((a, b), lambda x, y: np.mean(x - y), permutation_type="samples")
    assert sign_flips(a - b).p_value == pytest.approx(wanted.pvalue)


@pytest.mark.parametrize("shift", [0.0, 0.1, 0.2])
def test_many_differences_are_tested_by_random_flips(shift: float) -> None:
    differences = np.random.default_rng(0).normal(shift, 1, 500)
    found = sign_flips(differences)
    assert (found.exact, found.flips) == (False, 10_000)
    assert found == sign_flips(differences), "the same flips each time"
    assert found.p_value == pytest.approx(stats.ttest_1samp(differences, 0).pvalue, rel=0.1, abs=3e-4)


def test_ranks_agree_about_what_is_plain() -> None:
    differences = np.random.default_rng(1).normal(0.3, 1, 200)
    assert max(sign_flips(differences).p_value, stats.wilcoxon(differences).pvalue) < 1e-3


def test_when_the_two_are_alike_small_p_values_are_as_frequent_as_they_should_be() -> None:
    generator = np.random.default_rng(2)
    found = np.array([sign_flips(generator.standard_t(3, size=12)).p_value for _ in range(400)])
    assert stats.kstest(found, "uniform").pvalue > 0.01


def test_a_t_test_of_pairs_is_one_of_differences() -> None:
    a, b = np.random.default_rng(3).normal(size=(2, 40))
    assert over_examples(a - b).p_value() == pytest.approx(stats.ttest_rel(a, b).pvalue)


def test_the_smallest_p_value_is_never_zero() -> None:
    assert sign_flips(np.ones(3)).p_value == 2 / 8
    assert sign_flips(np.ones(1000)).p_value == 1 / 10_001
    assert sign_flips(np.zeros(1000)).p_value == 1
    assert math.isnan(sign_flips([1.0, math.nan]).p_value)


def test_the_size_of_an_effect() -> None:
    differences = np.random.default_rng(4).normal(0.5, 2, 30)
    assert effect_size(differences) == pytest.approx(np.mean(differences) / np.std(differences, ddof=1))
    assert effect_size(differences, np.full(30, 3.0)) == pytest.approx(effect_size(differences))
    assert effect_size(5 * differences) == pytest.approx(effect_size(differences)) == -effect_size(-differences)
    assert effect_size([-1.0, -1.0]) == -math.inf
    assert effect_size([0.7 - 0.6] * 7) == math.inf, "but for rounding"
    assert math.isnan(effect_size([0.0, 0.0]))
    assert math.isnan(effect_size([1.0]))
    assert math.isnan(effect_size([1.0, math.nan]))


def test_who_wins_how_often() -> None:
    assert win_rate([1, 2, -1, 0]) == 0.625
    assert win_rate([0, 0]) == 0.5
    assert win_rate([math.inf, -math.inf]) == 0.5
    assert math.isnan(win_rate([1, math.nan]))


@given(p_values)
def test_false_discoveries_are_those_of_scipy(given: list[float]) -> None:
    assert benjamini_hochberg(given) == pytest.approx(stats.false_discovery_control(given))


@given(p_values)
def test_holms_correction_is_its_definition(given: list[float]) -> None:
    n, wanted, so_far = len(given), [0.0] * len(given), 0.0
    for rank, place in enumerate(sorted(range(n), key=lambda i: given[i])):
        so_far = max(so_far, min(1.0, (n - rank) * given[place]))
        wanted[place] = so_far
    assert holm(given) == pytest.approx(wanted)


@given(p_values)
def test_a_correction_never_lowers_and_bonferroni_bounds_it(given: list[float]) -> None:
    bonferroni = np.minimum(1, len(given) * np.array(given))
    assert (holm(given) >= np.array(given)).all()
    assert (benjamini_hochberg(given) <= holm(given) + 1e-12).all()
    assert (holm(given) <= bonferroni + 1e-12).all()


def test_what_is_unknown_is_no_test() -> None:
    assert holm([0.01, math.nan, 0.02]) == pytest.approx([0.02, math.nan, 0.02], nan_ok=True)
    assert holm([math.nan]) == pytest.approx([math.nan], nan_ok=True)
    assert benjamini_hochberg([]).size == 0
