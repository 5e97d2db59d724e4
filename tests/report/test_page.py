"""The page: what is in it, that names are harmless, and that any run has one."""

from __future__ import annotations

import builtins
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from compat_spec.errors import CompatError
from compat_spec.report import NothingToShow, html_report
from compat_spec.report.page.page import description, embedded, vega
from compat_spec.results import Results, ResultsError, ScoreRow, StepRow
from tests.report.made_up import NASTY, everything
from tests.results.made_up import info, record, score, start


class Parts(HTMLParser):
    """The elements of a page, with the text of each kind."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, str] = {}
        self._open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        tag = self._open[-1] if self._open else ""
        self.text[tag] = self.text.get(tag, "") + " " + " ".join(data.split())


@pytest.fixture(scope="module")
def page(full: Results) -> str:
    return html_report(full)


@pytest.fixture(scope="module")
def parts(page: str) -> Parts:
    return Parts(page)


def test_names_cannot_leave_their_place(page: str, parts: Parts) -> None:
    assert NASTY not in page
    assert [tag for tag, _ in parts.elements].count("script") == 3
    assert not [tag for tag, _ in parts.elements if tag in ("img", "b", "i", "iframe", "object")]


def test_nothing_is_loaded(parts: Parts) -> None:
    for _, attributes in parts.elements:
        for name in ("src", "href", "data", "action", "srcset"):
            assert (attributes.get(name) or "#").startswith(("#", "data:"))
    policy = next(attributes["content"] or "" for _, attributes in parts.elements if attributes.get("http-equiv"))
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "eval" not in policy
    assert "http" not in policy


def test_the_verdict_comes_first(parts: Parts) -> None:
    headings = parts.text["h2"]
    assert headings.index("The verdict") < headings.index("What went wrong") < headings.index("How good each is")
    assert "Of 5 merges, router has the lowest loss: 2.625 [2.314, 2.936] nats per token." in page_text(parts)


def page_text(parts: Parts) -> str:
    return " ".join(parts.text.values())


def test_what_was_asked_and_where_it_comes_from_are_there(parts: Parts) -> None:
    text = page_text(parts)
    for words in ("specs/routing.yaml", "abc123", "python 3.11.2, torch 2.13.0", "activation_interpolation", "0, 1, 2"):
        assert words in text
    assert 'All of it <img src="https://example.com/x.png">' in text
    assert f"# {NASTY}" in text


def test_what_went_wrong_is_said(parts: Parts) -> None:
    text = page_text(parts)
    for words in (
        "The run is not whole: failed",
        "1 step failed",
        f"ValueError: {NASTY}",
        "1 step skipped, as what they need failed",
        "1 step with undefined similarities (NaN)",
        "their features do not vary",
        "2 values, over points and seeds",
    ):
        assert words in text


def test_charts_are_reachable_without_seeing_them(parts: Parts) -> None:
    ids = {attributes["id"] for _, attributes in parts.elements if attributes.get("id")}
    figures = [attributes for tag, attributes in parts.elements if tag == "figure"]
    assert len(figures) == 17
    for attributes in figures:
        assert attributes["aria-labelledby"] in ids
        assert attributes["aria-describedby"] in ids
    scrolled = [attributes for _, attributes in parts.elements if "scroll" in (attributes.get("class") or "")]
    assert all(attributes["tabindex"] == "0" for attributes in scrolled)


@pytest.mark.parametrize("status", ["finished", "failed", "interrupted", "running"])
def test_a_run_in_any_state_has_a_page(results: Results, status: str) -> None:
    writer = start(results)
    writer.scores([score("average", 3.0)])
    if status != "running":
        writer.finish(status)  # type: ignore[arg-type]
    page = html_report(results)
    assert ("The run is not whole" in page) == (status != "finished")
    assert "One seed. No interval: other seeds may differ by more." in page


def test_a_run_that_only_failed_has_a_page(results: Results) -> None:
    writer = results.start_run(info())
    writer.step(StepRow(fingerprint="a" * 64, kind="train", label="train base", status="failed", error="out of luck"))
    writer.finish("failed")
    page = html_report(results)
    assert "no score was recorded" in page
    assert "out of luck" in page


def test_a_run_is_chosen_by_id_or_experiment(results: Results) -> None:
    first = record(results, [score("average", 1.25)], "first")
    record(results, [score("average", 2.5)], "second")
    assert "1.250" in html_report(results, "first")
    assert "1.250" in html_report(results, first[:6])
    assert "2.500" in html_report(results)
    with pytest.raises(ResultsError, match="no run 'third'"):
        html_report(results, "third")


def test_a_run_that_recorded_nothing_is_a_clear_error(results: Results) -> None:
    writer = results.start_run(info())
    with pytest.raises(NothingToShow, match=f"run {writer.id} of routing .* has no steps and no numbers yet"):
        html_report(results)


@pytest.mark.parametrize("library", ["altair", "vl_convert"])
def test_a_missing_library_is_named_with_what_to_install(
    library: str, results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(results, [score("average", 1.0)])
    load = builtins.__import__

    def without(name: str, *arguments: Any, **keywords: Any) -> Any:
        if name.partition(".")[0] == library:
            raise ImportError(name)
        return load(name, *arguments, **keywords)

    vega.cache_clear()
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(CompatError, match=r'pip install "compat-spec\[plot\]"'):
        html_report(results)


def test_json_in_a_script_element_cannot_end_it() -> None:
    text = embedded({"</script>": "<!--\u2028&"})
    assert not re.search(r"[<>&\u2028]", text)
    assert text == '{"\\u003c/script\\u003e":"\\u003c!--\\u2028\\u0026"}'


def test_a_spec_that_cannot_be_read_has_no_description() -> None:
    for spec in ("- not\n- a spec", "description:", "description: {", "\t"):
        assert description(spec) == ""
    assert description("description: [1, 2]") == "[1, 2]"


def test_everything_again_while_it_runs(results: Results) -> None:
    everything(results, "running")
    assert "It was still running when this page was made" in html_report(results)


def test_what_intervals_are_over_is_said_of_each_task(results: Results) -> None:
    """Where tasks differ in their examples, the number of one is not told for all."""

    def of(task: str, examples: int) -> list[ScoreRow]:
        rows = [(place, float(place), 1.0) for place in range(examples)]
        return [score("average", (examples - 1) / 2, seed=seed, task=task, examples=rows) for seed in (0, 1)]

    record(results, of("program", 4) + of("math", 6))
    intervals = "confidence intervals over 2 seeds and 4 examples on program and 2 seeds and 6 examples on math"
    assert intervals in html_report(results)
