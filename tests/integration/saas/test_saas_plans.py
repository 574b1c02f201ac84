"""What the jobs ask of the starter's tables has an index to go along."""

from __future__ import annotations

from datetime import date, timedelta

from sqlalchemy import Engine, text

from infra.seed.load import seed
from infra.seed.scale import SCALES
from qstash_jobs.database import Database

IN_AUGUST = "created_at >= '2026-08-01' AND created_at < '2026-09-01'"
QUESTIONS = {
    "export of users, by their key": ("SELECT * FROM users WHERE id > 100 ORDER BY id LIMIT 100", "users_pkey"),
    "export of users, of a month": (
        f"SELECT * FROM users WHERE {IN_AUGUST} ORDER BY created_at, id LIMIT 100",
        "users_created",
    ),
    "export of one organization's users": (
        "SELECT user_id FROM organization_members WHERE organization_id = 3 AND user_id > 10 ORDER BY user_id",
        "organization_members_pkey",
    ),
    "export of organizations, of a month": (
        f"SELECT * FROM organizations WHERE {IN_AUGUST} ORDER BY created_at, id",
        "organizations_created",
    ),
    "export of activity, from where it stopped": (
        "SELECT * FROM activity_logs WHERE (created_at, id) > ('2026-08-01', 12000) AND created_at < '2026-09-01'"
        " ORDER BY created_at, id LIMIT 100",
        "activity_logs_created",
    ),
    "export of one organization's activity": (
        f"SELECT * FROM activity_logs WHERE organization_id = 3 AND {IN_AUGUST} ORDER BY created_at, id LIMIT 100",
        "activity_logs_organization",
    ),
    "report of usage by organization and action": (
        f"SELECT organization_id, action, count(*) FROM activity_logs WHERE {IN_AUGUST} GROUP BY 1, 2",
        "activity_logs_created",
    ),
    "report of invoices by state": (
        "SELECT status, count(*) FROM invoices WHERE issued_at >= '2026-08-01' AND issued_at < '2026-09-01' GROUP BY 1",
        "invoices_issued",
    ),
    "report of failed payments": (
        "SELECT * FROM invoices WHERE failed_at >= '2026-08-01' AND failed_at < '2026-09-01'",
        "invoices_failed",
    ),
    "report of revenue, at a moment": (
        "SELECT DISTINCT ON (subscription_id) * FROM subscription_changes WHERE subscription_id = 7"
        " AND changed_at < '2026-08-01' ORDER BY subscription_id, changed_at DESC, id DESC",
        "subscription_changes_subscription",
    ),
    "clean-up of sessions": (
        "SELECT id FROM sessions WHERE expires_at < '2026-08-20' ORDER BY expires_at, id LIMIT 100",
        "sessions_expired",
    ),
    "clean-up of invitations": (
        "SELECT id FROM invitations WHERE expires_at < '2026-08-20' ORDER BY expires_at, id LIMIT 100",
        "invitations_expired",
    ),
    "clean-up of activity": (
        "SELECT id FROM activity_logs WHERE created_at < '2025-08-01' ORDER BY created_at, id LIMIT 100",
        "activity_logs_created",
    ),
    "clean-up of files": (
        "SELECT id FROM files WHERE expires_at < '2026-08-20' ORDER BY expires_at, id LIMIT 100",
        "files_expired",
    ),
    "a webhook that came before": (
        "SELECT FROM webhook_events WHERE provider = 'stripe' AND event_id = 'evt_1'",
        "webhook_events_provider_event_id_key",
    ),
    "webhooks that nobody processed": (
        "SELECT id FROM webhook_events WHERE processed_at IS NULL AND received_at < '2026-08-20'",
        "webhook_events_unprocessed",
    ),
    "whether an address may get mail": (
        "SELECT reason FROM email_suppressions WHERE address = 'ada@example.com'",
        "email_suppressions_pkey",
    ),
    "the delivery that an event is about": (
        "SELECT status FROM email_deliveries WHERE resend_id = 'a'",
        "email_deliveries_resend_id_key",
    ),
    "who has this address": ("SELECT id FROM users WHERE lower(email) = 'ada@example.com'", "users_email"),
}


def test_each_question_has_its_index(started: Engine, database: Database) -> None:
    """And none needs to sort: an export can begin at once, and go on where it stopped."""
    with database.transaction(timedelta(minutes=1)) as connection:
        for _ in seed(connection, SCALES["small"], date(2026, 11, 1)):
            pass
    missing = {}
    with started.begin() as connection:
        connection.execute(text("SET LOCAL enable_seqscan = off"))  # which is fastest where there is little
        connection.execute(text("SET LOCAL enable_bitmapscan = off"))
        for what, (question, index) in QUESTIONS.items():
            plan = "\n".join(connection.execute(text(f"EXPLAIN {question}")).scalars())
            if index not in plan or ("LIMIT" in question and "Sort" in plan):
                missing[what] = plan
    assert missing == {}
