"""Comparisons of models: the numbers against the statistics themselves, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from compat_spec.errors import CompatError, UsageError
from compat_spec.report.compare import Compared, compare, words
from compat_spec.results import Results, TaskRow
from compat_spec.statistics import over_seeds_and_examples
from tests.results.made_up import TASKS, on_both, record, score

EXAMPLES = 40
WEIGHTS = np.random.default_rng(0).integers(1, 30, EXAMPLES).astype(float)


def losses(shift: float, *, seeds: int = 3, number: int = 0, spread: float = 0.1) -> Any:
    """Losses `[seeds, examples]`; the hardness of examples is the same for all."""
    generator = np.random.default_rng(number + 1)
    hard = np.random.default_rng(99).normal(3, 1, EXAMPLES)
    return shift + hard + spread * generator.normal(size=(seeds, 1)) + spread * generator.normal(size=(seeds, EXAMPLES))


def measured(model: str, values: Any, *, weights: Any = WEIGHTS, places: Any = None, **others: Any) -> list[Any]:
    """The scores of a model, of `values [seeds, examples]`."""
    places = range(len(weights)) if places is None else places
    return [
        score(
            model,
            float(np.average(of_seed, weights=weights)),
            seed=seed,
            n=int(sum(weights)),
            examples=list(zip(places, of_seed.tolist(), weights, strict=True)),
            **others,
        )
        for seed, of_seed in enumerate(values)
    ]


@on_both
def test_two_models_are_compared_over_seeds_and_examples(results: Results) -> None:
    a, b = losses(0.0), losses(0.3, number=1)
    record(results, measured("average", a) + measured("blend", b))
    (pair,) = compare(results, ["average", "blend"]).pairs
    wanted = over_seeds_and_examples(a - b, WEIGHTS)
    assert pair.difference == wanted
    assert (pair.p_value, pair.p_adjusted) == (wanted.p_value(), wanted.p_value())
    assert pair.a_mean - pair.b_mean == pytest.approx(wanted.mean)
    assert (pair.seeds, wanted.examples, pair.a_is_better) == ((0, 1, 2), EXAMPLES, True)
    assert pair.win_rate == ((a - b).mean(0) < 0).mean()
    assert pair.p_flips < 0.001


def test_swapping_the_two_turns_the_signs(results: Results) -> None:
    record(results, measured("average", losses(0.0)) + measured("blend", losses(0.02, number=1)))
    (one,), (other,) = (compare(results, names).pairs for names in (["average", "blend"], ["blend", "average"]))
    assert other.difference.mean == -one.difference.mean
    assert (other.difference.low, other.difference.high) == (-one.difference.high, -one.difference.low)
    assert (other.p_value, other.p_flips) == (one.p_value, one.p_flips)
    assert other.effect_size == -one.effect_size
    assert other.win_rate == pytest.approx(1 - one.win_rate)
    assert other.a_is_better is not one.a_is_better


def test_a_model_is_the_same_as_itself(results: Results) -> None:
    record(results, measured("average", losses(0.0)) + measured("blend", losses(0.0)))
    found = compare(results, ["average", "blend"])
    (pair,) = found.pairs
    assert (pair.difference.mean, pair.p_value, pair.p_flips, pair.win_rate) == (0, 1, 1, 0.5)
    assert "are the same on every seed and example" in words.sentence(pair, found)


def test_where_all_that_differs_are_seeds_it_is_the_t_test_of_pairs(results: Results) -> None:
    a, b = np.random.default_rng(5).normal(size=(2, 5))
    rows = [score(model, value, seed=s) for model, of in (("average", a), ("blend", b)) for s, value in enumerate(of)]
    record(results, rows)
    found = compare(results, ["average", "blend"])
    (pair,) = found.pairs
    assert pair.p_value == pytest.approx(stats.ttest_rel(a, b).pvalue)
    assert pair.effect_size == pytest.approx(np.mean(a - b) / np.std(a - b, ddof=1))
    assert (pair.flips, pair.exact) == (16, True)
    assert any("over seeds only" in note for note in words.notes(found))


def test_of_one_seed_only_examples_are_drawn_anew(results: Results) -> None:
    a, b = losses(0.0, seeds=1), losses(0.3, seeds=1, number=1)
    record(results, measured("average", a, weights=np.ones(EXAMPLES)) + measured("blend", b, weights=np.ones(EXAMPLES)))
    found = compare(results, ["average", "blend"])
    assert found.pairs[0].p_value == pytest.approx(stats.ttest_rel(a[0], b[0]).pvalue)
    assert any(note.startswith("One seed: ") for note in words.notes(found))
    assert f"1 seed {words.TIMES} 40 examples" in words.sentences(found)[0]


def test_of_one_number_nothing_is_sure(results: Results) -> None:
    record(results, [score("average", 1.0), score("blend", 2.0)])
    found = compare(results, ["average", "blend"])
    assert words.sentences(found) == [
        "average is better than blend by 1.00 nats per token; how sure that is, 1 seed cannot tell."
    ]
    assert dict(zip(words.COLUMNS, words.rows(found)[0], strict=True))["p_value"] is None
    record(results, [score(name, 1.0) for name in ("average", "blend", "base")])
    assert "corrected" not in " ".join(words.notes(compare(results, ["average", "blend", "base"])))


def test_means_that_are_the_same_are_no_lead(results: Results) -> None:
    ones, halves, either = np.ones(4), np.full((1, 4), 0.5), np.array([[0.0, 1.0, 0.0, 1.0]])
    record(results, measured("average", halves, weights=ones) + measured("blend", either, weights=ones))
    assert words.sentences(compare(results, ["average", "blend"])) == [
        "Nothing sure between average and blend: their means are the same "
        f"(95 % CI -0.92 to 0.92, p = 1.00, 1 seed {words.TIMES} 4 examples)."
    ]


def test_several_are_compared_each_with_each_and_corrected(results: Results) -> None:
    names = ["average", "blend", "base"]
    record(results, [row for i, name in enumerate(names) for row in measured(name, losses(0.2 * i, number=i))])
    found = compare(results, names)
    assert [(pair.a, pair.b) for pair in found.pairs] == [("average", "blend"), ("average", "base"), ("blend", "base")]
    least = min(pair.p_value for pair in found.pairs)
    assert min(pair.p_adjusted for pair in found.pairs) == pytest.approx(3 * least)
    by_bh, plain = (compare(results, names, correction=kind) for kind in ("bh", "none"))
    p_values = [pair.p_value for pair in found.pairs]
    assert [pair.p_adjusted for pair in by_bh.pairs] == pytest.approx(stats.false_discovery_control(p_values))
    assert [pair.p_adjusted for pair in plain.pairs] == p_values
    assert "(Holm)" in " ".join(words.notes(found))
    for narrow in (False, True):
        told = "p (flips)" in words.table(found, narrow=narrow)[0]
        assert any("p (flips)" in note for note in words.notes(found, narrow=narrow)) == told


def test_all_merges_are_compared_with_one(results: Results) -> None:
    names = ["average", "blend", "base", "math"]
    record(results, [row for i, name in enumerate(names) for row in measured(name, losses(0.1 * i, number=i))])
    assert [(pair.a, pair.b) for pair in compare(results, [], against="base").pairs] == [
        ("average", "base"),
        ("blend", "base"),
    ]
    assert [(pair.a, pair.b) for pair in compare(results, ["math"], against="blend").pairs] == [("math", "blend")]


@pytest.fixture
def swept(results: Results) -> Results:
    rows = [
        row
        for number, (alpha, step) in enumerate([(0.1 + 0.2, 10), (0.5, 10), (0.1 + 0.2, 20), (0.5, 20)])
        for row in measured("blend", losses(0.1 * number, number=number), alpha=alpha, step=step)
    ]
    record(results, rows + measured("average", losses(1.0, number=7), step=20), parameters=["alpha"])
    return results


def names(found: Compared) -> list[str]:
    return [found.pairs[0].a, found.pairs[0].b]


def test_a_merge_with_sweeps_is_taken_at_its_best_point_and_that_is_said(swept: Results) -> None:
    found = compare(swept, ["blend", "average"])
    assert names(found) == ["blend[alpha=0.3,step=10]", "average"]
    assert any("blend[alpha=0.3,step=10] of 4 points. That flatters" in note for note in words.notes(found))


@pytest.mark.parametrize(
    ("name", "where", "label"),
    [
        ("blend[alpha=0.5,step=20]", {}, "blend[alpha=0.5,step=20]"),
        ("blend[step=20, alpha=0.3]", {}, "blend[alpha=0.3,step=20]"),
        ("blend@20", {}, "blend[alpha=0.3,step=20]"),
        ("blend[at=20]", {"alpha": 0.5}, "blend[alpha=0.5,step=20]"),
        ("blend", {"alpha": 0.5, "step": 20}, "blend[alpha=0.5,step=20]"),
        ("blend[alpha=0.3]", {"alpha": 0.5, "step": 20}, "blend[alpha=0.3,step=20]"),
    ],
)
def test_a_point_is_named(swept: Results, name: str, where: dict[str, Any], label: str) -> None:
    found = compare(swept, [name, "average"], where=where)
    assert names(found) == [label, "average"]
    assert bool(found.notes) == (name == "blend@20")


def test_two_points_of_one_merge_are_compared(swept: Results) -> None:
    found = compare(swept, ["blend[alpha=0.5,step=10]", "blend[alpha=0.5,step=20]"])
    assert found.pairs[0].difference.mean == pytest.approx(-0.2, abs=0.2)


def test_models_of_two_runs_are_compared(results: Results) -> None:
    first = record(results, measured("average", losses(0.0)))
    record(results, measured("average", losses(0.5, number=1)), "layers")
    found = compare(results, [f"{first}/average", "layers/average"])
    assert names(found) == [f"{first}/average", "layers/average"]
    assert found.pairs[0].a_is_better


@pytest.mark.parametrize(
    ("models", "options", "message"),
    [
        (["average"], {}, "name two models"),
        (["average", "average"], {}, "name two models"),
        (["blend", "avrage"], {}, "has no model or merge 'avrage'; did you mean average?"),
        (["blend", "code"], {}, "code has no scores in run .*: nothing was measured of it"),
        (["blend", "average"], {"metric": "accuracy"}, "accuracy was not measured of all .* loss on program"),
        (["blend", "average"], {"task": "math"}, "loss on math was not measured of all"),
        (["blend", "average"], {"run": "nonsense"}, "no run 'nonsense'"),
        (["nonsense/blend", "average"], {}, "no run 'nonsense'"),
        (["blend[alpha=0.4]", "average"], {}, "was not measured at alpha=0.4; there is alpha: 0.3, 0.5"),
        (["blend[alpa=0.5]", "average"], {}, "blend has no alpa; did you mean alpha?"),
        (["blend[alpha]", "average"], {}, "sets nothing; write NAME=VALUE"),
        (["blend[alpha=0.5", "average"], {}, "names no model"),
        (["average[alpha=1]", "blend"], {}, "average has no alpha; it has step: 20"),
        (["blend", "average"], {"where": {"span": 1}}, "none of blend, average sweeps span; they sweep alpha, step"),
    ],
)
def test_what_is_not_there_is_refused(swept: Results, models: list[str], options: Any, message: str) -> None:
    with pytest.raises(CompatError, match=message):
        compare(swept, models, **options)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"places": range(1, EXAMPLES + 1)}, r"on 40 examples \(0 to 39\), the other on 40 examples \(1 to 40\)"),
        ({"weights": WEIGHTS + (np.arange(EXAMPLES) == 3)}, r"example 3 counts .*another tokenizer"),
        ({"values": losses(0.0)[:, :30], "weights": WEIGHTS[:30]}, "the other on 30 examples"),
    ],
)
def test_what_has_no_pairs_is_refused(results: Results, other: dict[str, Any], message: str) -> None:
    values = other.pop("values", losses(0.0))
    record(results, measured("average", losses(0.0)) + measured("blend", values, **other))
    with pytest.raises(CompatError, match=message):
        compare(results, ["average", "blend"])


def test_other_numbers_of_tokens_are_refused_even_without_examples(results: Results) -> None:
    record(results, [score("average", 1.0, n=10), score("blend", 2.0, n=20)])
    with pytest.raises(CompatError, match="measured on 10 tokens or examples, the other on 20"):
        compare(results, ["average", "blend"])


def test_tasks_with_other_examples_are_refused(results: Results) -> None:
    for name, mark in (("routing", "aa"), ("layers", "bb")):
        tasks = (*TASKS[:1], TaskRow(name="program", use="program_problems", fingerprint=mark))
        record(results, measured("average", losses(0.0)), name, tasks=tasks)
    with pytest.raises(CompatError, match="the task program has other examples in run"):
        compare(results, ["routing/average", "layers/average"])


def test_seeds_that_only_one_has_are_left_out_and_said(results: Results) -> None:
    record(results, measured("average", losses(0.0)) + measured("blend", losses(0.2, number=1))[1:])
    found = compare(results, ["average", "blend"])
    assert found.pairs[0].seeds == (1, 2)
    assert any("left out: seed 0" in note for note in words.notes(found))
    record(results, measured("average", losses(0.0))[:1] + measured("blend", losses(0.0))[1:])
    with pytest.raises(CompatError, match="no seed in common"):
        compare(results, ["average", "blend"])


def test_a_metric_that_was_measured_on_two_tasks_asks_which(results: Results) -> None:
    rows = [
        row
        for name in ("average", "blend")
        for task in ("math", "program")
        for row in measured(name, losses(0), task=task)
    ]
    record(results, rows)
    with pytest.raises(UsageError, match="choose --task math or program"):
        compare(results, ["average", "blend"])
    assert compare(results, ["average", "blend"], task="math").measure.task == "math"


def test_merges_that_were_not_measured_on_the_task_are_no_merges_to_compare(results: Results) -> None:
    rows = [row for name in ("average", "base") for row in measured(name, losses(0), task="math")]
    record(results, rows + [row for name in ("blend", "base") for row in measured(name, losses(0), task="program")])
    assert [pair.a for pair in compare(results, [], against="base", task="math").pairs] == ["average"]


def test_a_quantity_that_nobody_knows_is_higher_or_lower(results: Results) -> None:
    rows = measured("average", losses(1), quantity="surprise") + measured("blend", losses(0), quantity="surprise")
    record(results, rows)
    found = compare(results, ["blend", "average"], metric="surprise")
    assert found.pairs[0].a_is_better is None
    assert words.sentences(found)[0].startswith("average is higher than blend by 1.0")


def test_what_is_no_number_is_said(results: Results) -> None:
    broken = losses(0.0)
    broken[1, 3] = math.nan
    record(results, measured("average", broken) + measured("blend", losses(0.0)))
    found = compare(results, ["average", "blend"])
    assert words.sentences(found) == [
        "average and blend cannot be compared: some of their numbers are NaN or infinite."
    ]
    assert all(value is None or value == value for value in words.rows(found)[0])


def test_numbers_that_are_infinite_do_no_harm(results: Results) -> None:
    broken = losses(0.0)
    broken[1, 3] = math.inf
    record(results, measured("average", broken) + measured("blend", losses(0.0)))
    found = compare(results, ["average", "blend"])
    assert "blend" in words.sentences(found)[0]


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.38412, 0.0312, "0.384"),
        (0.38412, 0.2, "0.38"),
        (1234.5, 88.0, "1234"),
        (0.0, 0.0, "0"),
        (-0.0001, 0.5, "0.00"),
        (2.0, math.nan, "2.00"),
        (math.inf, 1.0, "infinity"),
    ],
)
def test_a_number_has_the_digits_that_its_error_leaves(value: float, error: float, text: str) -> None:
    assert words.number(value, error) == text
