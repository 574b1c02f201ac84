"""The Django view of the how-to, in a configured Django. Django is configured once a process, so it gets its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from urllib.parse import parse_qs, urlsplit

import pytest

from qstash_jobs.database import Database
from tests.conftest import ROOT
from tests.docs.pages import snippets

BEFORE = """
import json, os
import django
from django.conf import settings
settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "NAME": os.environ["NAME"], "USER": "postgres",
                           "HOST": os.environ["HOST"]}},
    ALLOWED_HOSTS=["testserver"],
    ROOT_URLCONF="__main__",
    MIDDLEWARE=[],
)
django.setup()
"""

AFTER = """
from django.test import Client
from django.urls import path
urlpatterns = [path("users", sign_up)]
client = Client(raise_request_exception=False)
answers = [client.post("/users", {"name": "Ada", "email": "ada@example.com"}) for _ in range(2)]
print(json.dumps([answers[0].status_code, answers[0].json()["jobId"], answers[1].status_code]))
"""


def test_signing_up_enqueues_a_mail(environment: pytest.MonkeyPatch, database: Database, database_url: str) -> None:
    """The view commits a user and a job; its second call breaks off in the transaction and leaves neither."""
    database.run_pooled("CREATE TABLE users (id bigserial PRIMARY KEY, name text, email text UNIQUE)")
    (view,) = snippets(ROOT / "docs/enqueue-from-django.md", "python")
    parts = urlsplit(database_url)
    where = {"NAME": parts.path[1:], "HOST": parse_qs(parts.query)["host"][0], "PYTHONPATH": "shared"}
    done = subprocess.run(
        [sys.executable, "-c", BEFORE + view.code + AFTER],
        cwd=ROOT,
        env={**os.environ, **where},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    created, job_id, refused = json.loads(done.stdout)
    assert (created, refused) == (201, 500)
    rows = database.run_pooled("SELECT job_id::text, job_type, user_id, payload->>'to' FROM job_executions")
    assert [(job_id, "send-email", 1, "ada@example.com")] == [tuple(row) for row in rows]
