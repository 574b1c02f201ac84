"""Settings, as `.env.example` and the reference show them."""

from __future__ import annotations

import textwrap
from datetime import timedelta
from typing import NamedTuple

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from infra.docs.markdown import code, sentence, table
from qstash_jobs.settings import LIMITS, Settings


class Group(NamedTuple):
    """Settings that are needed for one thing."""

    title: str
    intro: str
    names: tuple[str, ...]


GROUPS = (
    Group(
        "To enqueue",
        "What an app service needs, and every function that enqueues jobs itself.",
        (
            "DATABASE_URL", "DATABASE_TIMEOUT", "QSTASH_URL", "QSTASH_TOKEN", "QSTASH_PLAN", "QSTASH_TIMEOUT",
            "JOBS_BASE_URL", "JOBS_URLS", "JOBS_URLS_PATH", "JOBS_DATABASE_HOST", "JOBS_DATABASE_CA",
            "JOBS_SCHEDULE_PREFIX",
        ),
    ),
    Group(
        "To serve",
        "What a function needs besides DATABASE_URL. Without the keys it accepts nothing.",
        (
            "QSTASH_CURRENT_SIGNING_KEY", "QSTASH_NEXT_SIGNING_KEY", "JOBS_METRICS_NAMESPACE", "JOBS_LEASE_GRACE",
            "JOBS_DELIVERY_GRACE", "JOBS_PUBLICATION_DELAY",
        ),
    ),
    Group(
        "Mail",
        "What the function send-email needs.",
        (
            "RESEND_API_KEY", "EMAIL_FROM", "EMAIL_REPLY_TO", "PRODUCT_NAME", "APP_URL", "SUPPORT_EMAIL",
            "RESEND_API_URL",
        ),
    ),
    Group(
        "Files",
        "What export-data, generate-report, cleanup-old-data and download need, and send-email for attachments.",
        ("JOBS_BUCKET", "JOBS_LINK_KEY", "JOBS_LINK_LIFE"),
    ),
    Group(
        "Webhooks",
        "What webhook-ingress needs, one for each provider that sends you events, and process-webhook for events that "
        "were enqueued unverified.",
        ("STRIPE_WEBHOOK_SECRET", "RESEND_WEBHOOK_SECRET", "CUSTOM_WEBHOOK_SECRETS"),
    ),
    Group(
        "Notifications",
        "Who is told when a job has failed for good. Without them it is told in the log and as a metric.",
        ("JOBS_NOTIFY_EMAIL", "JOBS_NOTIFY_TOPIC"),
    ),
    Group("On the desk and in tests", "Never set these where jobs are real.", ("JOBS_PROBE", "JOBS_TIME_SCALE")),
)  # fmt: skip


def reference() -> str:
    """A table for each group."""
    fields = _fields()
    parts = []
    for group in GROUPS:
        rows = [
            [code(name) + _secret(fields[name]), _default(fields[name]), sentence(fields[name].description or "")]
            for name in group.names
        ]
        parts += [f"## {group.title}", group.intro, table(["setting", "default", "what it is"], rows)]
    return "\n\n".join(parts)


def env_example() -> str:
    """A file for a shell to read: everything is there, and what has a default is commented out."""
    fields = _fields()
    lines = [
        "# Every setting, with its default. Made from the code by `make docs`; see docs/reference/settings.md.",
        "# The desk (`make dev`) needs none of these. Elsewhere copy this file to .env, fill in what you need, and let",
        "# your shell or your service manager read it, for nothing here does so by itself:  set -a; . ./.env; set +a",
    ]
    for group in GROUPS:
        lines += ["", f"# {group.title}", *_comment(group.intro)]
        for name in group.names:
            field = fields[name]
            lines += ["", *_comment(sentence(field.description or "")), _assignment(name, field)]
    return "\n".join(lines) + "\n"


def plans() -> str:
    """What each plan of QStash allows."""
    rows = [
        [code(name), str(limits.retries), f"{limits.delay.days} days", str(limits.batch)]
        for name, limits in LIMITS.items()
    ]
    return table(["plan", "retries of a message", "longest delay of a message", "messages in a batch"], rows)


def _fields() -> dict[str, FieldInfo]:
    fields = {str(field.alias): field for field in Settings.model_fields.values()}
    grouped = [name for group in GROUPS for name in group.names]
    if sorted(grouped) != sorted(fields):
        odd = ", ".join(sorted(set(grouped) ^ set(fields)))
        raise LookupError(f"each setting belongs to one group of infra/docs/settings.py; look at {odd}")
    return fields


def _value(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    match value:
        case None | {}:
            return ""
        case bool():
            return str(value).lower()
        case timedelta():
            return f"{value.total_seconds():g}"
        case float():
            return f"{value:g}"
        case _:
            return str(value)


def _default(field: FieldInfo) -> str:
    value = _value(field)
    return code(value) if value else "–"


def _secret(field: FieldInfo) -> str:
    return " (secret)" if SecretStr.__name__ in str(field.annotation) else ""


def _assignment(name: str, field: FieldInfo) -> str:
    value = _value(field)
    quoted = f'"{value}"' if not value.isalnum() and value else value
    return f"# {name}={quoted}" if value else f"{name}="


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, 118, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
