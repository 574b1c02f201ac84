"""Stripe's events keep subscriptions and invoices, in whichever order they come, and lead to one mail each."""

from __future__ import annotations

import itertools
import json
import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, get_args

import pytest
from sqlalchemy import Connection, Engine

from functions.process_webhook import inbox, stripe_events, stripe_models
from functions.process_webhook.billing_mails import plan_name
from functions.process_webhook.handler import process as handle
from qstash_jobs.executions import store
from qstash_jobs.jobs.probe import Probe
from qstash_jobs.jobs.process_webhook import ProcessWebhook, StandardSignature
from qstash_jobs.jobs.send_email import SendEmail
from qstash_jobs.run import Run
from qstash_jobs.serving import serve
from qstash_jobs.testing import create_test_job, run_inline
from qstash_jobs.webhook_events import Event
from qstash_jobs.webhook_signatures import Sender
from saas.money import main_units
from saas.tables import INTERVALS, INVOICE_STATUSES, SUBSCRIPTION_STATUSES
from tests.conftest import forget
from tests.integration.jobs.conftest import Worker
from tests.integration.jobs.webhooks import NOW, SECRETS, headers, job, stripe_event
from tests.waiting import until

START = NOW - 86_400
CREATED, UPDATED, DELETED = "subscription-created", "subscription-updated", "subscription-deleted"


@pytest.fixture(autouse=True)
def secrets(environment: pytest.MonkeyPatch) -> None:
    """For jobs that verify."""
    for name, value in SECRETS.items():
        environment.setenv(name, value)
    forget()


@pytest.fixture
def worker(engine: Engine) -> Worker:
    """The function, and an organization that is Stripe's customer, with an owner."""
    worker = Worker(serve(ProcessWebhook, handle), engine)
    worker.ask("INSERT INTO users (email, name) VALUES ('ada@example.com', 'Ada Lovelace')")
    worker.ask(
        "INSERT INTO organizations (name, slug, stripe_customer_id) VALUES ('Analytical Engines', 'ae', 'cus_sample')"
    )
    worker.ask("INSERT INTO organization_members (organization_id, user_id, role) VALUES (1, 1, 'owner')")
    return worker


def process(worker: Worker, event: dict[str, Any]) -> str:
    """What a completed job says it did."""
    row = worker.run(job(event))
    assert row["status"] == "completed", row["error"]
    return str(row["result"]["outcome"])


def failure(worker: Worker, event: dict[str, Any]) -> str:
    """Why a job failed, at its first attempt."""
    row = worker.run(job(event))
    assert (row["status"], row["error_type"], row["attempts"]) == ("failed", "NonRetryable", 1)
    return str(row["error"])


def subscription(worker: Worker) -> dict[str, Any]:
    ((row,),) = worker.ask("SELECT to_jsonb(s) FROM subscriptions s")
    return dict(row)


def invoice(worker: Worker) -> dict[str, Any]:
    ((row,),) = worker.ask("SELECT to_jsonb(i) FROM invoices i")
    return dict(row)


def mails(worker: Worker) -> list[str]:
    return [one["template"] for one in worker.jobs("send-email")]


def test_a_subscription_is_kept_and_greeted(worker: Worker) -> None:
    """With its terms, its organization and its period; one mail goes to the owner."""
    assert process(worker, stripe_event(CREATED, START)) == "applied"

    kept = subscription(worker)
    assert (kept["organization_id"], kept["status"], kept["plan"], kept["quantity"]) == (1, "active", "team", 5)
    assert (kept["amount"], kept["currency"], kept["billing_interval"]) == (6000, "eur", "month")
    assert kept["current_period_end"].startswith("2026-02-01T00:00:00")
    (mail,) = worker.jobs("send-email")
    assert (mail["template"], mail["to"]) == ("subscriptionCreated", "ada@example.com")
    assert mail["data"] == {
        "recipientName": "Ada Lovelace",
        "planName": "Team",
        "amount": "60.00",
        "currency": "EUR",
        "interval": "month",
        "nextBillingDate": "2026-02-01",
        "manageUrl": None,
    }
    assert SendEmail.arrive(mail)


def test_the_address_for_bills_comes_first(worker: Worker) -> None:
    """The owner is still who is greeted."""
    worker.ask("UPDATE organizations SET billing_email = 'bills@example.com'")
    process(worker, stripe_event(CREATED))
    (mail,) = worker.jobs("send-email")
    assert (mail["to"], mail["data"]["recipientName"]) == ("bills@example.com", "Ada Lovelace")


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM organization_members",
        "UPDATE organizations SET stripe_customer_id = NULL",
        "UPDATE organizations SET billing_email = 'nobody'",
    ],
    ids=["nobody there", "nobody's", "no address"],
)
def test_a_mail_that_cannot_be_sent_keeps_nothing_back(worker: Worker, change: str) -> None:
    """The subscription is what it is all the same."""
    worker.ask(change)
    assert process(worker, stripe_event(CREATED)) == "applied"
    assert (subscription(worker)["status"], mails(worker)) == ("active", [])


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_events_may_come_in_any_order(worker: Worker, order: tuple[int, ...]) -> None:
    """The newest is what is kept; what the subscription was at each moment is kept too."""
    events = [
        stripe_event(CREATED, START),
        stripe_event(UPDATED, START + 10, {"status": "active"}),
        stripe_event(DELETED, START + 20),
    ]
    for index in order:
        process(worker, events[index])

    kept = subscription(worker)
    assert kept["status"] == "canceled"
    assert datetime.fromisoformat(kept["last_event_at"]) == datetime.fromtimestamp(START + 20, UTC)
    changes = worker.ask("SELECT event_id, status FROM subscription_changes ORDER BY changed_at")
    assert [tuple(one) for one in changes] == [
        (events[0]["id"], "active"),
        (events[1]["id"], "past_due"),
        (events[2]["id"], "canceled"),
    ]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_within_one_second_what_is_final_stays(worker: Worker, order: tuple[int, ...]) -> None:
    """Stripe counts whole seconds: `created` never overwrites, and nothing overwrites a cancellation."""
    events = [stripe_event(CREATED), stripe_event(UPDATED, previous={"status": "active"}), stripe_event(DELETED)]
    for index in order:
        process(worker, events[index])
    assert subscription(worker)["status"] == "canceled"


def test_within_one_second_created_does_not_overwrite(worker: Worker) -> None:
    """It is the first of all that happens to a subscription."""
    process(worker, stripe_event(UPDATED, previous={"status": "active"}))
    assert process(worker, stripe_event(CREATED)) == "older than what is known"
    assert subscription(worker)["status"] == "past_due"


def test_a_subscription_is_greeted_when_its_first_payment_goes_through(worker: Worker) -> None:
    """Not while it is incomplete, and not at each later change."""
    process(worker, stripe_event(CREATED, START, status="incomplete"))
    assert mails(worker) == []
    process(worker, stripe_event(UPDATED, START + 5, {"status": "incomplete"}, status="active"))
    process(worker, stripe_event(UPDATED, START + 9, {"quantity": 4}, status="active"))
    assert mails(worker) == ["subscriptionCreated"]


def test_the_checkout_may_come_last(worker: Worker) -> None:
    """Then it says whose the subscription and its invoice are, and the mail goes out now."""
    worker.ask("UPDATE organizations SET stripe_customer_id = NULL")
    process(worker, stripe_event(CREATED))
    process(worker, stripe_event("invoice-paid"))
    assert (subscription(worker)["organization_id"], mails(worker)) == (None, [])

    assert process(worker, stripe_event("checkout-session-completed")) == "linked"

    assert (subscription(worker)["organization_id"], invoice(worker)["organization_id"]) == (1, 1)
    assert worker.ask("SELECT stripe_customer_id FROM organizations") == [("cus_sample",)]
    assert mails(worker) == ["subscriptionCreated"]


def test_a_failed_payment_is_told_of_when_the_checkout_comes_last(worker: Worker) -> None:
    """Once it is known whose it is, and unless it has been paid meanwhile; a second check-out tells nobody again."""
    worker.ask("UPDATE organizations SET stripe_customer_id = NULL")
    process(worker, stripe_event("invoice-payment-failed", START))
    process(worker, stripe_event("invoice-payment-failed", START, id="in_paid"))
    process(worker, stripe_event("invoice-paid", START + 1, id="in_paid"))
    process(worker, stripe_event("invoice-payment-failed", START, id="in_other", customer="cus_other"))
    assert mails(worker) == []

    process(worker, stripe_event("checkout-session-completed"))
    process(worker, stripe_event("checkout-session-completed"))

    [mail] = worker.jobs("send-email")
    assert (mail["template"], mail["to"]) == ("paymentFailed", "ada@example.com")


def test_the_checkout_may_come_first(worker: Worker) -> None:
    """The mail goes out with the subscription, once."""
    worker.ask("UPDATE organizations SET stripe_customer_id = NULL")
    process(worker, stripe_event("checkout-session-completed"))
    process(worker, stripe_event(CREATED))
    assert process(worker, stripe_event("checkout-session-completed")) == "linked before"
    assert mails(worker) == ["subscriptionCreated"]


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({"client_reference_id": None, "metadata": {"organizationId": "1"}}, "linked before"),
        ({"client_reference_id": None}, "no organization"),
        ({"client_reference_id": "2"}, "no organization"),
        ({"client_reference_id": "one"}, "no organization"),
        ({"client_reference_id": "9" * 30}, "no organization"),
        ({"customer": None}, "no customer"),
        ({"customer": {"id": "cus_sample", "object": "customer"}}, "linked before"),
    ],
)
def test_a_checkout_says_whose_it_is_or_is_acknowledged(worker: Worker, changes: dict[str, Any], outcome: str) -> None:
    """A payment link has nobody's reference; that is no error of Stripe's."""
    assert process(worker, stripe_event("checkout-session-completed", **changes)).startswith(outcome)


def test_a_customer_is_never_given_to_another_organization(worker: Worker) -> None:
    """Whatever the reference of a check-out says; also not one that has been replaced, but still pays."""
    worker.ask("INSERT INTO organizations (name, slug) VALUES ('Difference Engines', 'de')")
    checkout = stripe_event("checkout-session-completed", client_reference_id="2")
    assert process(worker, checkout).startswith("not linked")
    assert worker.ask("SELECT stripe_customer_id FROM organizations ORDER BY id") == [("cus_sample",), (None,)]


def test_an_event_waits_for_the_checkout_beside_it(worker: Worker, engine: Engine) -> None:
    """Otherwise it would find no organization, and the check-out no subscription to link."""
    worker.ask("UPDATE organizations SET stripe_customer_id = NULL")
    run = run_inline(lambda _payload, run: run, Probe())  # type: ignore[arg-type,return-value]
    assert isinstance(run, Run)

    def act(connection: Connection, document: dict[str, Any]) -> None:
        stripe_events.act(connection, Event(Sender("stripe"), document["id"], document["type"], document), run)

    def subscribe() -> None:
        with engine.begin() as connection:
            act(connection, stripe_event(CREATED))

    with engine.begin() as connection:
        act(connection, stripe_event("checkout-session-completed"))
        beside = threading.Thread(target=subscribe)
        beside.start()
        until(lambda: worker.ask("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"))
    beside.join()
    assert subscription(worker)["organization_id"] == 1


def test_a_new_customer_takes_the_place_of_the_last_one(worker: Worker) -> None:
    """Stripe makes one at each check-out that names none; what the old one still pays stays the organization's."""
    process(worker, stripe_event(CREATED, START))
    new = {"customer": "cus_new", "subscription": "sub_new"}
    assert process(worker, stripe_event("checkout-session-completed", **new)) == "linked"
    process(worker, stripe_event(CREATED, customer="cus_new", id="sub_new"))
    process(worker, stripe_event("invoice-paid"))

    assert worker.ask("SELECT stripe_customer_id FROM organizations") == [("cus_new",)]
    assert worker.ask("SELECT DISTINCT organization_id FROM subscriptions") == [(1,)]
    assert invoice(worker)["organization_id"] == 1
    assert mails(worker) == ["subscriptionCreated", "subscriptionCreated"]


def test_a_failed_payment_is_told(worker: Worker) -> None:
    """With the amount in main units, where to pay, and what for."""
    process(worker, stripe_event(CREATED, START))
    process(worker, stripe_event("invoice-payment-failed"))

    kept = invoice(worker)
    assert (kept["status"], kept["amount_due"], kept["attempts"]) == ("open", 6000, 1)
    assert (kept["stripe_subscription_id"], kept["organization_id"]) == ("sub_sample", 1)
    assert kept["failed_at"] is not None
    mail = worker.jobs("send-email")[1]
    assert (mail["template"], mail["to"]) == ("paymentFailed", "ada@example.com")
    assert mail["data"] == {
        "recipientName": "Ada Lovelace",
        "amount": "60.00",
        "currency": "EUR",
        "updatePaymentUrl": "https://invoice.stripe.com/i/acct_sample/test_sample",
        "retryDate": "2026-01-04",
        "planName": "Team",
    }


def test_each_attempt_to_collect_is_told_once(worker: Worker) -> None:
    """Also when Stripe makes two events of one."""
    for attempt in (1, 1, 2):
        process(worker, stripe_event("invoice-payment-failed", attempt_count=attempt))
    assert mails(worker) == ["paymentFailed", "paymentFailed"]


def test_a_failure_that_comes_after_the_payment_tells_nobody(worker: Worker) -> None:
    """It happened earlier: the invoice stays paid, and when it failed is kept beside it."""
    process(worker, stripe_event("invoice-paid", NOW))
    assert process(worker, stripe_event("invoice-payment-failed", NOW - 60)) == "older than what is known"
    kept = invoice(worker)
    assert (kept["status"], kept["amount_paid"], mails(worker)) == ("paid", 6000, [])
    assert datetime.fromisoformat(kept["failed_at"]) == datetime.fromtimestamp(NOW - 60, UTC)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=str)
def test_within_one_second_a_payment_wins(worker: Worker, order: tuple[int, int]) -> None:
    """A failed attempt and one that succeeds may share a second; paid is final."""
    events = [stripe_event("invoice-payment-failed"), stripe_event("invoice-paid")]
    for index in order:
        process(worker, events[index])
    kept = invoice(worker)
    assert (kept["status"], kept["failed_at"] is not None, kept["paid_at"] is not None) == ("paid", True, True)


def test_the_reason_of_a_failure_is_kept_where_stripe_says_it(worker: Worker) -> None:
    """In an object that is expanded."""
    problem = {"id": "pi_1", "last_payment_error": {"code": "card_declined", "decline_code": "insufficient_funds"}}
    process(worker, stripe_event("invoice-payment-failed", payment_intent=problem))
    assert invoice(worker)["failure_reason"] == "insufficient_funds"


def test_older_versions_of_stripes_api_are_understood(worker: Worker) -> None:
    """The period at the subscription, a plan instead of a price, the subscription at the invoice."""
    plan = {"id": "plan_1", "nickname": "Team", "amount": 700, "currency": "usd", "interval": "year"}
    item = {"id": "si_1", "plan": plan, "quantity": 2}
    old = {"items": {"data": [item]}, "current_period_start": START, "current_period_end": NOW}
    process(worker, stripe_event(CREATED, **old))
    process(worker, stripe_event("invoice-payment-failed", parent=None, subscription="sub_sample"))

    kept = subscription(worker)
    assert (kept["plan"], kept["amount"], kept["currency"], kept["billing_interval"]) == ("Team", 1400, "usd", "year")
    assert datetime.fromisoformat(kept["current_period_end"]) == datetime.fromtimestamp(NOW, UTC)
    assert invoice(worker)["stripe_subscription_id"] == "sub_sample"


def test_fractions_of_a_cent_are_rounded_once(worker: Worker) -> None:
    """Over all seats, and not for each."""
    event = stripe_event(CREATED)
    item = event["data"]["object"]["items"]["data"][0]
    item["price"] |= {"unit_amount": None, "unit_amount_decimal": "0.5"}
    item["quantity"] = 1001
    process(worker, event)
    assert subscription(worker)["amount"] == 500


@pytest.mark.parametrize("shape", ["price", "plan"])
def test_what_is_paid_by_usage_is_no_part_of_the_amount(worker: Worker, shape: str) -> None:
    """Nobody knows yet how much it will be: its price is for one call, and not for a month."""
    event = stripe_event(CREATED)
    costs: dict[str, Any] = {"id": "calls", "currency": "eur", "unit_amount": 7, "unit_amount_decimal": "7"}
    costs["recurring"] = {"interval": "month", "usage_type": "metered"}
    if shape == "plan":
        costs = {"id": "calls", "currency": "eur", "amount": 7, "interval": "month", "usage_type": "metered"}
    event["data"]["object"]["items"]["data"].append({"id": "si_calls", shape: costs})

    process(worker, event)

    assert subscription(worker)["amount"] == 5 * 1200


def test_a_plan_without_a_name_is_greeted_too(worker: Worker) -> None:
    """Stripe's id of the price is for us, and not for people."""
    event = stripe_event(CREATED)
    event["data"]["object"]["items"]["data"][0]["price"]["lookup_key"] = None
    process(worker, event)
    (mail,) = worker.jobs("send-email")
    assert (subscription(worker)["plan"], mail["data"]["planName"]) == ("price_sample", "Paid")


def test_terms_that_the_mail_has_no_words_for_send_none(worker: Worker) -> None:
    """Each quarter is no interval of the template; better no mail than a wrong one."""
    event = stripe_event(CREATED)
    event["data"]["object"]["items"]["data"][0]["price"]["recurring"]["interval_count"] = 3
    process(worker, event)
    assert (subscription(worker)["interval_count"], mails(worker)) == (3, [])


@pytest.mark.parametrize(
    ("path", "changes", "reason"),
    [
        (CREATED, {"customer": None}, "lacks what is needed of it: customer"),
        (CREATED, {"items": {"data": []}}, "lacks what is needed of it: items.data"),
        (CREATED, {"items": {"data": [{"quantity": 1}]}}, "neither a price nor a plan"),
        (CREATED, {"status": "hibernating"}, "lacks what is needed of it: status"),
        (CREATED, {"start_date": 10**30}, "lacks what is needed of it: start_date"),
        ("invoice-paid", {"amount_due": "much"}, "lacks what is needed of it: amount_due"),
        ("invoice-paid", {"currency": "euros"}, "lacks what is needed of it: currency"),
        ("checkout-session-completed", {"id": None}, "lacks what is needed of it: id"),
    ],
)
def test_an_object_without_what_is_needed_fails_with_a_reason(
    worker: Worker, path: str, changes: dict[str, Any], reason: str
) -> None:
    """At once; which field, and no value of it. Nothing of it is taken over."""
    assert reason in failure(worker, stripe_event(path, **changes))
    assert worker.ask("SELECT 1 FROM subscriptions UNION ALL SELECT 1 FROM invoices") == []


@pytest.mark.parametrize("data", [{}, {"id": "evt_1", "created": NOW}, {"id": "evt_1", "data": {"object": 1}}])
def test_an_envelope_that_is_none_fails_with_a_reason(worker: Worker, data: dict[str, Any]) -> None:
    """Also of an event that somebody enqueued by hand."""
    row = worker.run(ProcessWebhook(source="stripe", event="invoice.paid", data=data))
    assert (row["status"], row["error_type"], row["attempts"]) == ("failed", "NonRetryable", 1)
    assert "lacks what is needed" in row["error"]


def test_unknown_events_are_recorded_and_acknowledged(worker: Worker) -> None:
    """They would be repeated for days otherwise."""
    event = {"id": "evt_1", "type": "terminal.reader.action_failed", "created": NOW, "data": {"object": {}}}
    assert process(worker, event) == "ignored"
    assert worker.ask("SELECT event_type, processed_at IS NOT NULL FROM webhook_events") == [(event["type"], True)]


def test_an_event_is_processed_once_whichever_job_brings_it(worker: Worker) -> None:
    """Two jobs of one event, as after a clean-up of the record: the second does nothing."""
    event = stripe_event("invoice-payment-failed")
    assert [process(worker, event), process(worker, event)] == ["applied", "processed before"]
    assert mails(worker) == ["paymentFailed"]


class Killed(KeyboardInterrupt):
    """The process ends here: nothing that runs in it judges that, and the lease stays until it has ended."""


STEPS = ["take", "finish", "committed"]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("path", [CREATED, "invoice-payment-failed"])
def test_killed_at_any_step_there_is_one_mail_and_one_row(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, step: str, path: str
) -> None:
    """Before anything, between the rows and their commit, and between the commit and the record of the job's end."""
    event = job(stripe_event(path))
    job_id = create_test_job(event)
    with monkeypatch.context() as patched:
        if step == "committed":
            patched.setattr(store, "finish", _die)
        else:
            patched.setattr(inbox, step, _die)
        with pytest.raises(Killed):
            worker.deliver(event, job_id)
    made = worker.ask("SELECT 1 FROM subscriptions UNION ALL SELECT 1 FROM invoices")
    assert (len(made), len(mails(worker))) == ((1, 1) if step == "committed" else (0, 0))

    worker.ask("UPDATE job_executions SET lease_until = clock_timestamp() WHERE job_id = :job_id", job_id=job_id)
    assert worker.deliver(event, job_id).outcome == "completed"

    made = worker.ask("SELECT 1 FROM subscriptions UNION ALL SELECT 1 FROM invoices")
    assert (len(made), len(mails(worker))) == (1, 1)
    assert worker.ask("SELECT count(*), count(processed_at) FROM webhook_events") == [(1, 1)]


def _die(*_arguments: object, **_more: object) -> Any:
    raise Killed


def raw(event: dict[str, Any], age: timedelta = timedelta(0)) -> tuple[str, str]:
    body = json.dumps(event)
    return body, headers("stripe", body, age=age)["stripe-signature"]


def test_a_job_with_a_raw_body_verifies_it(worker: Worker) -> None:
    """However long ago it was received; the event is stored, once, and processed."""
    event = stripe_event("invoice-payment-failed")
    body, signature = raw(event, timedelta(days=2))
    brought = ProcessWebhook(source="stripe", raw_body=body, signature=signature)

    assert [worker.run(brought)["result"]["outcome"] for _ in range(2)] == ["applied", "processed before"]

    assert worker.ask("SELECT event_id, payload FROM webhook_events") == [(event["id"], event)]
    assert mails(worker) == ["paymentFailed"]


def test_a_raw_body_that_nobody_signed_fails_for_good(worker: Worker) -> None:
    """And nothing is stored."""
    body, signature = raw(stripe_event("invoice-paid"))
    row = worker.run(ProcessWebhook(source="stripe", raw_body=body + " ", signature=signature))
    assert (row["status"], row["error_type"], row["attempts"]) == ("failed", "NonRetryable", 1)
    assert "did not sign this raw body" in row["error"]
    assert worker.ask("SELECT 1 FROM webhook_events") == []


def test_a_raw_body_of_another_event_fails_for_good(worker: Worker) -> None:
    """When the job says what it is, the body must say so too."""
    body, signature = raw(stripe_event("invoice-paid"))
    row = worker.run(ProcessWebhook(source="stripe", event="invoice.voided", raw_body=body, signature=signature))
    assert row["error"] == "the raw body is a invoice.paid, and the job calls it invoice.voided"


@pytest.mark.parametrize("body", ["{}", "[", '{"id": "evt_1", "type": "a\\u0000"}'])
def test_a_raw_body_that_is_no_event_fails_for_good(worker: Worker, body: str) -> None:
    """Signed or not."""
    signature = headers("stripe", body)["stripe-signature"]
    row = worker.run(ProcessWebhook(source="stripe", raw_body=body, signature=signature))
    assert (row["status"], row["error_type"], row["attempts"]) == ("failed", "NonRetryable", 1)


def test_a_job_that_cannot_be_verified_says_which_setting_is_missing(worker: Worker) -> None:
    """It can be requeued once that is set."""
    signature = StandardSignature(id="msg_1", timestamp=str(NOW), signature="v1,AAAA")
    row = worker.run(ProcessWebhook(source="custom", name="unknown", raw_body="{}", signature=signature))
    assert (row["status"], row["attempts"]) == ("failed", 1)
    assert row["error"].startswith("CUSTOM_WEBHOOK_SECRETS: it has no 'unknown'")


def test_the_models_and_the_tables_know_the_same_words() -> None:
    """A status that only one of them knew would be refused by the other."""
    assert get_args(stripe_models.SubscriptionStatus) == SUBSCRIPTION_STATUSES
    assert get_args(stripe_models.InvoiceStatus) == INVOICE_STATUSES
    assert get_args(stripe_models.Interval) == INTERVALS


@pytest.mark.parametrize(
    ("amount", "currency", "main"),
    [(2900, "eur", "29.00"), (2900, "jpy", "2900"), (2900, "kwd", "2.900"), (500, "isk", "5.00"), (500, "ugx", "5.00")],
)
def test_amounts_are_in_main_units(amount: int, currency: str, main: str) -> None:
    """As Stripe counts each currency; the króna has no hundredths, but Stripe counts them."""
    assert (main_units(amount, currency), str(main_units(amount, currency))) == (Decimal(main), main)


@pytest.mark.parametrize(
    ("plan", "name"), [("team_yearly", "Team yearly"), ("business", "Business"), ("price_1Qx", None), (None, None)]
)
def test_plans_are_named_as_people_read_them(plan: str | None, name: str | None) -> None:
    """An id of Stripe's is no name."""
    assert plan_name(plan) == name
