"""Send an event to this system as its provider would, signed with the secret that both know."""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import typer

from infra.cli import environment
from infra.cli.screen import console, errors
from infra.local.service import DeskFailed

EVENTS = Path(__file__).parents[2] / "events" / "webhooks"
SECONDS = 30

_TIME = re.compile(r"(^created|_at|_date|_start|_end|next_payment_attempt)$")
"""What Stripe calls its times, in unix seconds."""


def webhook(
    sender: Annotated[str, typer.Argument(help="Who sends it: stripe, resend, or custom/NAME.")],
    event: Annotated[str, typer.Argument(help="A file of JSON, or the name of one below events/webhooks.")],
    as_it_is: Annotated[
        bool, typer.Option("--as-it-is", help="Keep its id and its time: the second time, it is a duplicate.")
    ] = False,
) -> None:
    """Sign an event as its provider does, post it to webhook-ingress, and print the answer.

    It gets an id of its own and happens now, so that it can be sent as often as you like; a Stripe event's times move along.

    [dim]jobs webhook stripe subscription-created[/]   ·   [dim]jobs webhook custom/crm contact-created[/]
    """
    environment.load()
    from qstash_jobs.settings import settings

    source, _, name = sender.partition("/")
    if source not in {"stripe", "resend", "custom"} or (source == "custom") != bool(name):
        raise typer.BadParameter("it is stripe, resend, or custom/NAME", param_hint="sender")
    document = _read(source, event)
    if not as_it_is:
        _renew(source, document)
    body = json.dumps(document).encode()
    address = f"{settings().url('webhook-ingress')}/{sender}"
    headers = {"Content-Type": "application/json", **_signed(source, name, body, as_it_is=as_it_is)}
    status, answer = _post(address, body, headers)
    (console if status < 300 else errors).print(f"{status} {answer}", markup=False)
    if status >= 300:
        raise typer.Exit(1)


def _read(source: str, event: str) -> dict[str, Any]:
    given = Path(event)
    path = given if given.suffix else EVENTS / source / f"{event}.json"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = ", ".join(sorted(one.stem for one in (EVENTS / source).glob("*.json")))
        raise typer.BadParameter(f"there is no {path.name}; there are {known}", param_hint="event") from None
    except OSError as error:
        raise typer.BadParameter(f"{path} cannot be read: {error.strerror}", param_hint="event") from None
    except ValueError as error:
        raise typer.BadParameter(f"{path} is not JSON: {error}", param_hint="event") from None
    if not isinstance(document, dict):
        raise typer.BadParameter(f"{path} is no event: an event is a JSON object", param_hint="event")
    return document


def _renew(source: str, document: dict[str, Any]) -> None:
    if source == "stripe" and isinstance(document.get("created"), int):
        later = int(time.time()) - document["created"]
        document["data"] = _moved(document.get("data"), later)
        document |= {"id": f"evt_{uuid4().hex}", "created": document["created"] + later}
    elif source == "resend":
        document["created_at"] = datetime.now(UTC).isoformat()


def _moved(value: Any, seconds: int, name: str = "") -> Any:
    """All times in it later by so much, so that the next payment is not due in the past."""
    match value:
        case dict():
            return {key: _moved(inner, seconds, key) for key, inner in value.items()}
        case list():
            return [_moved(inner, seconds) for inner in value]
        case int() if _TIME.search(name) and value > 0 and not isinstance(value, bool):
            return value + seconds
        case _:
            return value


def _signed(source: str, name: str, body: bytes, *, as_it_is: bool) -> dict[str, str]:
    from qstash_jobs.settings import settings
    from qstash_jobs.webhook_signatures import Sender

    secret = Sender(source, name or None).secret(settings())  # type: ignore[arg-type]
    now = datetime.now(UTC)
    if source == "stripe":
        from stripe import WebhookSignature

        return {"Stripe-Signature": WebhookSignature.generate_signature_header(body.decode(), secret)}
    from standardwebhooks import Webhook

    kind = "svix" if source == "resend" else "webhook"
    event_id = "msg_sample" if as_it_is else f"msg_{uuid4().hex}"
    return {
        f"{kind}-id": event_id,
        f"{kind}-timestamp": str(int(now.timestamp())),
        f"{kind}-signature": Webhook(secret).sign(event_id, now, body.decode()),
    }


def _post(address: str, body: bytes, headers: dict[str, str]) -> tuple[int, str]:
    request = urllib.request.Request(address, body, headers)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310
            return answer.status, answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(errors="replace")
    except OSError as error:
        raise DeskFailed(f"{address} does not answer: {error}; is the desk running? Start it with: make dev") from None
