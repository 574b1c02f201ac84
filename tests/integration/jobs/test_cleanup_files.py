"""`cleanup-old-data` on files in a bucket, and the rows that tell of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from moto.s3.models import s3_backends
from sqlalchemy import Engine

from qstash_jobs.bucket import EXPORTS, TEMPORARY, Bucket, FileType
from qstash_jobs.testing import create_test_job
from tests.integration.jobs.cleaning import (
    TEMP_FILES,
    cleaner,
    counts,
    deliver_and_kill,
    dry,
)
from tests.integration.jobs.conftest import Worker

PLAIN = FileType(content_type="text/plain", filename="x.txt")


@pytest.fixture
def worker(engine: Engine) -> Worker:
    """The function, on a database with an organization and a user."""
    return cleaner(engine)


@pytest.fixture
def put(bucket: Bucket) -> Callable[[str, int], None]:
    """Writes a file of ten bytes that is so many days old."""

    def put(key: str, days: int) -> None:
        bucket.put(key, b"x" * 10, PLAIN)
        for account in s3_backends.values():
            for backend in account.values():
                if bucket.name in backend.buckets:
                    backend.buckets[bucket.name].keys[key].last_modified = datetime.now(UTC).replace(
                        tzinfo=None
                    ) - timedelta(days=days)

    return put


def add_file(worker: Worker, key: str, kind: str, expires_in_days: int | None) -> None:
    """The row that tells of a file."""
    expires = "NULL" if expires_in_days is None else f"now() + {expires_in_days} * interval '1 day'"
    worker.ask(
        f"INSERT INTO files (s3_key, kind, content_type, bytes, expires_at) VALUES (:key, :kind, 'text/plain', 10, {expires})",
        key=key,
        kind=kind,
    )


def test_temporary_files_go_with_their_rows(worker: Worker, bucket: Bucket, put: Callable[[str, int], None]) -> None:
    """Only below the prefix, only old ones; and rows whose file the bucket's own lifecycle has taken before. A dry run
    says the same of it, with the bytes."""
    for key, days in (("tmp/a", 8), ("tmp/b", 8), ("tmp/new", 6), ("exports/a", 400)):
        put(key, days)
    add_file(worker, "tmp/a", "temporary", None)
    add_file(worker, "tmp/b", "temporary", -9)  # old by its file, and by itself: counted once
    add_file(worker, "tmp/new", "temporary", 8)
    add_file(worker, "tmp/taken", "temporary", -8)
    add_file(worker, "exports/a", "export", -300)

    for job, left in ((dry(TEMP_FILES), 5), (TEMP_FILES, 2)):
        row = worker.run(job)
        assert (counts(row), row["result"]["bytes"]) == ({"objects": 2, "files": 3}, 20)
        assert worker.ask("SELECT count(*) FROM files") == [(left,)]

    assert [one.key for page in bucket.pages(TEMPORARY) for one in page] == ["tmp/new"]
    assert [one.key for page in bucket.pages(EXPORTS) for one in page] == ["exports/a"]


def test_many_files_go_page_by_page_and_are_counted_once_when_it_is_killed(
    worker: Worker, bucket: Bucket, put: Callable[[str, int], None]
) -> None:
    """Killed when a page is counted and not deleted yet, and when it is deleted: nothing is lost, nothing counted twice."""
    for number in range(2_010):
        put(f"tmp/{number:05}", 8 if number % 2 else 1)
    for number in range(1, 40, 2):
        add_file(worker, f"tmp/{number:05}", "temporary", None)
    job_id = create_test_job(TEMP_FILES, retries=9)

    for when in ("before", "after"):
        deliver_and_kill(worker, TEMP_FILES, job_id, ("Bucket", "delete", 1, when))
    assert worker.row(job_id)["checkpoint"]["counts"] == {"objects": 500, "files": 20}
    assert worker.deliver(TEMP_FILES, job_id).outcome == "completed"

    assert (counts(row := worker.row(job_id)), row["result"]["bytes"]) == ({"objects": 1_005, "files": 20}, 10_050)
    assert sum(len(page) for page in bucket.pages(TEMPORARY)) == 1_005
