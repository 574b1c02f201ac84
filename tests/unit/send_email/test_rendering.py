"""A mail says all that it should in HTML and in plain text, and nobody's name becomes markup or a header."""

from __future__ import annotations

import re
import tomllib
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from html import unescape
from html.parser import HTMLParser

import pytest

from functions.send_email import formats
from functions.send_email.rendering import TEMPLATES, Mail, render
from qstash_jobs.jobs.send_email import EmailTemplate, TeamInvitationData, WelcomeData
from qstash_jobs.settings import Settings
from tests.unit.send_email.samples import LINK, SAMPLES, least

SETTINGS = Settings.read(
    {"PRODUCT_NAME": "Northwind", "APP_URL": "https://northwind.example", "SUPPORT_EMAIL": "help@northwind.example"}
)
HOSTILE = """<script>alert(1)</script>"><img src=x onerror='x'>&{{ product }}"""

SAYS: dict[EmailTemplate, list[str]] = {
    "welcome": ["Ada", LINK],
    "passwordReset": ["Ada", LINK, "90 minutes"],
    "passwordChanged": ["Ada", LINK, "3 March 2026, 09:05 UTC", "2001:db8::1"],
    "emailChange": ["Ada", LINK, "ada@example.org", "1 hour"],
    "teamInvitation": ["Charles", "Analytical Engines", LINK, "Admin", "10 March 2026, 00:00 UTC"],
    "subscriptionCreated": ["Ada", "Team", "€1,290.00 per year", "3 March 2027", LINK],
    "paymentFailed": ["Ada", "Team", "CHF\N{NO-BREAK SPACE}29.00", "6 March 2026", LINK],
    "exportReady": ["activity logs", "CSV, 1.8 MB", "12,345 rows", "10 March 2026, 00:00 UTC", LINK],
    "reportReady": ["Billing", "1 to 31 March 2026", "10 March 2026, 00:00 UTC", LINK],
}


class Outline(HTMLParser):
    """The tags that a browser would see, the links, and whether all that was opened was closed."""

    VOID = frozenset({"br", "hr", "img", "input", "link", "meta"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: set[str] = set()
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links.update(value for name, value in attrs if name == "href" and value)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert tag == self.open.pop()


def rendered(template: EmailTemplate) -> Mail:
    return render(SAMPLES[template], SETTINGS)


@pytest.mark.parametrize("template", sorted(SAMPLES))
@pytest.mark.parametrize("part", ["html", "text"])
def test_says_everything(template: EmailTemplate, part: str) -> None:
    """Each variable, the product and the support address are in the HTML and in the plain text."""
    words = unescape(getattr(rendered(template), part))

    assert [expected for expected in SAYS[template] if expected not in words] == []
    assert "Northwind" in words
    assert "help@northwind.example" in words


@pytest.mark.parametrize("template", sorted(SAMPLES))
def test_nothing_is_left_over(template: EmailTemplate) -> None:
    """No mail shows a placeholder or a None, with all its variables or with as few as may be."""
    for data in (SAMPLES[template], least(SAMPLES[template])):
        mail = render(data, SETTINGS)
        for words in (mail.subject, mail.html, mail.text):
            assert not re.search(r"\{\{|\}\}|\{%|%\}|\bNone\b|Undefined", words)
        assert "\n\n\n\n" not in mail.text
        assert not re.search(r"<\w", mail.text)


@pytest.mark.parametrize("template", sorted(SAMPLES))
def test_html_is_whole(template: EmailTemplate) -> None:
    """The HTML closes what it opens, loads nothing, and links only where it should."""
    outline = Outline(rendered(template).html)

    assert outline.open == []
    assert not outline.tags & {"script", "img", "link", "iframe", "form", "object"}
    assert {LINK, "https://northwind.example", "mailto:help@northwind.example"} == outline.links


@pytest.mark.parametrize("template", sorted(SAMPLES))
def test_html_suits_mail_clients(template: EmailTemplate) -> None:
    """Each has a preview, declares dark mode, fits a phone, and names itself to screen readers."""
    html = rendered(template).html

    assert html.startswith("<!doctype html>")
    assert '<meta name="color-scheme" content="light dark">' in html
    assert "@media (prefers-color-scheme: dark)" in html
    assert "max-width:560px" in html
    assert 'lang="en"' in html
    assert html.count("<h1") == 1
    assert all(re.search('role="presentation"|class="panel"', table) for table in re.findall(r"<table [^>]*>", html))
    assert re.search(r'<div style="display:none;[^"]*">[\w€]', html)


@pytest.mark.parametrize("template", sorted(SAMPLES))
def test_same_variables_same_mail(template: EmailTemplate) -> None:
    """A repeated attempt renders the same bytes, also after the variables went over the wire."""
    job = SAMPLES[template].addressed("ada@example.com")

    assert rendered(template) == render(type(job).arrive(job.wire()).data, SETTINGS)


@pytest.mark.parametrize("name", ["inviter_name", "organization_name", "role"])
def test_hostile_names_are_only_words(name: str) -> None:
    """Markup in a name is shown, and does nothing."""
    data = SAMPLES["teamInvitation"].model_copy(update={name: HOSTILE})

    mail = render(data, SETTINGS)

    assert not Outline(mail.html).tags & {"script", "img"}
    assert HOSTILE in unescape(mail.html)
    assert HOSTILE in mail.text


def test_hostile_link_stays_in_its_attribute() -> None:
    """A quote in a link does not end its attribute."""
    link = """https://example.com/"onmouseover="alert(1)'<b>"""

    outline = Outline(render(WelcomeData(recipient_name="Ada", login_url=link), SETTINGS).html)

    assert link in outline.links
    assert "b" not in outline.tags


def test_no_line_break_in_a_subject() -> None:
    """Whatever reaches it, a subject is one line: no name adds a header."""
    data = TeamInvitationData.model_construct(
        inviter_name="Eve\r\nBcc: all@example.com",
        organization_name="x\ny",
        invite_url=LINK,
        role=None,
        expires_at=None,
    )

    assert render(data, SETTINGS).subject == "Eve Bcc: all@example.com invited you to x y on Northwind"


def test_each_template_has_its_files() -> None:
    """Subject, preview, HTML and plain text stand side by side, and nothing else does."""
    heads = tomllib.loads((TEMPLATES / "mails.toml").read_text(encoding="utf-8"))

    assert set(SAMPLES) == set(heads)
    assert all({"subject", "preview"} == set(head) for head in heads.values())
    for suffix in ("html", "txt"):
        files = {path.stem for path in TEMPLATES.glob(f"*.{suffix}")}
        assert set(SAMPLES) == files - {"layout", "parts"}


@pytest.mark.parametrize(
    ("amount", "currency", "written"),
    [
        ("29", "USD", "$29.00"),
        ("1290.5", "EUR", "€1,290.50"),
        ("0", "GBP", "£0.00"),
        ("3000.00", "JPY", "¥3,000"),
        ("1.2345", "KWD", "KWD\N{NO-BREAK SPACE}1.234"),
        ("9999999999.99", "CHF", "CHF\N{NO-BREAK SPACE}9,999,999,999.99"),
    ],
)
def test_money(amount: str, currency: str, written: str) -> None:
    """An amount is written with its currency's decimals."""
    assert written == formats.money(Decimal(amount), currency)


@pytest.mark.parametrize(
    ("minutes", "written"),
    [(1, "1 minute"), (45, "45 minutes"), (60, "1 hour"), (90, "90 minutes"), (120, "2 hours"), (2880, "2 days")],
)
def test_span(minutes: int, written: str) -> None:
    """A span is told in its largest whole unit."""
    assert written == formats.span(minutes)


def test_dates() -> None:
    """Dates are written out, moments in UTC."""
    east = timezone(timedelta(hours=5, minutes=30))

    assert formats.day(date(2026, 12, 31)) == "31 December 2026"
    assert formats.moment(datetime(2027, 1, 1, 5, 15, tzinfo=east)) == "31 December 2026, 23:45 UTC"
    assert formats.moment(datetime(2027, 1, 1, tzinfo=UTC)) == "1 January 2027, 00:00 UTC"
