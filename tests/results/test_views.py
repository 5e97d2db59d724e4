"""What people find when they query the views."""

from __future__ import annotations

import math
import random
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compat_spec.results import Results
from compat_spec.results.views import FIXED_COLUMNS
from tests.results.made_up import on_both, record, score, similarity, start


def values(results: Results, sql: str) -> list[tuple[Any, ...]]:
    return results.query(sql).rows


@on_both
def test_mean_loss_of_each_merge(results: Results) -> None:
    record(
        results,
        [
            score("average", 3.0, seed=0),
            score("average", 3.5, seed=1),
            score("blend", 2.0),
            score("blend", 9, task="math"),
        ],
    )
    answer = values(
        results, "SELECT merge, round(avg(value),3) AS loss FROM loss WHERE task='program' GROUP BY merge ORDER BY loss"
    )
    assert answer == [("blend", 2.0), ("average", 3.25)]


@on_both
def test_mean_similarity_of_each_pair_of_layers(results: Results) -> None:
    writer = start(results)
    writer.similarities(
        [similarity(a, b, 0.5 + seed / 4, steps=(20, 20), seed=seed) for a in (0, 1) for b in (0, 1) for seed in (0, 1)]
        + [similarity(0, 0, 0.1, steps=(20, 60))]
    )
    writer.finish("finished")
    answer = values(results, "SELECT step, layer_a, layer_b, avg(value) FROM cka WHERE task='program' GROUP BY 1,2,3")
    assert sorted(answer, key=str) == [
        (20, 0, 0, 0.625),
        (20, 0, 1, 0.625),
        (20, 1, 0, 0.625),
        (20, 1, 1, 0.625),
        (None, 0, 0, 0.1),
    ]
    assert values(results, "SELECT DISTINCT a, b, step_a, step_b, n FROM cka ORDER BY step_b") == [
        ("math", "code", 20, 20, 1024),
        ("math", "code", 20, 60, 1024),
    ]


@on_both
def test_each_row_says_what_it_is_about(results: Results) -> None:
    run = record(results, [score("math", 3.0, seed=4, step=80, n=4096, split="valid", metric="nll")])
    table = results.query("SELECT * FROM loss")
    assert dict(zip(table.columns, table.rows[0], strict=True)) == {
        "experiment": "routing",
        "run": run,
        "merge": "math",
        "role": "expert",
        "task": "program",
        "split": "valid",
        "metric": "nll",
        "seed": 4,
        "step": 80,
        "value": 3.0,
        "n": 4096,
    }


@on_both
def test_each_quantity_has_its_view(results: Results) -> None:
    quantities = {"loss": 3.0, "accuracy": 0.5, "answers": 0.25, "perplexity": 20.0}
    record(results, [score("average", value, quantity=quantity) for quantity, value in quantities.items()])
    for quantity, value in quantities.items():
        assert values(results, f"SELECT value FROM {quantity}") == [(value,)]


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("alpha", '"alpha"'),
        ("select", '"select"'),
        ("two words", '"two words"'),
        ('say "x"', '"say ""x"""'),
        ("it's", '"it\'s"'),
        ("back\\slash", '"back\\slash"'),
        ("new\nline", '"new\nline"'),
        ("größe", '"größe"'),
        ("a.b[0]$", '"a.b[0]$"'),
        ("", '"param_"'),
        ("seed", '"param_seed"'),
        ("Value", '"param_Value"'),
        ("loss", '"param_loss"'),
    ],
)
def test_a_swept_parameter_is_a_column_whatever_its_name(results: Results, name: str, column: str) -> None:
    swept = [{name: value} for value in (0.5, 3, "mlp", True, None, [1, 2], {"math": 1})]
    record(results, [score("blend", 1.0, parameters=parameters) for parameters in swept], parameters=[name])
    expected = [(0.5,), (3,), ("mlp",), (1,), (None,), ("[1,2]",), ('{"math":1}',)]
    assert values(results, f"SELECT {column} FROM loss") == expected
    assert sorted(map(str, values(results, f"SELECT {column} FROM leaderboard"))) == sorted(map(str, expected))


@on_both
def test_parameters_that_differ_in_case_only_keep_apart(results: Results) -> None:
    record(results, [score("blend", 1.0, alpha=1, Alpha=2)], parameters=["alpha", "Alpha"])
    assert values(results, 'SELECT "Alpha", "alpha_" FROM loss') == [(2, 1)]


@on_both
def test_a_later_run_adds_its_parameters(results: Results) -> None:
    record(results, [score("blend", 1.0, alpha=0.5)], "first", parameters=["alpha"])
    record(results, [score("blend", 2.0, span=3)], "second", parameters=["span"])
    answer = values(results, "SELECT experiment, alpha, span FROM loss ORDER BY 1")
    assert answer == [("first", 0.5, None), ("second", None, 3)]


def test_the_columns_that_parameters_must_avoid_are_those_of_the_views(results: Results, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "results.db") as connection:
        views = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'view'")]
    assert {column for view in views for column in results.query(f"SELECT * FROM {view}").columns} == FIXED_COLUMNS


@on_both
def test_a_repeated_experiment_counts_once(results: Results) -> None:
    first = record(results, [score("average", 5.0)])
    second = record(results, [score("average", 3.0)])
    record(results, [score("average", 1.0)], "another")
    assert values(results, "SELECT run, value FROM loss WHERE experiment = 'routing'") == [(second, 3.0)]
    assert values(results, "SELECT sum(value) FROM loss") == [(4.0,)]
    assert values(results, "SELECT count(*) FROM leaderboard") == [(2,)]
    history = values(
        results, "SELECT run, status, value FROM all_scores WHERE experiment = 'routing' ORDER BY value DESC"
    )
    assert history == [(first, "finished", 5.0), (second, "finished", 3.0)]


@pytest.mark.parametrize("status", ["failed", "interrupted"])
@on_both
def test_a_run_that_did_not_finish_does_not_hide_one_that_did(results: Results, status: str) -> None:
    record(results, [score("average", 5.0)])
    record(results, [score("average", 3.0)], status=status)
    start(results).scores([score("average", 1.0)])  # still running
    assert values(results, "SELECT value FROM loss") == [(5.0,)]


@on_both
def test_without_a_finished_run_the_newest_with_rows_shows(results: Results) -> None:
    record(results, [score("average", 5.0)], status="failed")
    record(results, [score("average", 3.0)], status="interrupted")
    record(results, [], status="failed")
    assert values(results, "SELECT value FROM loss") == [(3.0,)]
    running = start(results)
    running.similarities([similarity(0, 0, 1.0, steps=(1, 1))])
    assert values(results, "SELECT count(*) FROM loss") == [(0,)]
    assert values(results, "SELECT value FROM cka") == [(1.0,)]


@on_both
def test_numbers_about_blocks_are_in_routing_and_nowhere_else(results: Results) -> None:
    loads = [score("blend", 0.5, quantity="load", block=block, expert=expert) for block in (0, 1) for expert in (0, 1)]
    entropies = [score("blend", 0.69, quantity="entropy", block=block) for block in (0, 1)]
    record(results, [*loads, *entropies, score("blend", 7.0, block=1), score("blend", 3.0)])
    answer = values(results, "SELECT quantity, block, expert, value FROM routing ORDER BY 1, 2, 3")
    assert answer == [
        ("entropy", 0, None, 0.69),
        ("entropy", 1, None, 0.69),
        ("load", 0, 0, 0.5),
        ("load", 0, 1, 0.5),
        ("load", 1, 0, 0.5),
        ("load", 1, 1, 0.5),
        ("loss", 1, None, 7.0),
    ]
    assert values(results, "SELECT value FROM loss") == [(3.0,)]
    assert values(results, "SELECT loss FROM leaderboard") == [(3.0,)]


@on_both
def test_the_leaderboard_agrees_with_numpy(results: Results) -> None:
    random.seed(0)
    rows = []
    expected = {}
    for model in ("average", "blend", "math"):
        for alpha in (0.25, 0.5):
            losses = [1e6 + random.random() for _ in range(5)]  # a mean far from 0 shows a careless variance
            accuracies = [random.random() for _ in range(5)]
            rows += [score(model, value, seed=seed, alpha=alpha) for seed, value in enumerate(losses)]
            rows += [
                score(model, value, seed=seed, alpha=alpha, quantity="accuracy")
                for seed, value in enumerate(accuracies)
            ]
            expected[model, alpha] = [
                statistic
                for sample in (losses, accuracies)
                for statistic in (np.mean(sample), np.std(sample, ddof=1) / math.sqrt(5))
            ]
    record(results, rows, parameters=["alpha"])
    answer = values(
        results, "SELECT merge, alpha, loss, loss_se, accuracy, accuracy_se, seeds, rank FROM leaderboard ORDER BY rank"
    )
    assert {(merge, alpha) for merge, alpha, *_ in answer} == expected.keys()
    for merge, alpha, *found, seeds, _ in answer:
        assert found == pytest.approx(expected[merge, alpha], rel=1e-9)
        assert seeds == 5
    by_loss = sorted(expected, key=lambda point: float(expected[point][0]))
    assert [(merge, alpha) for merge, alpha, *_ in answer] == by_loss
    assert [rank for *_, rank in answer] == [1, 2, 3, 4, 5, 6]


@on_both
def test_a_standard_error_needs_two_seeds(results: Results) -> None:
    record(results, [score("average", 3.0)])
    assert values(results, "SELECT loss, loss_se, accuracy, seeds FROM leaderboard") == [(3.0, None, None, 1)]


@on_both
def test_several_numbers_of_one_seed_are_one_sample(results: Results) -> None:
    record(
        results, [score("average", value, seed=seed, metric=m) for seed, value in ((0, 1.0), (1, 3.0)) for m in "ab"]
    )
    assert values(results, "SELECT loss, loss_se, seeds FROM leaderboard") == [(2.0, 1.0, 2)]


@on_both
def test_a_seed_that_diverged_does_not_vanish_from_the_mean(results: Results) -> None:
    record(results, [score("average", math.nan), score("average", 3.0, seed=1), score("blend", 4.0)])
    answer = values(results, "SELECT merge, loss, loss_se, seeds, rank FROM leaderboard ORDER BY merge")
    assert answer == [("average", None, None, 2, None), ("blend", 4.0, None, 1, 1)]


@on_both
def test_ranks_are_those_of_one_task_of_one_experiment(results: Results) -> None:
    record(results, [score("average", 3.0), score("blend", 2.0), score("average", 1.0, task="math")], "one")
    record(results, [score("average", 9.0)], "two")
    answer = values(results, "SELECT experiment, task, merge, rank FROM leaderboard ORDER BY 1, 2, 4")
    assert answer == [
        ("one", "math", "average", 1),
        ("one", "program", "blend", 1),
        ("one", "program", "average", 2),
        ("two", "program", "average", 1),
    ]


@on_both
def test_critical_steps_agree_with_a_search_by_hand(results: Results) -> None:
    random.seed(1)
    steps, alphas, seeds = (0, 10, 20, 40, 80), (0.0, 0.5, 1.0), (0, 1, 2)
    losses = {
        (model, seed, step, alpha): round(random.random(), 1)  # coarse, so that ties happen
        for model in ("blend", "math")
        for seed in seeds
        for step in steps
        for alpha in alphas
    }
    rows = [
        score(model, value, seed=seed, step=step, alpha=alpha) for (model, seed, step, alpha), value in losses.items()
    ]
    record(results, [*rows, score("average", 1.0, step=80), score("base", 2.0)], parameters=["alpha"])
    expected = []
    for model in ("blend", "math"):
        for seed in seeds:
            curve = [min(losses[model, seed, step, alpha] for alpha in alphas) for step in steps]
            best = min(curve)
            expected.append((model, seed, steps[curve.index(best)], best, 80, curve[-1], curve[-1] - best))
    answer = values(
        results,
        "SELECT merge, seed, critical_step, best_loss, last_step, last_loss, regression FROM critical_steps "
        "ORDER BY merge, seed",
    )
    assert answer == expected


def test_any_sqlite_reads_the_views(results: Results, tmp_path: Path) -> None:
    record(results, [score("average", 3.0, alpha=0.5), score("average", 4.0, seed=1, alpha=0.5)], parameters=["alpha"])
    with sqlite3.connect(tmp_path / "results.db") as connection:
        for (view,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'view'").fetchall():
            connection.execute(f"SELECT * FROM {view}").fetchall()
        assert connection.execute("SELECT merge, avg(value) FROM loss GROUP BY merge").fetchall() == [("average", 3.5)]
