"""Every number of a report, counted again in Python from the rows themselves."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Engine, insert, text

from functions.generate_report.document import Report, Table
from functions.generate_report.handler import generate
from infra.seed.load import seed
from infra.seed.scale import SCALES
from qstash_jobs.bucket import Bucket
from qstash_jobs.jobs.generate_report import GenerateReport
from qstash_jobs.serving import serve
from saas import tables
from tests.integration.jobs.conftest import Worker

Make = Callable[..., Report]
NEW_YORK = ZoneInfo("America/New_York")
BERLIN = ZoneInfo("Europe/Berlin")
SEPTEMBER = (datetime(2026, 9, 1, tzinfo=NEW_YORK), datetime(2026, 10, 1, tzinfo=NEW_YORK))
AUGUST = (datetime(2026, 8, 1, tzinfo=NEW_YORK), SEPTEMBER[0])


@pytest.fixture
def make(engine: Engine, bucket: Bucket) -> Make:
    """Makes a report as JSON, through a delivery and the bucket."""
    worker = Worker(serve(GenerateReport, generate), engine)

    def make(report_type: str, period: tuple[datetime, datetime], zone: ZoneInfo = NEW_YORK, **more: Any) -> Report:
        job = GenerateReport(
            report_type=report_type,  # type: ignore[arg-type]
            date_range={"from": period[0], "to": period[1]},  # type: ignore[arg-type]
            time_zone=zone.key,
            recipients=["ada@example.com"],
            format="json",
            **more,
        )
        row = worker.run(job)
        assert row["status"] == "completed", row["error"]
        return Report.model_validate_json(bucket.read(row["result"]["key"]))

    return make


@pytest.fixture
def seeded(engine: Engine) -> Engine:
    """The starter's tables with the small seed's rows."""
    with engine.begin() as connection:
        for _ in seed(connection, SCALES["small"], date(2026, 11, 1)):
            pass
    return engine


def ask(engine: Engine, sql: str) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(text(sql)))


def fill(engine: Engine, table: Any, rows: Sequence[dict[str, Any]]) -> None:
    with engine.begin() as connection:
        connection.execute(insert(table), list(rows))


def figures(report: Report, section: int = 0) -> dict[str, tuple[Any, Any]]:
    return {one.label: (one.value, one.previous) for one in report.sections[section].figures}


def table(report: Report, title: str, section: int | None = None) -> Table:
    sections = report.sections if section is None else report.sections[section : section + 1]
    (found,) = [one for part in sections for one in part.tables if one.title == title]
    return found


def within(rows: Iterable[Any], period: tuple[datetime, datetime], moment: str = "created_at") -> list[Any]:
    return [row for row in rows if (at := getattr(row, moment)) is not None and period[0] <= at < period[1]]


def by_day(rows: Iterable[Any], zone: ZoneInfo = NEW_YORK, moment: str = "created_at") -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        found[getattr(row, moment).astimezone(zone).date().isoformat()].append(row)
    return found


def grown(now: int, before: int) -> float | None:
    return round((now - before) / before, 4) if before else None


def days_of(first: date, count: int) -> list[str]:
    return [(first + timedelta(days=number)).isoformat() for number in range(count)]


def test_analytics(seeded: Engine, make: Make) -> None:
    """Sign-ups, active users and activity in all, by day, and of the top organizations are what the rows say."""
    logs = ask(seeded, "SELECT * FROM activity_logs")
    users = ask(seeded, "SELECT * FROM users")
    organizations = {row.id: row for row in ask(seeded, "SELECT * FROM organizations")}
    now, before = within(logs, SEPTEMBER), within(logs, AUGUST)

    report = make("analytics", SEPTEMBER)

    assert figures(report) == {
        "Sign-ups": (len(within(users, SEPTEMBER)), len(within(users, AUGUST))),
        "New organizations": (
            len(within(organizations.values(), SEPTEMBER)),
            len(within(organizations.values(), AUGUST)),
        ),
        "Active users": (len({row.user_id for row in now}), len({row.user_id for row in before})),
        "Activities": (len(now), len(before)),
    }
    signed_up, active = by_day(within(users, SEPTEMBER)), by_day(now)
    days = table(report, "Sign-ups and activity by day")
    assert days.rows == tuple(
        (day, len(signed_up[day]), len({row.user_id for row in active[day]}), len(active[day]))
        for day in days_of(date(2026, 9, 1), 30)
    )
    assert sum(int(row[3]) for row in days.rows if row[3]) == len(now) > 1000
    ranked = sorted(Counter(row.organization_id for row in now).items(), key=lambda item: (-item[1], item[0]))[:10]
    assert table(report, "Top organizations").rows == tuple(
        (
            organizations[which].name,
            len({row.user_id for row in now if row.organization_id == which}),
            count,
            round(count / len(now), 4),
        )
        for which, count in ranked
    )


def test_usage(seeded: Engine, make: Make) -> None:
    """Activities by action, organization and both are what the rows say, beside the month before."""
    logs = ask(seeded, "SELECT * FROM activity_logs")
    names = {row.id: row.name for row in ask(seeded, "SELECT * FROM organizations")}
    now, before = within(logs, SEPTEMBER), within(logs, AUGUST)

    report = make("usage", SEPTEMBER)

    def counted(key: Callable[[Any], Any]) -> list[tuple[Any, int, int, float | None]]:
        ours, theirs = Counter(map(key, now)), Counter(map(key, before))
        rows = [(one, ours[one], theirs[one], grown(ours[one], theirs[one])) for one in {*ours, *theirs}]
        return sorted(rows, key=lambda row: (-row[1], -row[2], row[0]))

    assert figures(report) == {
        "Activities": (len(now), len(before)),
        "Active users": (len({row.user_id for row in now}), len({row.user_id for row in before})),
        "Active organizations": (
            len({row.organization_id for row in now}),
            len({row.organization_id for row in before}),
        ),
    }
    assert table(report, "By action").rows == tuple(counted(lambda row: row.action))
    assert table(report, "By action").total == ("All", len(now), len(before), grown(len(now), len(before)))
    organizations = counted(lambda row: row.organization_id)
    rest = organizations[20:]
    ours, theirs = sum(row[1] for row in rest), sum(row[2] for row in rest)
    assert table(report, "By organization").rows == (
        *((names[which], *numbers) for which, *numbers in organizations[:20]),
        (f"{len(rest)} others", ours, theirs, grown(ours, theirs)),
    )
    details = counted(lambda row: (row.organization_id, row.action))
    assert table(report, "The 10 most active organizations by action").rows == tuple(
        (names[which], action, *numbers)
        for which, *_ in organizations[:10]
        for (owner, action), *numbers in details
        if owner == which
    )


def test_usage_of_one_organization(seeded: Engine, make: Make) -> None:
    """Only that organization's activities are counted, and the report bears its name."""
    logs = [row for row in ask(seeded, "SELECT * FROM activity_logs") if row.organization_id == 3]
    now, before = within(logs, SEPTEMBER), within(logs, AUGUST)

    report = make("usage", SEPTEMBER, organization_id=3)

    assert report.subject == ask(seeded, "SELECT name FROM organizations WHERE id = 3")[0][0]
    assert figures(report) == {
        "Activities": (len(now), len(before)),
        "Active users": (len({row.user_id for row in now}), len({row.user_id for row in before})),
    }
    assert {row[0]: row[1] for row in table(report, "By action").rows if row[1]} == Counter(row.action for row in now)
    assert len(report.sections) == 1
    assert now


def test_deleted_users_and_no_organization(seeded: Engine, make: Make) -> None:
    """What was done stays when its user is deleted, who is then no active user; what belongs to no organization has a
    row of its own."""
    before = figures(make("usage", SEPTEMBER))
    (somebody,) = ask(seeded, "SELECT user_id FROM activity_logs WHERE created_at >= '2026-09-10' ORDER BY id LIMIT 1")
    with seeded.begin() as connection:
        connection.execute(text("DELETE FROM users WHERE id = :id"), {"id": somebody[0]})
        connection.execute(
            text(
                "INSERT INTO activity_logs (action, created_at) SELECT 'api.called', '2026-09-02'"
                " FROM generate_series(1, 5000)"
            )
        )

    after = make("usage", SEPTEMBER)

    assert figures(after)["Active users"][0] == before["Active users"][0] - 1
    assert figures(after)["Activities"][0] == before["Activities"][0] + 5000
    assert figures(after)["Active organizations"] == before["Active organizations"]
    assert table(after, "By organization").rows[0][:2] == ("No organization", 5000)


def test_the_edges_of_a_period(engine: Engine, make: Make) -> None:
    """The first moment belongs to the period, the last does not, and what is before both is the period before's."""
    begins, ends = datetime(2026, 3, 29, tzinfo=BERLIN), datetime(2026, 3, 30, tzinfo=BERLIN)
    tick = timedelta(microseconds=1)
    moments = [
        begins - tick,
        begins,
        ends.astimezone(UTC) - tick,
        ends,
        begins - timedelta(days=1),
        begins - timedelta(days=1) - tick,
    ]
    fill(
        engine,
        tables.users,
        [{"email": f"{number}@x.example", "name": "x", "created_at": one} for number, one in enumerate(moments)],
    )

    report = make("analytics", (begins, ends), BERLIN)

    assert figures(report)["Sign-ups"] == (2, 2)
    assert report.period.label == "29 March 2026"


def test_the_edges_of_a_part_of_a_day(engine: Engine, make: Make) -> None:
    """What a table counts by day has the same edges as the figures, also when they are no midnights."""
    begins, ends = datetime(2026, 3, 3, 9, tzinfo=BERLIN), datetime(2026, 3, 3, 17, tzinfo=BERLIN)
    tick = timedelta(microseconds=1)
    moments = [begins - tick, begins, ends - tick, ends]
    mail = {"address": "a@b.example", "template": "welcome"}
    fill(
        engine,
        tables.email_deliveries,
        [mail | {"resend_id": f"re_{number}", "sent_at": one} for number, one in enumerate(moments)],
    )
    fill(engine, tables.activity_logs, [{"action": "tick", "created_at": one} for one in moments])

    mails = make("custom", (begins, ends), BERLIN, name="email-delivery")
    usage = make("usage", (begins, ends), BERLIN)

    assert figures(mails)["Sent"] == (2, 1)
    assert table(mails, "By day").rows == (("2026-03-03", 2, 0, 0, 0),)
    assert figures(usage)["Activities"] == (2, 1)
    assert table(usage, "By day").rows == (("2026-03-03", 2),)
    assert mails.period.label == "3 March 2026, 09:00 to 17:00"


@pytest.mark.parametrize(
    ("first", "counts"),
    [(date(2026, 3, 28), [24, 23, 24]), (date(2026, 10, 24), [24, 25, 24])],
    ids=["clocks go forward", "clocks go back"],
)
def test_days_of_23_and_25_hours(engine: Engine, make: Make, first: date, counts: list[int]) -> None:
    """Something that happens each hour happens 23 times on the day on which clocks go forward, and 25 times on the
    other."""
    begins = datetime(first.year, first.month, first.day, tzinfo=BERLIN)
    ends = begins + timedelta(days=3)  # of the clock on the wall
    hours = int((ends.astimezone(UTC) - begins.astimezone(UTC)) / timedelta(hours=1))
    fill(
        engine,
        tables.activity_logs,
        [{"action": "tick", "created_at": begins.astimezone(UTC) + timedelta(hours=hour)} for hour in range(hours)],
    )

    report = make("analytics", (begins, ends), BERLIN)

    rows = table(report, "Sign-ups and activity by day").rows
    assert [row[3] for row in rows] == counts
    assert [row[0] for row in rows] == days_of(first, 3)


def test_a_long_period_is_shown_by_months(seeded: Engine, make: Make) -> None:
    """Beyond a quarter, charts and tables count months, those without anything too."""
    period = (datetime(2024, 11, 15, tzinfo=BERLIN), datetime(2026, 11, 1, tzinfo=BERLIN))
    now = within(ask(seeded, "SELECT * FROM activity_logs"), period)

    rows = table(make("analytics", period, BERLIN), "Sign-ups and activity by month").rows

    months: dict[str, list[Any]] = defaultdict(list)
    for row in now:
        months[f"{row.created_at.astimezone(BERLIN):%Y-%m}"].append(row)
    assert [row[0] for row in rows][:3] == ["2024-11", "2024-12", "2025-01"]
    assert len(rows) == 24
    assert [(row[2], row[3]) for row in rows] == [
        (len({log.user_id for log in months[str(row[0])]}), len(months[str(row[0])])) for row in rows
    ]


@pytest.mark.parametrize("report_type", ["analytics", "usage", "billing", "custom"])
def test_nothing_happened(make: Make, report_type: str) -> None:
    """A report over an empty database has zeros, and shares and changes of nothing are none."""
    more = {"name": "email-delivery"} if report_type == "custom" else {}

    report = make(report_type, SEPTEMBER, **more)

    told = [one for section in report.sections for one in section.figures]
    assert {one.value for one in told} <= {0, None}
    assert {one.change for one in told} <= {None}
    assert report.sections[0].text or told


def test_email_delivery(engine: Engine, make: Make) -> None:
    """Mails count on the day on which they were sent, whatever became of them and when."""
    random = Random(7)
    rows = []
    for number in range(400):
        sent = AUGUST[0] + timedelta(minutes=random.randrange(70 * 24 * 60))
        fate = random.random()
        rows.append(
            {
                "resend_id": f"re_{number}",
                "address": "a@b.example",
                "template": random.choice(["welcome", "passwordReset", None]),
                "sent_at": sent,
                "delivered_at": sent + timedelta(days=3) if fate < 0.8 else None,
                "bounced_at": sent + timedelta(hours=1) if fate > 0.9 else None,
                "complained_at": sent + timedelta(days=9) if fate < 0.05 else None,
            }
        )
    fill(engine, tables.email_deliveries, rows)
    mails = ask(engine, "SELECT * FROM email_deliveries")
    now = within(mails, SEPTEMBER, "sent_at")

    def counts(some: list[Any]) -> tuple[int, ...]:
        marks = ("delivered_at", "bounced_at", "complained_at")
        return (len(some), *(sum(getattr(row, mark) is not None for row in some) for mark in marks))

    report = make("custom", SEPTEMBER, name="email-delivery")

    sent, delivered, bounced, complained = counts(now)
    assert figures(report) == {
        "Sent": (sent, len(within(mails, AUGUST, "sent_at"))),
        "Delivered": (round(delivered / sent, 4), None),
        "Bounced": (round(bounced / sent, 4), None),
        "Complained about": (round(complained / sent, 4), None),
    }
    days = by_day(now, moment="sent_at")
    assert table(report, "By day").rows == tuple((day, *counts(days[day])) for day in days_of(date(2026, 9, 1), 30))
    assert {row[0]: row[1:] for row in table(report, "By template").rows} == {
        name: counts([row for row in now if (row.template or "none") == name])
        for name in ("welcome", "passwordReset", "none")
    }
    assert table(report, "By template").total == ("All", sent, delivered, bounced, complained)


PER_YEAR = {"year": 1, "month": 12, "week": 52, "day": 365}
PAYING = {"active", "past_due"}


def monthly(row: Any) -> int:
    """What a change says is paid a month, by the formula that the documentation has."""
    if row.status not in PAYING:
        return 0
    exact = Decimal(row.amount) * PER_YEAR[row.billing_interval] / (12 * row.interval_count)
    return int(exact.quantize(Decimal(1), ROUND_HALF_UP))


def standing(changes: Sequence[Any], moment: datetime) -> Counter[tuple[str, str]]:
    """What each customer pays in each currency just before a moment."""
    last: dict[int, Any] = {}
    for row in changes:
        if row.changed_at < moment:
            last[row.subscription_id] = row
    found: Counter[tuple[str, str]] = Counter()
    for row in last.values():
        found[row.customer, row.currency] += monthly(row)
    return +found


def changes_of(engine: Engine) -> list[Any]:
    return ask(
        engine,
        "SELECT c.*, s.stripe_customer_id AS customer FROM subscription_changes c"
        " JOIN subscriptions s ON s.id = c.subscription_id ORDER BY c.changed_at, c.id",
    )


def random_histories(engine: Engine, seed_: int) -> None:
    """Subscriptions of all intervals and statuses, of customers with several, some changing their currency, with
    changes at the same moment, at the period's very edges, and written in another order than they happened."""
    random = Random(seed_)
    at = [AUGUST[0], SEPTEMBER[0], SEPTEMBER[1]]
    for days in range(75):
        at.append(AUGUST[0] + timedelta(days=days, seconds=random.randrange(86_400)))
    terms = lambda: {  # noqa: E731
        "status": random.choice(["active"] * 4 + ["past_due", "trialing", "canceled", "unpaid", "incomplete"]),
        "plan": "team",
        "quantity": 1,
        "amount": random.choice([0, 1, 999, 1200, 4999, 100_000, 7]),
        "currency": random.choice(["usd", "usd", "eur"]),
        "billing_interval": random.choice(["day", "week", "month", "month", "year"]),
        "interval_count": random.choice([1, 1, 2, 3, 7]),
    }
    subscriptions, changes = [], []
    for number in range(1, 81):
        subscriptions.append(
            terms()
            | {
                "id": number,
                "stripe_subscription_id": f"sub_{number}",
                "stripe_customer_id": f"cus_{random.randrange(50)}",
                "started_at": AUGUST[0],
                "last_event_at": AUGUST[0],
            }
        )
        changes += [
            terms() | {"subscription_id": number, "event_id": f"evt_{number}_{step}", "changed_at": random.choice(at)}
            for step in range(random.randrange(1, 6))
        ]
    random.shuffle(changes)
    fill(engine, tables.subscriptions, subscriptions)
    fill(engine, tables.subscription_changes, changes)


def movement_of(before: int, after: int, paid: bool) -> str:
    if before == 0:
        return "Reactivation" if paid else "New"
    if after == 0:
        return "Churn"
    return "Expansion" if after > before else "Contraction" if after < before else "unchanged"


def check_revenue(report: Report, changes: Sequence[Any], period: tuple[datetime, datetime]) -> None:
    opening, closing = standing(changes, period[0]), standing(changes, period[1])
    paid = {(row.customer, row.currency) for row in changes if row.changed_at < period[0] and monthly(row)}
    currencies = {currency for _, currency in {*opening, *closing}}
    told = {section.title.removeprefix("In ").lower(): index for index, section in enumerate(report.sections)}
    assert currencies <= set(told)
    for currency in currencies:
        moved: dict[str, list[int]] = defaultdict(list)
        for one in {*opening, *closing}:
            if one[1] == currency:
                moved[movement_of(opening[one], closing[one], one in paid)].append(closing[one] - opening[one])
        sums = [sum(value for (_, theirs), value in some.items() if theirs == currency) for some in (opening, closing)]
        customers = [sum(theirs == currency for _, theirs in some) for some in (opening, closing)]
        rows = table(report, "MRR and its movements", told[currency])
        names = ("New", "Reactivation", "Expansion", "Contraction", "Churn")
        assert rows.rows == (
            ("At the beginning", customers[0], sums[0]),
            *((name, len(moved[name]), sum(moved[name])) for name in names),
        )
        assert rows.total == ("At the end", customers[1], sums[1])
        assert sum(int(row[2] or 0) for row in rows.rows) == sums[1]
        numbers = figures(report, told[currency])
        assert numbers["Monthly recurring revenue"] == (sums[1], sums[0])
        assert numbers["Paying customers"] == (customers[1], customers[0])
        assert numbers["Revenue churn"][0] == (round(-sum(moved["Churn"]) / sums[0], 4) if sums[0] else None)
        assert numbers["Customer churn"][0] == (round(len(moved["Churn"]) / customers[0], 4) if customers[0] else None)
        along = table(report, "MRR by day", told[currency]).rows
        ends = [period[0].astimezone(NEW_YORK) + timedelta(days=number + 1) for number in range(len(along))]
        standings = [
            sum(value for (_, theirs), value in standing(changes, end).items() if theirs == currency) for end in ends
        ]
        assert [row[1] for row in along] == standings
        assert [row[2] for row in along] == [
            after - before for before, after in itertools.pairwise([sums[0], *standings])
        ]


@pytest.mark.parametrize("number", range(4))
def test_revenue_and_its_movements(engine: Engine, make: Make, number: int) -> None:
    """Whatever the histories are, revenue at both edges and along the period is that of the formula, and the movements
    are exactly the difference, in each currency."""
    random_histories(engine, number)
    check_revenue(make("billing", SEPTEMBER), changes_of(engine), SEPTEMBER)


def test_billing(seeded: Engine, make: Make) -> None:
    """Revenue, invoices by state and failed payments of the seed are what the rows say, each currency for itself."""
    bills = ask(seeded, "SELECT * FROM invoices")

    report = make("billing", SEPTEMBER)

    check_revenue(report, changes_of(seeded), SEPTEMBER)
    assert {section.title for section in report.sections} == {"In USD", "In EUR", "In GBP"}
    for index, section in enumerate(report.sections):
        currency = section.title[-3:].lower()
        issued = [row for row in within(bills, SEPTEMBER, "issued_at") if row.currency == currency]
        failed = [row for row in within(bills, SEPTEMBER, "failed_at") if row.currency == currency]
        states = table(report, "Invoices by state", index)
        assert {row[0]: row[1:] for row in states.rows} == {
            status.capitalize(): (len(some), sum(row.amount_due for row in some), sum(row.amount_paid for row in some))
            for status in {row.status for row in issued}
            if (some := [row for row in issued if row.status == status])
        }
        assert states.total == (
            "All",
            len(issued),
            sum(row.amount_due for row in issued),
            sum(row.amount_paid for row in issued),
        )
        reasons = table(report, "Failed payments", index)
        assert {row[0]: row[1:] for row in reasons.rows} == {
            reason.replace("_", " ").capitalize(): (
                len(some),
                sum(row.amount_due for row in some),
                sum(row.status == "paid" for row in some),
                sum(row.status in {"uncollectible", "void"} for row in some),
                sum(row.status in {"open", "draft"} for row in some),
            )
            for reason in {row.failure_reason for row in failed}
            if (some := [row for row in failed if row.failure_reason == reason])
        }
        numbers = figures(report, index)
        assert numbers["Collected"][0] == sum(row.amount_paid for row in issued)
        assert numbers["Failed payments"][0] == len(failed)
    assert sum(int(figures(report, index)["Failed payments"][0]) for index in range(3)) > 0


def test_a_reactivation_is_told_from_a_new_customer(engine: Engine, make: Make) -> None:
    """Who paid before, left and came back is no new customer; a trial pays nothing until it ends."""

    def subscription(number: int, *states: tuple[str, datetime]) -> None:
        terms = {"plan": "team", "quantity": 1, "amount": 1200 * number, "currency": "usd", "billing_interval": "month"}
        fill(
            engine,
            tables.subscriptions,
            [
                terms
                | {
                    "id": number,
                    "stripe_subscription_id": f"sub_{number}",
                    "stripe_customer_id": f"cus_{number}",
                    "status": states[-1][0],
                    "started_at": AUGUST[0],
                    "last_event_at": AUGUST[0],
                }
            ],
        )
        fill(
            engine,
            tables.subscription_changes,
            [
                terms | {"subscription_id": number, "event_id": f"e{number}{at}", "status": status, "changed_at": at}
                for status, at in states
            ],
        )

    june, july, mid = (datetime(2026, month, 10, tzinfo=UTC) for month in (6, 7, 9))
    subscription(1, ("active", june), ("canceled", july), ("active", mid))
    subscription(2, ("trialing", july), ("active", mid))
    subscription(3, ("trialing", mid))
    subscription(4, ("active", june), ("past_due", mid))

    rows = {row[0]: row[1:] for row in table(make("billing", SEPTEMBER), "MRR and its movements").rows}

    assert rows["Reactivation"] == (1, 1200)
    assert rows["New"] == (1, 2400)
    assert rows["At the beginning"] == (1, 4800)
    assert rows["Churn"] == (0, 0)
