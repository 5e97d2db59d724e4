"""The closing table: who is in it, in which order, and with which numbers."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from rich.console import Console

from compat_spec.report.leaderboard import Estimate, closing_table, hint, standings
from compat_spec.results import Results
from tests.results.made_up import on_both, record, score


def printed(results: Results, run: str, width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(closing_table(results, run))
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines() if line.strip()]


def names(lines: list[str]) -> list[str]:
    return [line.split()[0] for line in lines]


@pytest.mark.parametrize("sample", [[3.0], [3.0, 4.0], [1e8 + 0.5, 1e8, 1e8 + 2]])
def test_an_estimate_agrees_with_numpy(sample: list[float]) -> None:
    estimate = Estimate.of(sample)
    assert estimate.mean == pytest.approx(np.mean(sample))
    if len(sample) == 1:
        assert estimate.error is None
    else:
        assert estimate.error == pytest.approx(np.std(sample, ddof=1) / math.sqrt(len(sample)))


@on_both
def test_all_are_listed_best_first_with_their_spread(results: Results) -> None:
    losses = {"average": (3.0, 3.5), "blend": (2.0, 2.0), "base": (9.0, 10.0), "math": (4.0, 5.0)}
    rows = [score(model, value, seed=seed) for model, both in losses.items() for seed, value in enumerate(both)]
    rows += [score("blend", value, seed=seed, quantity="accuracy") for seed, value in enumerate((0.25, 0.75))]
    lines = printed(results, record(results, rows))
    assert "program" in lines[0]
    assert "2 seeds" in lines[0]
    assert lines[1].split() == ["model", "role", "loss", "accuracy", "where"]
    assert [line.split() for line in lines[2:]] == [
        ["blend", "merge", "2.000", "±", "0.000", "0.500", "±", "0.250"],
        ["average", "merge", "3.250", "±", "0.250"],
        ["math", "expert", "4.500", "±", "0.500"],
        ["base", "base", "9.500", "±", "0.500"],
    ]


@on_both
def test_a_sweep_is_one_line_with_its_best_point(results: Results) -> None:
    rows = [
        score("blend", (alpha - 0.5) ** 2 + abs(step - 40) / 100 + 2, step=step, alpha=alpha)
        for alpha in (0.0, 0.5, 1.0)
        for step in (10, 40, 80)
    ]
    rows += [score("average", 3.0, step=80)]
    lines = printed(results, record(results, rows, parameters=["alpha"]))
    assert lines[2].split(maxsplit=3) == ["blend", "merge", "2.000", "alpha 0.5, step 40 (best of 9)"]
    assert lines[3].split() == ["average", "merge", "3.000"]


@on_both
def test_a_setting_that_never_varies_is_not_shown(results: Results) -> None:
    rows = [score("blend", value, step=80, alpha=value, span=2) for value in (0.25, 0.5)]
    (standing,) = standings(results.seed_means(record(results, rows, parameters=["alpha", "span"])), "loss")
    assert standing.where() == "alpha 0.25 (best of 2)"


@on_both
def test_without_loss_the_greatest_accuracy_is_first(results: Results) -> None:
    rows = [score("average", 0.25, quantity="accuracy"), score("blend", 0.75, quantity="accuracy")]
    assert names(printed(results, record(results, rows))[2:]) == ["blend", "average"]


@on_both
def test_a_point_that_lost_a_seed_does_not_win_by_that(results: Results) -> None:
    rows = [score("blend", 1.0, seed=0, alpha=0.0)]
    rows += [score("blend", 2.0, seed=seed, alpha=0.5) for seed in (0, 1)]
    lines = printed(results, record(results, rows, parameters=["alpha"]))
    assert "2.000 ± 0.000" in lines[2]


@on_both
def test_a_model_that_lacks_a_seed_says_so(results: Results) -> None:
    rows = [score("average", 3.0), score("blend", 2.0), score("blend", 2.0, seed=1)]
    lines = printed(results, record(results, rows, status="failed"))
    assert "1 of 2 seeds" in next(line for line in lines if line.startswith("average"))
    assert "of 2 seeds" not in next(line for line in lines if line.startswith("blend"))


@on_both
def test_what_diverged_is_last(results: Results) -> None:
    rows = [score("average", math.nan), score("average", 1.0, seed=1), score("blend", 9.0), score("blend", 9.0, seed=1)]
    lines = printed(results, record(results, rows))
    assert names(lines[2:]) == ["blend", "average"]
    assert "not a number" in lines[3]


@on_both
def test_the_target_is_the_task_of_most_merges(results: Results) -> None:
    rows = [score("math", 1.0, task="math"), score("average", 1.0, task="math")]
    rows += [score("average", 3.0), score("blend", 3.0)]
    lines = printed(results, record(results, rows))
    assert [line for line in lines if line.startswith("On ")] == ["On program (test split), best loss first, one seed"]
    both = printed(results, record(results, [*rows, score("blend", 1.0, task="math")]))
    assert [line.split()[1] for line in both if line.startswith("On ")] == ["math", "program"]


@on_both
def test_a_run_without_scores_says_so(results: Results) -> None:
    assert "No scores" in printed(results, record(results, []))[0]


@on_both
def test_it_fits_eighty_columns(results: Results) -> None:
    rows = [
        score("blend", 100.0 + seed, seed=seed, quantity=quantity, alpha=alpha, step=80)
        for seed in (0, 1)
        for alpha in (0.5, 0.25)
        for quantity in ("loss", "accuracy")
    ]
    run = record(results, rows, parameters=["alpha"])
    lines = printed(results, run)
    assert max(map(len, lines)) <= 80
    assert "…" not in "".join(lines)


@on_both
def test_the_hint_is_a_query_that_works(results: Results) -> None:
    record(
        results, [score("average", 3.0), score("average", 2.0, alpha=0.5), score("blend", 2.5)], parameters=["alpha"]
    )
    text = hint("out dir/results.db")
    sql = text.split('"')[1]
    assert results.query(sql).rows == [("average", 2.0), ("blend", 2.5)]
    assert "--results 'out dir/results.db'" in text
    assert "--results" not in hint("results.db")
