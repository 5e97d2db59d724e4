"""The command line from end to end, as a newcomer meets it: specs/quickstart.yaml."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from pathlib import Path

import pytest

from compat_spec import charts, html_report, open_results
from tests.run.experiments import Workplace

SPECS = Path(__file__).parents[1] / "specs"

pytestmark = pytest.mark.xdist_group("quickstart")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    place = Workplace(tmp_path_factory.mktemp("quickstart"))
    shutil.copy(SPECS / "quickstart.yaml", place.folder)
    return place


@pytest.fixture(scope="module")
def first(place: Workplace) -> list[str]:
    """What the first run prints."""
    done = place.compat("run", "quickstart.yaml")
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_it_says_what_it_does_line_by_line(first: list[str]) -> None:
    total = int(re.fullmatch(r"(\d+) steps to compute, on cpu \(1 threads?\)", first[0])[1])  # type: ignore[index]
    done = [line for line in first if re.match(r"\[ *\d+/\d+\] .*: [\d.]+ s$", line)]
    assert len(done) == total
    assert done[-1].startswith(f"[{total}/{total}]")
    assert any(re.fullmatch(rf"Computed {total} steps in .*\.", line) for line in first)


def test_it_closes_with_the_ways_to_combine_best_first(first: list[str]) -> None:
    start = next(i for i, line in enumerate(first) if line.startswith("On program (test split), best loss first"))
    rows = [line.split() for line in first[start + 2 : start + 10]]
    names = [row[0] for row in rows]
    losses = [float(row[2]) for row in rows]
    assert losses == sorted(losses)
    assert set(names) == {"base", "math", "code", "direct", "average", "blend", "ensemble", "router"}
    assert names[0] == "direct", "fine-tuning on the target is the bound"
    assert names.index("router") < names.index("blend") < names.index("math")
    assert first[-2] == "The results are in results.db. To look: compat report"
    assert first[-1].startswith("To ask: compat query ")


def test_its_report_has_a_verdict_and_charts(place: Workplace, first: list[str]) -> None:
    results = open_results(place.folder / "results.db", create=False)
    page = html_report(results)
    assert "Of 4 merges, router has the lowest loss" in page
    assert "One seed. Intervals are over" in page
    assert {"loss-program", "accuracy-program", "sweep-blend-program", "layers-cka", "timeline"} <= set(charts(results))


def test_the_query_that_it_suggests_works(place: Workplace, first: list[str]) -> None:
    query = re.search(r'compat query "(.*)"', first[-1])
    assert query is not None
    done = place.compat("query", query[1], "--format", "json")
    assert done.returncode == 0
    answer = json.loads(done.stdout)
    assert answer[0]["merge"] == "direct"


def test_plain_sqlite_reads_the_results(place: Workplace, first: list[str]) -> None:
    with sqlite3.connect(place.folder / "results.db") as connection:
        accuracy = dict(connection.execute("SELECT merge, avg(value) FROM accuracy GROUP BY merge"))
        cka = dict(connection.execute("SELECT step, avg(value) FROM cka WHERE layer_a = layer_b GROUP BY step"))
    assert accuracy["direct"] > accuracy["router"] > accuracy["code"] > 0
    assert 0 < cka[60] < cka[20] < 1, "experts part as they specialise"


def test_the_second_run_computes_nothing_and_says_so(place: Workplace, first: list[str]) -> None:
    done = place.compat("run", "quickstart.yaml")
    assert done.returncode == 0
    assert done.stdout.splitlines()[0].startswith("nothing to compute: all 50 steps are in the store")
    closing = first.index(next(line for line in first if line.startswith("On program")))
    assert done.stdout.splitlines()[-len(first[closing:]) :] == first[closing:]


def test_quietly_it_prints_nothing(place: Workplace, first: list[str]) -> None:
    done = place.compat("run", "quickstart.yaml", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_runs_and_show_know_it(place: Workplace, first: list[str]) -> None:
    runs = place.compat("runs")
    assert "quickstart" in runs.stdout
    shown = place.compat("show", "quickstart", "--steps")
    assert shown.returncode == 0
    assert "train base" in shown.stdout


def test_the_store_is_whole(place: Workplace, first: list[str]) -> None:
    done = place.compat("cache", "verify")
    assert (done.returncode, done.stdout.strip()) == (0, "50 artifacts, none broken")


def test_a_mistake_is_a_line_with_its_place_and_status_2(place: Workplace) -> None:
    text = (place.folder / "quickstart.yaml").read_text("utf-8")
    (place.folder / "bad.yaml").write_text(text.replace("logit_average", "logit_avrage"), "utf-8")
    done = place.compat("run", "bad.yaml")
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert re.match(r"bad\.yaml:\d+:\d+: merges\.ensemble\.use: no merge plugin 'logit_avrage'; did you mean", line)
