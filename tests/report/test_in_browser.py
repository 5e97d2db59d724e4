"""The page in Chromium, from a file: it draws, it asks for nothing, it fits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from compat_spec.report import html_report
from compat_spec.results import Results

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.xdist_group("browser")

MARKS = """elements => elements.map(element => ({
    name: element.dataset.chart,
    marks: element.querySelectorAll('svg.marks [aria-roledescription$="mark"], svg.marks .mark-symbol path, '
        + 'svg.marks .mark-rect path, svg.marks .mark-line path').length,
    canvas: element.querySelectorAll('canvas.marks').length,
    tall: element.querySelector('.marks')?.getBoundingClientRect().height ?? 0,
}))"""


@pytest.fixture(scope="module")
def file(full: Results, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(html_report(full), "utf-8")
    return path


class Opened:
    """A page with all that it said and asked for."""

    def __init__(self, page: Page, file: Path) -> None:
        from playwright.sync_api import expect

        self.page = page
        self.said: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        page.goto(file.as_uri())
        for chart in page.locator("[data-chart]").all():
            chart.scroll_into_view_if_needed()
        expect(page.locator("[data-chart]:not([data-drawn])")).to_have_count(0, timeout=20_000)


@pytest.fixture(scope="module")
def wide(browser: Browser, file: Path) -> Iterator[Opened]:
    page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="light")
    yield Opened(page, file)
    page.close()


def test_each_chart_has_drawn_marks_and_nothing_is_said_or_asked(wide: Opened, file: Path, tmp_path: Path) -> None:
    drawn = wide.page.locator("[data-chart]").evaluate_all(MARKS)
    assert len(drawn) == 17
    for chart in drawn:
        assert chart["marks"] > 1, chart
        assert chart["tall"] > 60, chart
    assert wide.said == []
    assert [url for url in wide.requests if not url.startswith(("data:", "blob:"))] == [file.as_uri()]
    assert wide.page.evaluate("window.attacked") is None
    picture = tmp_path / "report.png"
    wide.page.screenshot(path=picture, full_page=True)
    assert picture.stat().st_size > 100_000


def test_charts_say_what_they_show(wide: Opened) -> None:
    chart = wide.page.locator("[data-chart=loss-pro-gram-b] [role=graphics-document]")
    assert "Best: direct with 1.625" in (chart.get_attribute("aria-label") or "")


def test_hovering_shows_numbers(wide: Opened) -> None:
    wide.page.locator("[data-chart=loss-pro-gram-b] svg.marks .mark-symbol path").first.hover()
    tip = wide.page.locator("#vg-tooltip-element.visible")
    tip.wait_for()
    assert "direct" in tip.inner_text()


def test_data_opens_by_the_keyboard(wide: Opened) -> None:
    summary = wide.page.locator("#loss-pro-gram-b details.data > summary")
    summary.focus()
    wide.page.keyboard.press("Enter")
    table = wide.page.locator("#loss-pro-gram-b details.data table")
    assert table.is_visible()
    assert table.locator("tbody tr").count() == 9
    assert table.locator("th").first.inner_text() == "model"


def test_the_button_changes_the_colours_of_page_and_charts(wide: Opened) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    light = wide.page.evaluate(background)
    button = wide.page.locator("#theme")
    button.click()
    assert button.inner_text().endswith("light")
    button.click()
    wide.page.locator("[data-chart=timeline][data-drawn=dark]").wait_for()
    assert wide.page.evaluate(background) != light
    button.click()
    wide.page.locator("[data-chart=timeline][data-drawn=light]").wait_for()
    assert wide.page.evaluate(background) == light


def test_a_dark_phone_has_dark_charts_and_does_not_scroll_sideways(browser: Browser, file: Path) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme="dark")
    opened = Opened(page, file)
    assert opened.said == []
    assert page.locator("[data-drawn=dark]").count() == 17
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(int(part) for part in colour[4:-1].split(",")) < 60
    widths = page.locator("[data-chart] .marks").evaluate_all(
        "all => all.map(one => one.getBoundingClientRect().width)"
    )
    assert max(widths) <= 358
    page.close()
