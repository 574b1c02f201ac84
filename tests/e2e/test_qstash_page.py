"""The local QStash's console in a real browser: it shows what happens, and what is shown can do nothing to it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, Request, expect

from infra.local.qstash import QStashServer
from tests.e2e.conftest import PATIENCE_MS
from tests.integration.qstash.conftest import Arrival, Destination
from tests.waiting import until

pytestmark = pytest.mark.browser

MARKUP = "<img src=x onerror='document.title=1'><script>document.title=2</script>"
WIDTHS = (380, 834, 1280)


@pytest.fixture
def server() -> Iterator[QStashServer]:
    """One of each test's own, in memory."""
    with QStashServer() as server:
        yield server


@pytest.fixture
def destination() -> Iterator[Destination]:
    """A place to deliver to."""
    destination = Destination()
    yield destination
    destination.close()


@pytest.fixture
def page(browser: Browser, server: QStashServer) -> Iterator[Page]:
    """The page, opened; a script error or a refused file fails the test."""
    with browser.new_context(viewport={"width": 1280, "height": 800}) as context:
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        troubles: list[str] = []
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.goto(server.url)
        expect(page.locator("#where")).not_to_be_empty()
        yield page
        assert troubles == []


def api(server: QStashServer, method: str, path: str, **options: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {server.token}"} | options.pop("headers", {})
    answer = httpx.request(method, server.url + path, headers=headers, trust_env=False, **options)
    assert answer.is_success, answer.text
    return answer


def publish(server: QStashServer, url: str, body: str | bytes = "", **headers: str) -> str:
    """`Delay="1s"` is the header Upstash-Delay."""
    named = {f"Upstash-{name.replace('_', '-')}": value for name, value in headers.items()}
    answer = api(server, "POST", f"/v2/publish/{url}", content=body, headers=named)
    return str(answer.json()["messageId"])


def fail_once(server: QStashServer, destination: Destination, **headers: str) -> str:
    destination.fail(1, body=b"the database is away")
    message_id = publish(server, f"{destination.url}/bad", Retries="0", **headers)
    until(lambda: api(server, "GET", "/v2/dlq").json()["messages"])
    return message_id


def rows(page: Page) -> Locator:
    return page.locator("#message-list a")


def view(page: Page, name: str) -> None:
    page.get_by_role("navigation", name="Views").get_by_role("link", name=name).click()
    expect(page.get_by_role("heading", name=name, exact=True)).to_be_visible()


def open_first(page: Page) -> None:
    rows(page).first.click()
    expect(page.locator("#detail")).to_be_visible()


def dialog(page: Page) -> Locator:
    return page.locator("#publish-dialog")


def test_shows_messages_as_they_come(page: Page, server: QStashServer, destination: Destination) -> None:
    """What is published appears by itself, the newest first, and its state follows what happens."""
    expect(page.get_by_text("No messages yet")).to_be_visible()
    environment = page.locator("#no-messages pre")
    expect(environment).to_contain_text(f'export QSTASH_URL="{server.url}"')
    expect(environment).to_contain_text(server.token)
    expect(environment).to_contain_text(server.next_signing_key)

    publish(server, f"{destination.url}/one", Label="welcome")
    expect(rows(page)).to_have_count(1)
    expect(rows(page).first).to_contain_text("/one")
    expect(rows(page).first).to_contain_text("welcome")
    expect(rows(page).first).to_contain_text("Delivered")
    publish(server, f"{destination.url}/two", Delay="1h")

    expect(rows(page)).to_have_count(2)
    expect(rows(page).first).to_contain_text("Waiting")
    expect(rows(page).first).to_contain_text(re.compile("in (1 h|59 min)"))
    expect(page.locator("#count-messages")).to_have_text("1")


def test_narrows_the_list(page: Page, server: QStashServer, destination: Destination) -> None:
    """By state with the chips, and by a label with a click on it."""
    publish(server, f"{destination.url}/one", Label="welcome")
    publish(server, f"{destination.url}/two", Delay="1h")
    publish(server, f"{destination.url}/three", Delay="1h", Label="other")

    page.get_by_role("link", name="Waiting", exact=True).click()
    expect(rows(page)).to_have_count(2)
    page.get_by_role("link", name="Failed", exact=True).click()
    expect(page.get_by_text("No such message")).to_be_visible()
    page.get_by_role("link", name="Show all messages").click()
    expect(rows(page)).to_have_count(3)
    open_first(page)
    page.locator("#facts").get_by_role("link", name="other").click()
    expect(rows(page)).to_have_count(1)
    page.get_by_role("link", name="Do not narrow to label other").click()
    expect(rows(page)).to_have_count(3)


def test_turns_pages(page: Page, server: QStashServer, destination: Destination) -> None:
    """More messages than a page holds are reached with a link, and the newest again."""
    entries = [{"destination": f"{destination.url}/{n}", "headers": {"Upstash-Delay": "1h"}} for n in range(60)]
    api(server, "POST", "/v2/batch", json=entries)
    expect(rows(page)).to_have_count(50)

    page.get_by_role("link", name="Older").click()
    expect(rows(page)).to_have_count(10)
    expect(rows(page).last).to_contain_text(f"{destination.url}/0")
    page.get_by_role("link", name="Newest").click()
    expect(rows(page)).to_have_count(50)
    expect(page.get_by_role("link", name="Newest")).to_be_hidden()


def test_tells_what_happened(page: Page, server: QStashServer, destination: Destination) -> None:
    """The detail has the timeline with each answer, the headers and the body, and grows while it is open."""
    destination.fail(1, body=b"the database is away")
    publish(
        server,
        f"{destination.url}/hook",
        '{"to": "ada"}',
        Forward_X_Tenant="northwind",
        Retries="2",
        Retry_Delay="600000",
    )
    open_first(page)

    timeline = page.locator("#timeline li")
    expect(timeline).to_have_count(4)
    expect(timeline.nth(2)).to_contain_text("HTTP 500")
    expect(timeline.nth(2)).to_contain_text("the database is away")
    expect(timeline.nth(3)).to_contain_text("Retry in 10 min")
    expect(page.locator("#facts")).to_contain_text("1 of 2")
    expect(rows(page).first).to_contain_text("retry 1 of 2 in")
    expect(page.get_by_role("row", name="X-Tenant")).to_contain_text("northwind")
    assert page.locator("#detail-body").text_content() == '{"to": "ada"}'

    server.advance(601)
    expect(page.locator("#detail-state")).to_have_text("Delivered")
    expect(timeline.last).to_contain_text("Delivered")
    expect(page.get_by_role("button", name="Cancel")).to_be_hidden()


def test_publishes(page: Page, destination: Destination) -> None:
    """What is filled in reaches the destination: method, body, headers, label."""
    page.get_by_role("button", name="Publish", exact=True).click()
    dialog(page).get_by_label("Destination").fill(f"{destination.url}/hook?x=1&y=a%20b")
    dialog(page).get_by_label("Method").select_option("PUT")
    dialog(page).get_by_label("Body").fill('{"grüße": "<b>"}')
    dialog(page).get_by_label("Headers").fill(
        "Content-Type: application/json\nX-Tenant: northwind\nUpstash-Timeout: 5s"
    )
    dialog(page).get_by_label("Label").fill("from the page")
    dialog(page).get_by_role("button", name="Publish").click()

    (arrival,) = destination.wait()
    assert (arrival.method, arrival.target) == ("PUT", "/hook?x=1&y=a%20b")
    assert arrival.body.decode() == '{"grüße": "<b>"}'
    assert arrival.headers["Content-Type"] == "application/json"
    assert arrival.headers["X-Tenant"] == "northwind"
    assert arrival.headers["Upstash-Label"] == "from the page"
    expect(dialog(page)).to_be_hidden()
    expect(page.locator("#detail-state")).to_have_text("Delivered")


def test_publishes_again(page: Page, server: QStashServer, destination: Destination) -> None:
    """A message that was sent can be sent once more as it was, even when its body is no text."""
    publish(server, f"{destination.url}/hook", b"\xff\x00\xfe", Forward_X_Tenant="northwind", Retries="1", Label="a,b")
    open_first(page)

    page.get_by_role("button", name="Publish again").click()
    expect(dialog(page).get_by_label("Body")).to_be_disabled()
    dialog(page).get_by_role("button", name="Publish").click()

    first, second = destination.wait(2)
    assert second.body == first.body
    assert (second.method, second.target) == (first.method, first.target)
    assert second.headers["X-Tenant"] == "northwind"
    assert second.headers["Upstash-Label"] == "a,b"
    assert "Content-Type" not in second.headers
    expect(rows(page)).to_have_count(2)


def test_publishes_to_a_queue(page: Page, server: QStashServer, destination: Destination) -> None:
    """With a queue named, the message waits in its line."""
    api(server, "POST", "/v2/queues", json={"queueName": "emails", "parallelism": 1, "paused": True})
    page.get_by_role("button", name="Publish", exact=True).click()
    dialog(page).get_by_label("Destination").fill(destination.url)
    dialog(page).get_by_label("Queue").fill("emails")
    dialog(page).get_by_role("button", name="Publish").click()

    expect(rows(page).first).to_contain_text("in line in emails")
    assert api(server, "GET", "/v2/queues/emails").json()["lag"] == 1


def test_shows_the_server_s_refusal(page: Page, destination: Destination) -> None:
    """What the server objects to is shown in its words, and the dialog stays."""
    page.get_by_role("button", name="Publish", exact=True).click()
    wrong = page.locator("#publish-wrong")
    send = dialog(page).get_by_role("button", name="Publish")
    dialog(page).get_by_label("Destination").fill("example.com")
    send.click()
    expect(wrong).to_have_text("invalid destination url: endpoint has invalid scheme, add http:// or https://")
    dialog(page).get_by_label("Destination").fill(destination.url)
    dialog(page).get_by_label("Retries").fill("9")
    send.click()
    expect(wrong).to_have_text("quota maxRetries exceeded, current limit: 5")
    dialog(page).get_by_label("Headers").fill("no colon")
    send.click()
    expect(wrong).to_contain_text("Line 1")
    page.keyboard.press("Escape")

    expect(dialog(page)).to_be_hidden()
    expect(rows(page)).to_have_count(0)


def test_cancels(page: Page, server: QStashServer, destination: Destination) -> None:
    """A waiting message is canceled, and never sent."""
    publish(server, destination.url, Delay="1h")
    open_first(page)

    page.get_by_role("button", name="Cancel").click()

    expect(page.locator("#detail-state")).to_have_text("Canceled")
    expect(rows(page).first).to_contain_text("Canceled")
    server.advance(3_600)
    assert destination.arrivals == []


def test_retries_a_dead_letter(page: Page, server: QStashServer, destination: Destination) -> None:
    """A dead letter shows why it is one, and is sent again as a new message."""
    fail_once(server, destination, Label="stripe")
    view(page, "Dead letters")
    row = page.get_by_role("row", name="/bad")
    expect(row).to_contain_text("HTTP 500")
    expect(row).to_contain_text("stripe")
    expect(row).to_contain_text("the database is away")

    row.get_by_role("button", name="Retry").click()

    expect(page.get_by_text("No dead letters")).to_be_visible()
    assert len(destination.wait(2)) == 2
    page.get_by_role("link", name="Look at it").click()
    expect(page.locator("#detail-state")).to_have_text("Delivered")


def test_deletes_a_dead_letter(page: Page, server: QStashServer, destination: Destination) -> None:
    """It is gone, and not sent."""
    fail_once(server, destination)
    view(page, "Dead letters")

    page.get_by_role("button", name="Delete").click()

    expect(page.get_by_text("No dead letters")).to_be_visible()
    assert len(destination.arrivals) == 1


def test_retries_all_dead_letters(page: Page, server: QStashServer, destination: Destination) -> None:
    """After a question that says how many; they are more than one call of the server takes."""
    destination.answer = lambda arrival: (500, {}, b"no")
    entries = [{"destination": f"{destination.url}/{n}", "headers": {"Upstash-Retries": "0"}} for n in range(120)]
    api(server, "POST", "/v2/batch", json=entries)
    view(page, "Dead letters")
    expect(page.locator("#count-dead-letters")).to_have_text("120")
    destination.answer = lambda arrival: (200, {}, b"")

    page.get_by_role("button", name="Retry all").click()
    page.get_by_role("button", name="Keep as it is").click()
    expect(page.locator("#ask")).to_be_hidden()
    page.get_by_role("button", name="Retry all").click()
    expect(page.locator("#ask")).to_contain_text("120 messages")
    page.get_by_role("button", name="Retry 120 messages").click()

    expect(page.get_by_text("No dead letters")).to_be_visible()
    assert len({arrival.target for arrival in destination.wait(240)[120:]}) == 120


def test_pauses_and_deletes_a_schedule(page: Page, server: QStashServer, destination: Destination) -> None:
    """A schedule shows its cron in its zone and its last result; it is paused, resumed and deleted."""
    headers = {"Upstash-Cron": "CRON_TZ=Europe/Berlin */5 * * * *", "Upstash-Schedule-Id": "sync"}
    api(server, "POST", f"/v2/schedules/{destination.url}/sync", headers=headers)
    view(page, "Schedules")
    row = page.get_by_role("row", name="sync")
    expect(row).to_contain_text("*/5 * * * *")
    expect(row).to_contain_text("Europe/Berlin")
    expect(row).to_contain_text("never")
    server.advance(300)
    expect(row).to_contain_text("Delivered")

    row.get_by_role("button", name="Pause").focus()
    page.keyboard.press("Enter")
    expect(row.get_by_role("button", name="Resume")).to_be_focused()
    assert api(server, "GET", "/v2/schedules/sync").json()["isPaused"] is True
    page.keyboard.press("Enter")
    expect(row.get_by_role("button", name="Pause")).to_be_focused()
    row.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()

    expect(page.get_by_text("No schedules")).to_be_visible()
    assert api(server, "GET", "/v2/schedules").json() == []


def test_pauses_a_queue(page: Page, server: QStashServer, destination: Destination) -> None:
    """A paused queue keeps its messages, and a resumed one lets them go."""
    api(server, "POST", "/v2/queues", json={"queueName": "emails", "parallelism": 2})
    view(page, "Queues")
    row = page.get_by_role("row", name="emails")

    row.get_by_role("button", name="Pause").click()
    expect(row).to_contain_text("Paused")
    api(server, "POST", f"/v2/enqueue/emails/{destination.url}")
    expect(row.locator("td[data-head=Lag]")).to_have_text("1")
    assert destination.arrivals == []

    row.get_by_role("button", name="Resume").click()
    expect(row.locator("td[data-head=Lag]")).to_have_text("0")
    destination.wait()


def test_pauses_a_flow_control_key(page: Page, server: QStashServer, destination: Destination) -> None:
    """A key shows what it has used of its limits; paused it keeps its messages, and resumed it lets them go."""
    limits = {"Flow_Control_Key": "a key", "Flow_Control_Value": "parallelism=5,rate=60,period=1m"}
    publish(server, destination.url, **limits)
    destination.wait()
    view(page, "Flow control")
    row = page.get_by_role("row", name="a key")
    expect(row).to_contain_text("0 of 5")
    expect(row).to_contain_text("1 of 60")
    expect(row).to_contain_text("per 1 min")

    row.get_by_role("button", name="Pause").click()
    expect(row).to_contain_text("Paused")
    publish(server, destination.url, **limits)
    expect(row.locator("td[data-head=Waiting]")).to_have_text("1")
    assert len(destination.arrivals) == 1
    row.get_by_role("button", name="Resume").click()

    assert len(destination.wait(2)) == 2
    expect(row.locator("td[data-head=Waiting]")).to_have_text("0")


def test_shows_url_groups(page: Page, server: QStashServer, destination: Destination) -> None:
    """A group shows its endpoints, and leads to the messages that went through it; the dialog publishes to it."""
    endpoints = [{"name": "crm", "url": f"{destination.url}/crm"}, {"url": f"{destination.url}/books"}]
    api(server, "POST", "/v2/topics/signups/endpoints", json={"endpoints": endpoints})
    publish(server, f"{destination.url}/other")
    view(page, "URL groups")
    row = page.get_by_role("row", name="signups")
    expect(row).to_contain_text("crm")
    expect(row).to_contain_text(f"{destination.url}/books")

    page.get_by_role("button", name="Publish", exact=True).click()
    dialog(page).get_by_label("Destination").fill("signups")
    dialog(page).get_by_role("button", name="Publish").click()
    expect(rows(page)).to_have_count(3)
    assert {arrival.target for arrival in destination.wait(3)} == {"/other", "/crm", "/books"}
    view(page, "URL groups")
    row.get_by_role("link", name="signups").click()

    expect(rows(page)).to_have_count(2)
    expect(rows(page).first).to_contain_text("group signups")


@pytest.mark.parametrize("status", [404, 405])
def test_a_server_without_a_list_shows_it_empty(page: Page, status: int) -> None:
    """A list that the server does not know is one without entries."""
    for path in ("flowControl", "topics"):
        page.route(f"**/v2/{path}", lambda route: route.fulfill(status=status, json={"error": "Not Found"}))
    view(page, "Flow control")
    expect(page.get_by_text("No flow-control keys")).to_be_visible()
    view(page, "URL groups")
    expect(page.get_by_text("No URL groups")).to_be_visible()
    expect(page.locator("#trouble")).to_be_hidden()


def test_advances_time(page: Page, server: QStashServer, destination: Destination) -> None:
    """What is due by then arrives, and the page shows how far ahead its time is."""
    publish(server, f"{destination.url}/hour", Delay="1h")
    publish(server, f"{destination.url}/days", Delay="2d6h")
    expect(page.locator("#shift")).to_be_hidden()
    page.locator("#time summary").click()

    page.get_by_role("button", name="+1 h", exact=True).click()
    destination.wait(path="/hour")
    expect(page.locator("#shift")).to_have_text("+1 h")
    page.get_by_label("Advance by").fill("soon")
    page.get_by_role("button", name="Advance", exact=True).click()
    expect(page.get_by_text("Write a duration")).to_be_visible()
    page.get_by_label("Advance by").fill("9999d")
    page.get_by_role("button", name="Advance", exact=True).click()
    expect(page.locator("#advance-wrong")).to_contain_text("seconds must be a number")
    page.get_by_label("Advance by").fill("2d 5h")
    page.keyboard.press("Enter")

    destination.wait(path="/days")
    expect(page.locator("#shift")).to_have_text("+2 d 6 h")
    page.keyboard.press("Escape")
    expect(page.locator("#time .menu")).to_be_hidden()


def test_keeps_focus_and_selection(page: Page, server: QStashServer, destination: Destination) -> None:
    """News in the list leave alone what is focused and what is selected."""
    publish(server, f"{destination.url}/one", "a body to select", Delay="1h")
    open_first(page)
    page.locator("#detail-body").evaluate("node => getSelection().selectAllChildren(node)")
    rows(page).first.focus()

    publish(server, f"{destination.url}/two", Delay="1h")

    expect(rows(page)).to_have_count(2)
    expect(rows(page).nth(1)).to_be_focused()
    assert page.evaluate("getSelection().toString()") == "a body to select"


def test_hostile_text_is_text(page: Page, server: QStashServer, destination: Destination) -> None:
    """Markup in an address, a label, a header, a body or an answer is shown, and does nothing."""
    destination.answer = lambda arrival: (500, {"X-Answer": MARKUP}, MARKUP.encode())
    headers = {"Upstash-Label": MARKUP, "Upstash-Forward-X-Hostile": MARKUP, "Upstash-Retries": "0"}
    entry = {"destination": f"{destination.url}/{MARKUP.replace(' ', '/')}", "headers": headers, "body": MARKUP}
    assert "messageId" in api(server, "POST", "/v2/batch", json=[entry]).json()[0]
    expect(rows(page).first).to_contain_text(MARKUP)
    open_first(page)
    expect(page.locator("#detail-url")).to_contain_text("/<img/src=x")
    expect(page.locator("#facts")).to_contain_text(MARKUP)
    expect(page.get_by_role("row", name="X-Hostile")).to_contain_text(MARKUP)
    expect(page.locator("#detail-body")).to_have_text(MARKUP)
    expect(page.locator("#timeline")).to_contain_text(MARKUP)
    view(page, "Dead letters")
    page.locator("#dead-letters summary").click()
    expect(page.locator("#dead-letters pre").first).to_have_text(MARKUP)

    assert page.locator("img[src=x]").count() == 0
    assert page.locator("script").count() == 1
    assert page.title() == "Dead letters · QStash"


def test_nothing_is_loaded_from_elsewhere(page: Page, server: QStashServer, destination: Destination) -> None:
    """Every request of the page goes to its own server."""
    asked: list[str] = []

    def note(request: Request) -> None:
        asked.append(request.url)

    page.on("request", note)
    fail_once(server, destination)
    page.reload()
    open_first(page)
    for name in ("Schedules", "Queues", "Dead letters", "Flow control", "URL groups", "Messages"):
        view(page, name)
    page.get_by_role("button", name="Publish", exact=True).click()

    assert len(asked) > 10
    assert {url for url in asked if not url.startswith(f"{server.url}/")} == set()


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_sticks_out_sideways(page: Page, server: QStashServer, destination: Destination, width: int) -> None:
    """On a phone, a tablet and a desk, whatever is shown is as wide as the window, also with long words everywhere."""
    long = "x" * 300

    def answer(arrival: Arrival) -> tuple[int, dict[str, str], bytes]:
        return 500, {"X-Long": long}, long.encode()

    destination.answer = answer
    publish(server, f"{destination.url}/{long}", long, Retries="0", Label=f"{long},b", Forward_X_Long=long)
    publish(server, f"{destination.url}/{long}", long, Label=long)
    api(server, "POST", "/v2/queues", json={"queueName": "q" * 100, "parallelism": 2})
    server.advance(100_000)
    until(lambda: len(api(server, "GET", "/v2/dlq").json()["messages"]) == 1)
    headers = {"Upstash-Cron": "CRON_TZ=America/Argentina/ComodRivadavia 0 3 29 2 *", "Upstash-Schedule-Id": "s" * 100}
    api(server, "POST", f"/v2/schedules/{destination.url}/{long}", headers=headers)
    page.set_viewport_size({"width": width, "height": 800})

    def assert_fits() -> None:
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        wide = "node => node.scrollWidth - node.clientWidth"
        assert [page.locator(one).evaluate(wide) for one in ("main", ".scroll")] == [0, 0]

    expect(rows(page)).to_have_count(2)
    assert_fits()
    rows(page).last.click()
    expect(page.locator("#timeline li")).to_have_count(4)
    assert_fits()
    assert page.locator("#detail").evaluate("node => node.scrollWidth - node.clientWidth") == 0
    for name in ("Schedules", "Queues", "Dead letters", "Flow control", "URL groups"):
        view(page, name)
        section = page.locator("main > section:visible")
        expect(section.locator("tbody tr, .nothing").locator("visible=true").first).to_be_visible()
        assert_fits()
        assert section.evaluate("node => node.scrollWidth - node.clientWidth") == 0, name
    for opened in ("#time summary", "#connect", "#publish"):
        page.locator(opened).click()
        box = page.locator(":is(.menu, dialog):visible").bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        page.keyboard.press("Escape")


def test_takes_turns_on_a_phone(page: Page, server: QStashServer, destination: Destination) -> None:
    """On a phone a message takes the place of the list, and a link leads back."""
    publish(server, destination.url)
    page.set_viewport_size({"width": 380, "height": 700})
    open_first(page)
    expect(page.locator("#message-list")).to_be_hidden()

    page.get_by_role("link", name="All messages").click()

    expect(rows(page).first).to_be_visible()
    expect(page.locator("#detail")).to_be_hidden()


def test_dark_mode(page: Page) -> None:
    """The page follows the system into the dark."""
    page.emulate_media(color_scheme="dark")
    assert page.locator("body").evaluate("node => getComputedStyle(node).backgroundColor") == "rgb(16, 18, 22)"


def test_a_foreign_host_is_refused(browser: Browser, server: QStashServer) -> None:
    """A page whose name was made to point here gets nothing, neither the page nor the token."""
    port = server.url.rpartition(":")[2]
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"http://localhost:{port}")
        expect(page.get_by_text("No messages yet")).to_be_visible()
    for path in ("/", "/console.json", "/v2/keys"):
        headers = {"Host": f"evil.example:{port}", "Authorization": f"Bearer {server.token}"}
        assert httpx.get(server.url + path, headers=headers, trust_env=False).status_code == 403


def test_says_when_the_server_is_gone(browser: Browser) -> None:
    """A page whose server has ended says so, and goes on when it is back, even with another token."""
    with QStashServer() as server, browser.new_context() as context:
        page = context.new_page()
        page.goto(server.url)
        expect(page.get_by_text("No messages yet")).to_be_visible()
        server.stop()
        expect(page.get_by_role("alert")).to_have_text("The server does not answer. Trying again…")

        with QStashServer(port=int(server.url.rpartition(":")[2]), token="another"):
            expect(page.locator("#trouble")).to_be_hidden()
