"""An event of a provider goes the whole way: front door, job, rows, mail."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from uuid import uuid4

import httpx
import stripe
import svix

from infra.local.desk import DEVELOPMENT_WEBHOOK_SECRETS
from qstash_jobs import emails
from tests.conftest import ROOT
from tests.e2e.conftest import World
from tests.e2e.test_mails import mails_to
from tests.waiting import until


def post(world: World, sender: str, body: str, headers: dict[str, str]) -> str:
    """What a provider is told."""
    url = f"{world.desk.environment['JOBS_BASE_URL']}/webhook-ingress/{sender}"
    answer = httpx.post(url, content=body, headers={"Content-Type": "application/json", **headers}, timeout=30)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["outcome"])


def test_a_failed_payment_is_one_job_and_one_mail_however_often_it_is_posted(world: World) -> None:
    """And the customer's row says so; Resend's bounce of that mail then keeps the next one back."""
    word = uuid4().hex
    address, customer = f"{word}@example.com", f"cus_{word}"
    world.run(f"""
        INSERT INTO organizations (name, slug, billing_email, stripe_customer_id)
        VALUES ('Analytical Engines', '{word}', '{address}', '{customer}')""")
    event = json.loads((ROOT / "events/webhooks/stripe/invoice-payment-failed.json").read_text())
    event["id"] = f"evt_{word}"
    event["data"]["object"] |= {"id": f"in_{word}", "customer": customer}
    body = json.dumps(event)

    outcomes = []
    for _ in range(3):
        signed = stripe.WebhookSignature.generate_signature_header(
            body, DEVELOPMENT_WEBHOOK_SECRETS["STRIPE_WEBHOOK_SECRET"]
        )
        outcomes.append(post(world, "stripe", body, {"stripe-signature": signed}))

    assert outcomes == ["received", "duplicate", "duplicate"]
    ((job_id,),) = world.run(f"SELECT job_id FROM webhook_events WHERE event_id = 'evt_{word}'")
    row = world.wait(job_id, "completed", "failed")
    assert (row["status"], row["result"]) == ("completed", {"outcome": "applied"})
    assert world.run(f"SELECT count(*) FROM job_executions WHERE payload->>'eventId' = 'evt_{word}'")[0][0] == 1
    assert [list(one) for one in world.run(f"SELECT status FROM invoices WHERE stripe_customer_id = '{customer}'")] == [
        ["open"]
    ]
    until(lambda: mails_to(world, address))
    (mail,) = mails_to(world, address)
    assert mail["subject"] == "Your Acme payment did not go through"

    bounced = json.loads((ROOT / "events/webhooks/resend/bounced.json").read_text())
    bounced["data"] |= {"email_id": mail["id"], "to": [address]}
    body, now = json.dumps(bounced), datetime.now(UTC)
    signed = svix.Webhook(DEVELOPMENT_WEBHOOK_SECRETS["RESEND_WEBHOOK_SECRET"]).sign(f"msg_{word}", now, body)
    headers = {"svix-id": f"msg_{word}", "svix-timestamp": str(int(now.timestamp())), "svix-signature": signed}
    assert post(world, "resend", body, headers) == "received"
    until(lambda: world.run(f"SELECT 1 FROM email_suppressions WHERE address = '{address}'"))

    ((mail_job,),) = world.run(f"SELECT job_id FROM job_executions WHERE payload->>'to' = '{address}'")
    assert world.row(mail_job)["status"] == "completed"
    row = world.wait(emails.welcome(to=address, recipient_name="Ada"), "failed", "completed")
    assert (row["status"], row["error_type"]) == ("failed", "NonRetryable")
    assert len(mails_to(world, address)) == 1
