"""`compat report` and `compat plot`."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from compat_spec.cli import plot, report
from compat_spec.errors import UsageError
from compat_spec.report import NothingToShow
from compat_spec.results import Results, ResultsError, open_results
from tests.results.made_up import info, record, score

app = typer.Typer()
app.command()(report.report)
app.command()(plot.plot)


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Results:
    monkeypatch.chdir(tmp_path)
    return open_results("results.db", create=True)


def said(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_a_report_is_written_and_named(results: Results) -> None:
    record(results, [score("average", 3.25), score("base", 3.5)])
    assert said("report").startswith("report.html (")
    assert "<h1>routing</h1>" in Path("report.html").read_text("utf-8")
    said("report", "routing", "--out", "new/folder/page.html")
    assert Path("new/folder/page.html").exists()


def test_a_report_says_what_is_wrong(results: Results) -> None:
    with pytest.raises(ResultsError, match="there are no runs yet"):
        said("report")
    results.start_run(info())
    with pytest.raises(NothingToShow, match="nothing to report"):
        said("report")
    with pytest.raises(NothingToShow, match="no numbers to draw"):
        said("plot", "--list")
    Path("folder").mkdir()
    with pytest.raises(UsageError, match="folder is a folder; name a file: --out folder/report"):
        said("report", "--out", "folder")
    record(results, [score("average", 3.25)])
    with pytest.raises(UsageError, match="cannot write results"):
        said("report", "--out", "results.db/report.html")


def test_plots_are_listed_and_written(results: Results) -> None:
    record(results, [score("average", 3.25), score("base", 3.5)])
    assert said("plot", "--list").splitlines() == [
        "loss-program  Loss of each model and merge on program (test split)",
        "time-by-kind  Time of the steps, by kind",
    ]
    assert said("plot").splitlines() == ["plots/loss-program.svg", "plots/time-by-kind.svg"]
    assert said("plot", "all", "routing", "--out", "pictures", "--format", "json").splitlines()[0] == (
        "pictures/loss-program.json"
    )
    assert said("plot", "loss-program").strip() == "loss-program.svg"
    said("plot", "loss-program", "last", "--out", "loss.png", "--scale", "1", "--no-titles")
    for path, start in (("plots/loss-program.svg", b"<svg"), ("loss-program.svg", b"<svg"), ("loss.png", b"\x89PNG")):
        assert Path(path).read_bytes().startswith(start)


def test_plot_says_what_is_wrong(results: Results) -> None:
    record(results, [score("average", 3.25), score("base", 3.5)])
    for arguments, message in (
        (("los-program",), "no chart 'los-program'; did you mean loss-program?"),
        (("--out", "one.svg"), "one.svg is one file for 2 charts; name a folder, or a chart from --list"),
        (("loss-program", "--out", "loss.gif"), "loss.gif should end in one of .svg, .png"),
        (("--format", "gif"), "no format 'gif'; there are svg, png, pdf, html, json"),
    ):
        with pytest.raises(UsageError, match=message.replace("(", r"\(").replace("?", r"\?")):
            said("plot", *arguments)
