"""What the pages say: the runs, the questions and their answers, reports, and mistakes."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from compat_spec.results import open_results
from compat_spec.results.views import definitions
from compat_spec.serve.server import site_of
from compat_spec.serve.site import VIEWS, Site
from tests.results.made_up import record, score, similarity, start
from tests.serve.conftest import ask, fill, rows


def answer(site: Site, question: str, **parameters: str) -> list[dict[str, object]]:
    path = site.urls.query("results", question, format="json")
    response = ask(site, path, params={"_shape": "array", **parameters})
    assert response.status_code == 200, response.text
    found: list[dict[str, object]] = response.json()
    return found


def test_the_home_page_has_each_run_with_its_best_merge_and_its_report(site: Site) -> None:
    page = ask(site, "/").text
    ((run,),) = rows(site, "SELECT id FROM runs")
    assert f'href="/-/report/{run}"' in page
    assert f"/results/time_per_step?run={run}" in page
    assert "blend (alpha 0, step 10): loss 3.050 [2.415,\xa03.685] on program" in page  # 3.0 and 3.1, Student's t
    for question in site.questions():
        assert question.title in page
    for view in VIEWS:
        assert f"/results/{view}" in page


def test_before_the_first_run_it_says_what_to_do(tmp_path: Path) -> None:
    open_results(tmp_path / "results.db", create=True)
    site = site_of(str(tmp_path / "results.db"))
    page = ask(site, "/")
    assert page.status_code == 200
    assert "compat run specs/quickstart.yaml" in page.text
    for question in site.questions():
        assert answer(site, question.name) == []


def test_every_question_has_an_answer(site: Site) -> None:
    names = [question.name for question in site.questions()]
    assert len(set(names)) == len(names) > 10
    for name in names:
        assert answer(site, name), name
        assert ask(site, site.urls.query("results", name)).status_code == 200


def test_the_best_merges_have_their_intervals(site: Site) -> None:
    found = {row["merge"]: row for row in answer(site, "best_merges")}
    low, high = stats.t.interval(0.95, 1, loc=3.05, scale=stats.sem(np.array([3.0, 3.1])))
    best = found["blend"]
    assert (best["loss"], best["alpha"], best["seeds"]) == (3.05, 0.0, 2)
    assert best["low"] == pytest.approx(low, abs=1e-3)
    assert best["high"] == pytest.approx(high, abs=1e-3)


def test_every_view_is_told(site: Site) -> None:
    assert set(VIEWS) == set(definitions([], None))


def test_intervals_of_many_seeds_are_not_too_narrow(tmp_path: Path) -> None:
    results = open_results(tmp_path / "results.db", create=True)
    losses = [2 + seed % 3 for seed in range(24)]
    record(results, [score("average", loss, seed=seed) for seed, loss in enumerate(losses)])
    (found,) = answer(site_of(str(tmp_path / "results.db")), "best_merges")
    low, high = stats.t.interval(0.95, 23, loc=np.mean(losses), scale=stats.sem(losses))
    assert low - 0.01 < found["low"] <= low + 1e-4
    assert high - 1e-4 <= found["high"] < high + 0.01


def test_what_differs_is_not_drawn_as_one(tmp_path: Path) -> None:
    """Metrics that both give CKA, pairs of different steps, splits, and metrics that both give a loss."""
    results = open_results(tmp_path / "results.db", create=True)
    writer = start(results, parameters=["alpha"])
    maps = [similarity(0, 0, value, steps=(10, step)) for step, value in ((10, 0.5), (20, 0.25))]
    writer.similarities([*maps, *(replace(one, metric="kernel", value=0.125) for one in maps)])
    for metric, split, value in (("loss", "test", 1.0), ("all", "test", 2.0), ("loss", "train", 3.0)):
        about: dict[str, Any] = {"metric": metric, "split": split, "alpha": 0.5}
        writer.scores([score("blend", value, step=10, **about), score("blend", value, step=20, **about)])
    writer.finish("finished")
    site = site_of(str(tmp_path / "results.db"))
    found = [(row["models"], row["step_a"], row["step_b"], row["cka"]) for row in answer(site, "cka_by_layers")]
    pairs = ("kernel: math and code", 0.125, 0.125), ("math and code", 0.5, 0.25)
    assert sorted(found) == [(models, 10, step, cka[i]) for models, *cka in pairs for i, step in enumerate((10, 20))]
    drifts = {(row["models"], row["cka"]) for row in answer(site, "cka_over_steps")}
    assert drifts == {("kernel: math and code", 0.125), ("math and code", 0.5)}
    best = [(row["metric"], row["split"], row["step"], row["loss"]) for row in answer(site, "over_steps")]
    assert len(best) == 6
    assert {(metric, split): loss for metric, split, _, loss in best} == {
        ("loss", "test"): 1.0,
        ("all", "test"): 2.0,
        ("loss", "train"): 3.0,
    }
    against = {(row["metric"], row["split"], row["models"]) for row in answer(site, "loss_against_cka")}
    assert len(against) == 6
    assert {row["split"] for row in answer(site, "over_alpha")} == {"test", "train"}


def test_routers_at_other_points_are_not_one(tmp_path: Path) -> None:
    results = open_results(tmp_path / "results.db", create=True)
    loads = {2: (0.75, 0.25), 3: (0.5, 0.25, 0.25)}
    rows = [
        score("blend", load, quantity="load", block=0, expert=expert, step=80, parameters={"span": span})
        for span, of_span in loads.items()
        for expert, load in enumerate(of_span)
    ]
    record(results, rows, parameters=["span", "other"])
    found = answer(site_of(str(tmp_path / "results.db")), "router_load")
    assert [(row["at"], row["load"]) for row in found] == [
        (f"span {span}, step 80", load) for span, of_span in loads.items() for load in of_span
    ]


def test_a_sweep_is_a_question_of_its_own(site: Site) -> None:
    found = [(row["step"], row["alpha"], row["loss"]) for row in answer(site, "over_alpha")]
    assert found == [(10, 0.0, 3.05), (10, 0.5, 3.55), (20, 0.0, 3.05), (20, 0.5, 3.55)]


def test_a_parameter_chooses_the_experiment_the_task_and_the_run(site: Site, file: Path) -> None:
    other = fill(open_results(file, create=True), "layers")
    assert {row["run"] for row in answer(site, "best_merges")} == {other}
    older = {row["run"] for row in answer(site, "best_merges", experiment="routing")}
    assert len(older | {other}) == 2
    assert answer(site, "best_merges", task="math") == []
    assert {row["run"] for row in answer(site, "time_per_step", run=older.pop())} != {other}
    assert {row["experiment"] for row in answer(site, "all_runs")} == {"routing", "layers"}


def test_loss_against_cka_takes_the_experts_of_each_merge(site: Site) -> None:
    found = answer(site, "loss_against_cka")
    assert {(row["merge"], row["step"], row["cka"]) for row in found} == {
        (merge, step, 0.75) for merge in ("average", "blend") for step in (10, 20)
    }
    assert [row["loss"] for row in found if row["merge"] == "average"] == [3.6, 3.7, 3.7, 3.8]


def test_what_failed_is_told_and_nothing_in_it_is_markup(site: Site) -> None:
    page = ask(site, "/results/failures").text
    assert "train code: &lt;b&gt;no&lt;/b&gt; memory" in page


def test_a_report_is_a_page(site: Site) -> None:
    ((run,),) = rows(site, "SELECT id FROM runs")
    page = ask(site, f"/-/report/{run}")
    assert page.status_code == 200
    assert f"<title>routing, run {run}</title>" in page.text
    assert f'<a href="/-/report/{run}" title="The report of this run">{run}</a>' in ask(site, "/results/loss").text


def test_mistakes_are_told_on_the_page_and_not_on_the_terminal(site: Site, capfd: pytest.CaptureFixture[str]) -> None:
    for path, status, words in [
        ("/-/report/nonesuch", 404, "no run &#39;nonesuch&#39;; see compat runs"),
        ("/results?sql=SELECT+nope+FROM+loss", 400, "no such column: nope"),
        ("/results/nonesuch", 404, "Table not found"),
        ("/nonesuch", 404, "404"),
    ]:
        response = ask(site, path)
        assert response.status_code == status
        assert words in response.text
    assert capfd.readouterr() == ("", "")


def test_a_run_that_brings_a_sweep_brings_its_question(tmp_path: Path) -> None:
    results = open_results(tmp_path / "results.db", create=True)
    site = site_of(results.name)
    assert not [question for question in site.questions() if question.name == "over_alpha"]
    fill(results)
    assert [question.title for question in site.questions() if re.match("over_(alpha|layers)", question.name)] == [
        "Loss over alpha",
        "Loss over layers.first",
    ]
