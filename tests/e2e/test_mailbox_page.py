"""The mailbox's page in a real browser: it shows what comes, and no mail can do anything to it."""

from __future__ import annotations

import base64
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, Request, expect

from functions.send_email.rendering import render
from infra.local.mailbox import Mailbox
from qstash_jobs.settings import Settings
from tests.e2e.conftest import PATIENCE_MS
from tests.unit.send_email.samples import LINK, SAMPLES

pytestmark = pytest.mark.browser

MAIL: dict[str, Any] = {"from": "Northwind <hello@northwind.example>", "to": "ada@example.com", "subject": "Hello"}


@pytest.fixture(scope="module")
def running_mailbox() -> Iterator[Mailbox]:
    """One for all of them, in memory."""
    with Mailbox() as mailbox:
        yield mailbox


@pytest.fixture
def mailbox(running_mailbox: Mailbox) -> Mailbox:
    """Without mails and without faults."""
    running_mailbox.clear()
    return running_mailbox


@pytest.fixture
def page(browser: Browser, mailbox: Mailbox) -> Iterator[Page]:
    """The page, opened; a script error or a refused file fails the test."""
    with browser.new_context(viewport={"width": 1200, "height": 800}) as context:
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        troubles: list[str] = []
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.goto(mailbox.url)
        yield page
        assert troubles == []


def send(mailbox: Mailbox, **fields: object) -> httpx.Response:
    headers = {"authorization": "Bearer re_test"}
    return httpx.post(f"{mailbox.url}/emails", json=MAIL | fields, headers=headers, trust_env=False)


def is_framed(request: Request) -> bool:
    return request.frame.parent_frame is not None


def open_first(page: Page) -> None:
    page.locator("#list a").first.click()
    expect(page.locator("#mail")).to_be_visible()


def test_shows_mails_as_they_come(page: Page, mailbox: Mailbox) -> None:
    """A mail appears by itself, newest first."""
    expect(page.get_by_text("No mail yet")).to_be_visible()

    send(mailbox, text="Hello Ada")
    expect(page.locator("#list .subject")).to_have_text(["Hello"])
    send(mailbox, subject="Again", text="It is me")

    expect(page.locator("#list .subject")).to_have_text(["Again", "Hello"])
    expect(page.locator("#list .preview").first).to_have_text("It is me")
    expect(page).to_have_title("Mailbox (2)")


def test_reads_a_mail(page: Page, mailbox: Mailbox) -> None:
    """A mail of ours is shown as HTML, as plain text, and with what stands around it."""
    mail = render(SAMPLES["passwordReset"], Settings.read({"PRODUCT_NAME": "Northwind"}))
    send(mailbox, subject=mail.subject, html=mail.html, text=mail.text, tags=[{"name": "template", "value": "reset"}])
    open_first(page)

    expect(page.locator("#subject")).to_have_text("Reset your Northwind password")
    expect(page.locator("#to")).to_have_text("ada@example.com")
    button = page.frame_locator("#view-html iframe").get_by_role("link", name="Choose a new password")
    expect(button).to_be_visible()
    expect(button).to_have_attribute("href", LINK)
    page.get_by_role("tab", name="Text").click()
    expect(page.locator("#text")).to_contain_text(LINK)
    page.get_by_role("tab", name="Headers").click()
    expect(page.get_by_role("row", name="Tag: template")).to_contain_text("reset")


def test_plain_text_only(page: Page, mailbox: Mailbox) -> None:
    """A mail without HTML opens as plain text."""
    send(mailbox, text="Hello\n  Ada")
    open_first(page)

    expect(page.locator("#text")).to_be_visible()
    assert page.locator("#text").text_content() == "Hello\n  Ada"
    expect(page.get_by_role("tab", name="HTML")).to_be_disabled()


def test_downloads_what_is_attached(page: Page, mailbox: Mailbox) -> None:
    """Each attached file is a link that saves it, whatever it calls itself; a mail without files shows none."""
    name = "<b>März</b>.html"
    content = b"<script>document.title = 'run'</script>"
    attached = [{"filename": name, "content": base64.b64encode(content).decode()}]
    send(mailbox, subject="Plain", text="nothing attached")
    send(mailbox, text="see attached", attachments=attached)
    open_first(page)

    link = page.get_by_role("list", name="Attachments").get_by_role("link")
    expect(link).to_contain_text(name)
    expect(link).to_contain_text(f"{len(content)} bytes")
    with page.expect_download() as saved:
        link.click()
    assert Path(saved.value.path()).read_bytes() == content
    assert saved.value.suggested_filename == "_b_März__b_.html"
    page.get_by_role("tab", name="Headers").click()
    expect(page.get_by_role("row", name="Attachments")).to_contain_text(name)
    expect(page).to_have_title("Mailbox (2)")

    page.locator("#list a").nth(1).click()
    expect(page.locator("#subject")).to_have_text("Plain")
    expect(page.locator("#files")).to_be_hidden()


def test_links_open_apart(page: Page, mailbox: Mailbox) -> None:
    """A link in a mail opens in a window of its own, and that window works."""
    send(mailbox, html=f'<a href="{mailbox.url}/#elsewhere">go</a>')
    open_first(page)

    with page.context.expect_page() as opened:
        page.frame_locator("#view-html iframe").get_by_text("go").click()

    expect(opened.value.locator("#list .subject")).to_have_text(["Hello"])


def test_a_hostile_mail_does_nothing(page: Page, mailbox: Mailbox) -> None:
    """No script of a mail runs, no form is sent, nothing is fetched, and the page stays where it is."""
    fetched: list[str] = []
    page.context.on("requestfinished", lambda request: fetched.append(request.url) if is_framed(request) else None)
    markup = "<img src=x onerror='parent.document.title=1'><script>top.location='/api/mails'</script>"
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        stranger.setblocking(False)
        elsewhere = f"http://127.0.0.1:{stranger.getsockname()[1]}"
        html = f"""<meta http-equiv="refresh" content="0;url={elsewhere}/refresh">
            <link rel="stylesheet" href="{elsewhere}/style.css">
            <style>@import "{elsewhere}/import.css"; body {{ background: url({elsewhere}/bg.png) }}</style>
            {markup}<img src="{elsewhere}/pixel.png"><img src="/mailbox.svg"><iframe src="{mailbox.url}/"></iframe>
            <form action="/api/faults" method="post"><button>send</button></form>
            <a href="javascript:top.document.title=2">link</a><p id="end">the end</p>"""
        send(mailbox, subject=markup, text=markup, headers={"X-Hostile": markup}, html=html)
        open_first(page)
        frame = page.frame_locator("#view-html iframe")
        expect(frame.locator("#end")).to_be_visible()
        frame.get_by_role("button", name="send").click()
        frame.get_by_text("link", exact=True).click()
        expect(page.locator("#subject")).to_have_text(markup)
        page.get_by_role("tab", name="Headers").click()
        expect(page.get_by_role("row", name="X-Hostile")).to_contain_text(markup)

        assert page.url == f"{mailbox.url}/#{mailbox.mails()[0].id}"
        assert page.title() == "Mailbox (1)"
        assert page.locator("body img[src=x]").count() == 0
        assert fetched == [f"{mailbox.url}/mails/{mailbox.mails()[0].id}"]
        with pytest.raises(BlockingIOError):
            stranger.accept()


def test_fault_switches(page: Page, mailbox: Mailbox) -> None:
    """A fault that is switched on fails the next send, and then is gone from the page."""
    page.get_by_text("Faults").click()
    page.get_by_role("button", name="500").click()
    expect(page.locator("#fault-count")).to_have_text("1")

    assert send(mailbox, text="one").status_code == 500
    expect(page.locator("#fault-count")).to_be_hidden()
    assert send(mailbox, text="two").status_code == 200

    page.get_by_role("button", name="429").click()
    expect(page.locator("#fault-list li")).to_have_text(["429"])
    page.get_by_role("button", name="Let all sends succeed").click()
    expect(page.locator("#fault-list li")).to_have_count(0)
    assert send(mailbox, text="three").status_code == 200


def test_delete_all(page: Page, mailbox: Mailbox) -> None:
    """Deleting all leaves an empty mailbox, also while a mail is open."""
    send(mailbox, text="Hello")
    open_first(page)

    page.get_by_role("button", name="Delete all").click()

    expect(page.get_by_text("No mail yet")).to_be_visible()
    expect(page.locator("#mail")).to_be_hidden()
    assert mailbox.mails() == []


def test_on_a_phone(page: Page, mailbox: Mailbox) -> None:
    """On a phone the list and the mail take turns, and nothing sticks out sideways."""
    page.set_viewport_size({"width": 375, "height": 700})
    send(mailbox, subject="A rather long subject " * 8, html="<p>Hello", text="x" * 400)
    open_first(page)
    expect(page.locator("#list")).to_be_hidden()

    for tab in ("Text", "Headers", "HTML"):
        page.get_by_role("tab", name=tab).click()
        assert page.evaluate("document.documentElement.scrollWidth") <= 375
    page.get_by_text("Faults").click()
    box = page.locator(".menu").bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 375
    page.keyboard.press("Escape")
    page.get_by_role("link", name="All mails").click()
    expect(page.locator("#list")).to_be_visible()
    expect(page.locator("#mail")).to_be_hidden()


def test_dark_mode(page: Page, mailbox: Mailbox) -> None:
    """The page and a mail of ours follow the system into the dark."""
    mail = render(SAMPLES["welcome"], Settings.read({}))
    send(mailbox, subject=mail.subject, html=mail.html)
    page.emulate_media(color_scheme="dark")
    open_first(page)

    darkness = "node => getComputedStyle(node).backgroundColor"
    assert page.locator("body").evaluate(darkness) == "rgb(16, 18, 22)"
    card = page.frame_locator("#view-html iframe").locator(".card")
    assert card.evaluate(darkness) == "rgb(25, 28, 34)"


def test_tabs_by_keyboard(page: Page, mailbox: Mailbox) -> None:
    """The views are reached with the arrow keys."""
    send(mailbox, html="<p>Hello", text="Hello")
    open_first(page)
    page.get_by_role("tab", name="HTML").focus()

    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Text")).to_be_focused()
    expect(page.locator("#view-text")).to_be_visible()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#view-headers")).to_be_visible()


def test_says_when_the_mailbox_is_gone(browser: Browser) -> None:
    """A page whose mailbox has ended says so."""
    with Mailbox() as mailbox, browser.new_context() as context:
        page = context.new_page()
        page.goto(mailbox.url)
        expect(page.get_by_text("No mail yet")).to_be_visible()
        mailbox.stop()

        expect(page.get_by_role("alert")).to_be_visible()
