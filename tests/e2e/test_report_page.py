"""A report as a page in a real browser: hostile names do nothing, it fits a phone, follows the dark, and prints."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from functions.generate_report.rendering import html
from tests.e2e.conftest import PATIENCE_MS
from tests.unit.generate_report.documents import HOSTILE, hostile

pytestmark = pytest.mark.browser


@pytest.fixture
def page(browser: Browser, tmp_path: Path) -> Iterator[Page]:
    """The page with the worst names, opened from a file as a recipient opens it; what the browser complains of fails
    the test, and so does a request."""
    file = tmp_path / "report.html"
    file.write_bytes(html(hostile()))
    with browser.new_context(viewport={"width": 375, "height": 700}) as context:
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        troubles: list[str] = []
        page.on("console", lambda message: troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("request", lambda request: troubles.append(request.url) if request.url != file.as_uri() else None)
        page.goto(file.as_uri())
        yield page
        assert troubles == []


def test_names_are_shown_as_they_are(page: Page) -> None:
    """No script of a name runs, and each name is read as it was written."""
    expect(page).to_have_title(
        '#panic("run") $x$ *bold* _it_ @cite \\ [x] <label> `raw` // gone: Usage, 1 to 31 March 2026'
    )
    for name in ("arabic", "hebrew", "mixed", "entities", "template"):
        expect(page.get_by_role("rowheader", name=HOSTILE[name], exact=True)).to_be_visible()
    expect(page.get_by_role("img", name="A chart")).to_be_visible()


def test_it_fits_a_phone(page: Page) -> None:
    """Nothing sticks out sideways; what is wider scrolls within itself, also by keyboard."""
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    chart = page.locator(".scroll")
    assert chart.evaluate("node => node.scrollWidth > node.clientWidth")
    chart.focus()
    expect(chart).to_be_focused()


def test_it_follows_the_dark_and_prints_on_white(page: Page) -> None:
    """Dark where the reader's system is; on paper always dark on white."""
    ground = "node => getComputedStyle(node).backgroundColor"
    page.emulate_media(color_scheme="dark")
    assert page.locator("body").evaluate(ground) == "rgb(16, 18, 22)"
    assert page.locator(".fill-0").first.evaluate("node => getComputedStyle(node).fill") == "rgb(169, 185, 255)"

    page.emulate_media(color_scheme="dark", media="print")
    assert page.locator("body").evaluate(ground) == "rgb(255, 255, 255)"
    assert page.locator("h1").evaluate("node => getComputedStyle(node).color") == "rgb(21, 24, 30)"
