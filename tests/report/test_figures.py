"""The charts of a run: that each has data, and the data that the database has."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from compat_spec.report import charts, html_report
from compat_spec.report.export import export
from compat_spec.report.figures.figure import DATA, Figure
from compat_spec.report.figures.loss_against_similarity import rank_correlation
from compat_spec.report.figures.parts import spacing
from compat_spec.results import ModelRow, Results, SimilarityRow, TaskRow
from tests.report.made_up import NASTY, TASK, everything
from tests.results.made_up import on_both, record, score, similarity, start


def of(drawn: Mapping[str, Figure], beginning: str) -> Figure:
    found = [figure for name, figure in drawn.items() if name.startswith(beginning)]
    assert len(found) == 1, list(drawn)
    return found[0]


def asked(results: Results, sql: str) -> dict[Any, Any]:
    """The answer as a mapping from all columns but the last to the last."""
    return {row[0] if len(row) == 2 else row[:-1]: row[-1] for row in results.query(sql).rows}


def test_a_run_of_everything_has_every_kind_of_chart(drawn: Mapping[str, Figure]) -> None:
    kinds = [
        *("loss-pro", "accuracy-pro", "sweep-blend-", "sweep-grid-", "sweep-words-", "sweep-script-script-window"),
        *("steps-", "loss-against-cka-", "loss-against-mutual_knn-", "layers-cka", "layers-mutual_knn"),
        *("router-load-", "router-classes-", "router-entropy-", "router-agreement-", "time-by-kind", "timeline"),
    ]
    names = list(drawn)
    assert [[kind for kind in kinds if name.startswith(kind)] for name in names]
    assert sorted(next(kind for kind in kinds if name.startswith(kind)) for name in names) == sorted(kinds)


@on_both
def test_a_server_gives_the_same_charts_as_a_file(results: Results, drawn: Mapping[str, Figure]) -> None:
    everything(results, "failed")
    expected, found = ({name: one.vega_lite() for name, one in of.items()} for of in (drawn, charts(results)))
    assert found == expected


def test_each_chart_is_told_in_words_and_as_a_table(drawn: Mapping[str, Figure]) -> None:
    for figure in drawn.values():
        assert figure.title
        assert figure.caption.endswith(".")
        assert any(character.isdigit() for character in figure.summary)
        assert figure.rows
        assert all(set(figure.columns) & set(row) for row in figure.rows)
        spec = figure.vega_lite()
        assert spec["description"] == f"{figure.title}. {figure.summary}"
        assert len(spec["datasets"][DATA]) == len(figure.rows)
        json.dumps(spec, allow_nan=False)


def test_loss_of_each_model_is_the_best_mean_over_seeds(full: Results, drawn: Mapping[str, Figure]) -> None:
    expected = asked(full, "SELECT merge, min(loss) FROM leaderboard WHERE loss IS NOT NULL GROUP BY merge")
    rows = of(drawn, "loss-pro").rows
    assert {row["model"]: row["value"] for row in rows} == pytest.approx(expected)
    assert [row["value"] for row in rows] == sorted(expected.values())
    blend = next(row for row in rows if row["model"] == "blend")
    assert blend["where"] == "alpha 0.5, step 40"
    assert blend["seeds"] == 3
    errors = asked(full, "SELECT merge, loss_se FROM leaderboard WHERE merge = 'base'")
    base = next(row for row in rows if row["model"] == "base")
    # 4.303: the 97.5 % quantile of Student's t with two degrees of freedom
    assert base["high"] - base["value"] == pytest.approx(4.30265 * errors["base"], rel=1e-5)


def test_what_is_no_number_is_left_out_and_said(drawn: Mapping[str, Figure]) -> None:
    figure = of(drawn, "loss-pro")
    assert "diverged" not in {row["model"] for row in figure.rows}
    assert "No number (NaN or infinite): diverged." in figure.left_out


def test_alpha_curves_are_the_means_at_each_step(full: Results, drawn: Mapping[str, Figure]) -> None:
    expected = asked(full, "SELECT alpha, step, avg(value) FROM loss WHERE merge = 'blend' GROUP BY alpha, step")
    rows = of(drawn, "sweep-blend").rows
    assert {(row["x"], int(row["colour"])): row["value"] for row in rows} == pytest.approx(expected)


def test_two_numeric_parameters_make_a_map(full: Results, drawn: Mapping[str, Figure]) -> None:
    figure = of(drawn, "sweep-grid")
    expected = asked(full, "SELECT density, lambda, avg(value) FROM loss WHERE merge = 'grid' GROUP BY 1, 2")
    assert {(row["x"], row["y"]): row["value"] for row in figure.rows} == pytest.approx(expected)
    assert figure.vega_lite()["mark"]["type"] == "rect"


def test_words_that_are_swept_are_rows(drawn: Mapping[str, Figure]) -> None:
    assert [row["x"] for row in of(drawn, "sweep-words").rows] == ["mlp", "all", "<i>none</i>"]


def test_curves_over_steps_turn_where_the_view_says(full: Results, drawn: Mapping[str, Figure]) -> None:
    rows = of(drawn, "steps-").rows
    found = {(row["series"], row["step"]): row["value"] for row in rows if row["panel"] == "turn"}
    sql = "SELECT merge, critical_step, count(*) FROM critical_steps WHERE role = 'merge' GROUP BY merge, critical_step"
    assert found == asked(full, sql)
    assert found["blend", 20] == 1
    assert found["blend", 40] == 2
    best = "SELECT step, avg(best) FROM (SELECT step, seed, min(value) AS best FROM loss WHERE merge = 'blend' "
    curve = {row["step"]: row["value"] for row in rows if row["panel"] == "loss" and row["series"] == "blend"}
    assert curve == pytest.approx(asked(full, f"{best} GROUP BY step, seed) b GROUP BY step"))
    sql = "SELECT step, avg(value) FROM cka WHERE layer_a = layer_b GROUP BY step"
    assert {row["step"]: row["value"] for row in rows if row["panel"] == "similarity"} == pytest.approx(
        asked(full, sql)
    )


def test_maps_are_means_over_seeds(full: Results, drawn: Mapping[str, Figure]) -> None:
    sql = "SELECT 'step ' || step, layer_a, layer_b, avg(value) FROM cka GROUP BY 1, 2, 3"
    rows = of(drawn, "layers-cka").rows
    assert {(row["panel"], row["a"], row["b"]): row["value"] for row in rows} == pytest.approx(asked(full, sql))


def test_loss_stands_against_the_similarity_of_the_experts_at_the_same_step(
    full: Results, drawn: Mapping[str, Figure]
) -> None:
    alike = asked(full, "SELECT step, avg(value) FROM cka WHERE layer_a = layer_b GROUP BY step")
    losses = asked(
        full,
        "SELECT merge, step, alpha, avg(value) FROM loss WHERE role = 'merge' AND step IS NOT NULL GROUP BY 1, 2, 3",
    )
    rows = of(drawn, "loss-against-cka").rows
    expected = sorted((alike[step], value) for (_, step, _), value in losses.items())
    assert sorted((row["similarity"], row["loss"]) for row in rows) == [pytest.approx(pair) for pair in expected]
    assert {row["merge"] for row in rows} == {"blend", "router", NASTY}


def test_router_loads_are_those_of_the_view(full: Results, drawn: Mapping[str, Figure]) -> None:
    sql = "SELECT block, expert, avg(value) FROM routing WHERE quantity = 'load' GROUP BY 1, 2"
    rows = of(drawn, "router-load").rows
    assert {(row["block"], row["number"]): row["value"] for row in rows} == pytest.approx(asked(full, sql))
    assert [row["expert"] for row in rows[:2]] == ["0 math", "1 code"]


def test_times_add_up_and_reused_steps_count_what_they_took(full: Results, drawn: Mapping[str, Figure]) -> None:
    rows = of(drawn, "time-by-kind").rows
    sql = "SELECT kind, sum(seconds) FROM steps WHERE status = 'computed' GROUP BY kind"
    computed = {row["kind"]: row["seconds"] for row in rows if row["status"] == "computed"}
    assert computed == pytest.approx(asked(full, sql))
    assert next(row["seconds"] for row in rows if row["status"] == "reused") == 7.5


def test_steps_that_overlap_are_in_different_lanes(drawn: Mapping[str, Figure]) -> None:
    rows = of(drawn, "timeline").rows
    assert len(rows) == 6
    for one in rows:
        for other in rows:
            if one is not other and one["lane"] == other["lane"]:
                assert one["end"] <= other["start"] + 0.05 or other["end"] <= one["start"] + 0.05


def test_of_hundreds_of_merges_the_best_are_drawn(results: Results) -> None:
    merges = [ModelRow(name=f"merge {i}", role="merge", use="linear") for i in range(150)]
    rows = [
        score(merge.name, 2 + i / 100, alpha=a, step=s)
        for i, merge in enumerate(merges)
        for a in (0, 1)
        for s in (1, 2)
    ]
    record(results, rows, parameters=["alpha"], models=merges)
    found = charts(results)
    assert len([name for name in found if name.startswith("sweep-")]) == 12
    assert (
        "Left out: the sweeps of 138 more merges"
        in [one for name, one in found.items() if name.startswith("sweep-")][-1].left_out
    )
    assert len(of(found, "loss-").rows) == 40
    assert "Left out: 110 merges" in of(found, "loss-").left_out
    assert {row["series"] for row in of(found, "steps-").rows} == {f"merge {i}" for i in range(10)}


def test_a_run_without_numbers_has_no_charts_of_them(results: Results) -> None:
    record(results, [])
    assert list(charts(results)) == ["time-by-kind"]


def test_a_sweep_without_any_number_is_not_drawn(results: Results) -> None:
    rows = [score("blend", math.nan, alpha=alpha, step=step) for alpha in (0.0, 0.5) for step in (1, 2)]
    record(results, [*rows, score("average", 2.0)], parameters=["alpha"])
    assert not [name for name in charts(results) if name.startswith("sweep-")]
    assert "Scores that are not numbers" in html_report(results)


@pytest.mark.parametrize(
    ("curves", "told"),
    [
        ([{10: 2.0, 20: 3.0}, {10: 2.5, 20: 3.5}], "rises by: blend 1.000 [1.000,\u00a01.000]. "),
        (
            [{10: 2.0, 20: 3.0}, {10: 2.5, 20: 2.25}],
            "rises by: blend 0.375 [\u22127.566,\u00a08.316] (may be chance). ",
        ),
        ([{10: 2.0, 20: 1.5}, {10: 2.5, 20: 2.25}], "Lowest at the last step, so that no turn was seen: blend. "),
    ],
)
def test_regression_is_told_with_its_sureness(results: Results, curves: list[dict[int, float]], told: str) -> None:
    record(
        results,
        [score("blend", value, seed=seed, step=step) for seed, of in enumerate(curves) for step, value in of.items()],
    )
    assert told in of(charts(results), "steps-").summary + " "


def test_similarity_of_the_own_task_stands_against_its_loss(results: Results) -> None:
    """And that of others where there is none, which the caption says. A seed that is no number takes its step along."""
    tasks = [TaskRow(name=name, use="word_problems") for name in ("program", "math", "far")]
    writer = start(results, parameters=["alpha"], tasks=tasks)
    for step in (10, 20, 30):
        for task in ("program", "math"):
            writer.scores([score("blend", step + alpha, step=step, alpha=alpha, task=task) for alpha in (0.0, 0.5)])
        own = similarity(0, 0, math.nan if step == 30 else step / 100, steps=(step, step))
        writer.similarities([own, similarity(0, 0, step / 100, steps=(step, step), seed=1)])
        writer.similarities([replace(own, task="far", value=0.9)])
    writer.finish("finished")
    found = charts(results)
    rows = of(found, "loss-against-cka-program").rows
    assert {(row["step"], round(row["similarity"], 9)) for row in rows} == {(10, 0.1), (20, 0.2)}
    assert "at the same step. " in of(found, "loss-against-cka-program").caption
    assert "at the same step (on far and program). " in of(found, "loss-against-cka-math").caption


def test_figures_show_themselves_in_notebooks(drawn: Mapping[str, Figure]) -> None:
    bundle = of(drawn, "loss-pro")._repr_mimebundle_()
    assert any("vega" in kind or "html" in kind for kind in (bundle[0] if isinstance(bundle, tuple) else bundle))


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 2, 3, 4], "linear"),
        ([0.01, 0.1, 1], "log"),
        ([0, 10, 20, 80, 320], "sqrt"),
        ([-1, 0, 8, 100], "linear"),
        ([5], "linear"),
    ],
)
def test_axes_are_spaced_as_the_values_are(values: list[float], kind: str) -> None:
    assert spacing(values) == kind


def test_rank_correlation_is_spearmans() -> None:
    from scipy.stats import spearmanr

    xs, ys = [3.0, 1.0, 2.0, 2.0, 9.0], [1.0, 5.0, 4.0, 4.5, 0.5]
    assert rank_correlation(xs, ys) == pytest.approx(float(spearmanr(xs, ys).statistic))
    assert math.isnan(rank_correlation([1.0, 1.0], [2.0, 3.0]))


def test_titles_hold_nothing_that_ends_a_string_of_an_expression(drawn: Mapping[str, Figure]) -> None:
    for figure in drawn.values():
        spec = figure.vega_lite(titled=False)
        titles = [value for key, value in walked({**spec, "datasets": {}}) if key == "title" and isinstance(value, str)]
        assert not [title for title in titles if '"' in title or "\\" in title]
    assert TASK in of(drawn, "loss-pro").title


def walked(part: Any) -> list[tuple[str, Any]]:
    if isinstance(part, dict):
        return [*part.items(), *(pair for value in part.values() for pair in walked(value))]
    return [pair for one in part for pair in walked(one)] if isinstance(part, list) else []


def test_several_pairs_of_models_are_chosen_from_a_menu(results: Results) -> None:
    writer = start(results)
    for a, b in (("math", "code"), ("math", "base"), ("code", "base")):
        fields = {
            name: getattr(similarity(0, 0, 0.5, steps=(1, 1)), name) for name in SimilarityRow.__dataclass_fields__
        }
        cells = [{"layer_a": i, "layer_b": j, "value": (i + j) / 8} for i in range(3) for j in range(3)]
        pair = {"model_a": a, "model_b": b}
        writer.similarities(
            [SimilarityRow(**(fields | pair | cell | {"step_a": s, "step_b": s})) for cell in cells for s in (1, 2)]
        )
    writer.finish("finished")
    figure = of(charts(results), "layers-cka")
    (menu,) = figure.vega_lite()["params"]
    assert menu["bind"]["options"] == [
        f"cka: {pair} on program" for pair in ("math and code", "math and base", "code and base")
    ]
    assert menu["value"] == menu["bind"]["options"][0]
    assert len(figure.rows) == 3 * 2 * 9
    assert export(figure, "svg").decode().count('aria-roledescription="rect mark"') == 2 * 9
