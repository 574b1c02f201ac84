"""How long a provider waits for the answer of the front door, over HTTP, with the job's message already sent."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import uuid4

import httpx
import stripe
import svix

from infra.local.desk import DEVELOPMENT_WEBHOOK_SECRETS, Desk
from tests.benchmarks.measure import Result, at_most

REQUESTS = 200
TARGET_MS = 30


def ingress(desk: Desk) -> Iterator[Result]:
    """Warm, one after another; each event is new, and its message is at QStash when the answer comes."""
    url = f"{desk.environment['JOBS_BASE_URL']}/webhook-ingress"
    for sender in ("stripe", "resend"):
        with httpx.Client(timeout=30) as client:
            for _ in range(20):
                _milliseconds(client, url, sender)
            took = sorted(_milliseconds(client, url, sender) for _ in range(REQUESTS))
        yield at_most(f"webhook: {sender}, median", statistics.median(took), TARGET_MS, "ms")
        yield at_most(f"webhook: {sender}, 99 of 100", took[REQUESTS * 99 // 100 - 1], 2 * TARGET_MS, "ms")


def _milliseconds(client: httpx.Client, url: str, sender: str) -> float:
    word = uuid4().hex
    body = json.dumps({"id": f"evt_{word}", "type": "benchmark", "created": int(time.time()), "data": {"object": {}}})
    headers = {"Content-Type": "application/json", **_signed(sender, word, body)}
    began = time.perf_counter()
    answer = client.post(f"{url}/{sender}", content=body, headers=headers)
    took = (time.perf_counter() - began) * 1000
    if answer.json() != {"outcome": "received"}:
        raise RuntimeError(f"the front door answered {answer.status_code} {answer.text}")
    return took


def _signed(sender: str, word: str, body: str) -> dict[str, str]:
    secret = DEVELOPMENT_WEBHOOK_SECRETS[f"{sender.upper()}_WEBHOOK_SECRET"]
    if sender == "stripe":
        return {"Stripe-Signature": stripe.WebhookSignature.generate_signature_header(body, secret)}
    now = datetime.now(UTC)
    signature = svix.Webhook(secret).sign(word, now, body)
    return {"svix-id": word, "svix-timestamp": str(int(now.timestamp())), "svix-signature": signature}
