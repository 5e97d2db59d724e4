"""The site in Chromium: pages open, charts are drawn, the console stays clean, and nothing leaves the machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from compat_spec.results import open_results
from compat_spec.serve.site import Site
from tests.report.made_up import everything

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.xdist_group("browser")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A run that has something of everything, with names that no page should trust."""
    everything(open_results(tmp_path / "results.db", create=True))
    return tmp_path / "results.db"


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """A page that fails the test when it asks another server for something, or when its console has an error."""
    page = browser.new_page(viewport={"width": 1100, "height": 900})
    elsewhere, errors = list[str](), list[str]()
    page.on(
        "request", lambda request: None if request.url.startswith((address, "data:")) else elsewhere.append(request.url)
    )
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    assert page.evaluate("window.attacked") is None
    page.close()
    assert (elsewhere, errors) == ([], [])


def test_from_the_home_page_to_a_chart_and_its_rows(page: Page, address: str) -> None:
    page.goto(address)
    assert page.locator("table.runs tbody tr").count() == 1
    page.get_by_text("When do experts merge best?").click()
    page.wait_for_selector("#chart[data-drawn]")
    assert page.locator("#chart svg .mark-line path").count() > 0
    assert page.locator("table.rows-and-columns tbody tr").count() >= 4
    page.locator("input[name=task]").fill("nonesuch")
    page.get_by_text("Run SQL").click()
    page.wait_for_selector(".zero-results")


def test_every_chart_is_drawn(page: Page, address: str, site: Site) -> None:
    with_charts = [question for question in site.questions() if question.chart]
    assert len(with_charts) > 8
    for question in with_charts:
        page.goto(address + site.urls.query("results", question.name))
        page.wait_for_selector("#chart[data-drawn]")
        marks = "path, rect, line"
        drawn = page.locator(
            "#chart svg g[class*=mark-symbol], #chart svg g[class*=mark-rect], #chart svg g[class*=mark-rule]"
        )
        assert drawn.locator(marks).count() > 1, question.name


def test_a_chart_of_some_of_the_rows_says_so(page: Page, address: str, site: Site) -> None:
    site.max_returned_rows = 5
    page.goto(address + site.urls.query("results", "over_alpha"))
    page.wait_for_selector("#chart[data-drawn]")
    assert page.locator("figcaption").inner_text().startswith("Only the first 5 rows are drawn")
    site.max_returned_rows = 5000
    page.reload()
    page.wait_for_selector("#chart[data-drawn]")
    assert page.locator("figcaption").count() == 0


def test_maps_are_titled_by_what_they_differ_in(page: Page, address: str, site: Site) -> None:
    page.goto(address + site.urls.query("results", "cka_by_layers"))
    page.wait_for_selector("#chart[data-drawn]")
    titles = page.locator("#chart svg text").all_text_contents()
    steps = [title[:8] for title in titles if title.startswith("step ")]
    assert steps == ["step 10:", "step 20:", "step 40:", "step 80:"]


def test_a_report_opens_with_its_charts(page: Page, address: str) -> None:
    page.goto(address)
    page.get_by_role("link", name="report", exact=True).click()
    page.locator("[data-chart]").first.scroll_into_view_if_needed()
    page.wait_for_selector("[data-chart][data-drawn]")
    assert page.locator("[data-chart] svg").count() > 0
