"""Files that jobs make lie in the bucket under their keys, and arrive at whoever downloads them as they were."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from qstash_jobs.bucket import EXPORTS, KEPT, SMALLEST_PART, TEMPORARY, Bucket, FileType
from qstash_jobs.errors import FileMissing

CSV = FileType(content_type="text/csv; charset=utf-8", filename="users.csv")


def test_a_file_arrives_as_it_was_written(bucket: Bucket) -> None:
    """Whoever has its address downloads the same bytes, as a file of the name that was given."""
    bucket.put("exports/a.csv", b"id\r\n1\r\n", CSV)

    got = httpx.get(bucket.address("exports/a.csv", timedelta(minutes=1)))

    assert got.content == b"id\r\n1\r\n"
    assert got.headers["content-type"] == "text/csv; charset=utf-8"
    assert got.headers["content-disposition"].startswith('attachment; filename="users.csv"')


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-1", "eu-central-1", "eu-south-1"])
def test_an_address_is_one_of_the_bucket_s_region(environment: pytest.MonkeyPatch, region: str) -> None:
    """At a host that answers for it, and with a signature that S3 also takes for files under a key of KMS.
    Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html"""
    environment.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        environment.setenv(name, "test")
    environment.setenv("AWS_DEFAULT_REGION", region)

    address = httpx.URL(Bucket("acme-jobs").address("exports/a.csv", timedelta(minutes=1)))

    assert address.params["X-Amz-Algorithm"] == "AWS4-HMAC-SHA256"
    assert address.host == (
        "acme-jobs.s3.amazonaws.com" if region == "us-east-1" else f"acme-jobs.s3.{region}.amazonaws.com"
    )


def test_a_name_in_another_script_survives(bucket: Bucket) -> None:
    """A file may be called anything: what cannot be said in ASCII is said as RFC 6266 has it."""
    bucket.put("exports/a.csv", b"x", FileType(content_type="text/csv", filename='Zürich "2026"\r\nX: y.csv'))

    said = httpx.get(bucket.address("exports/a.csv", timedelta(minutes=1))).headers["content-disposition"]

    assert "filename*=UTF-8''Z%C3%BCrich%20%222026%22%0D%0AX%3A%20y.csv" in said


def test_a_file_in_parts_is_seen_once_it_is_complete(bucket: Bucket) -> None:
    """Nothing is there before the last part, and then all of it; writing a part again replaces it."""
    upload = bucket.begin("exports/b.csv", CSV)
    bucket.put_part("exports/b.csv", upload, 1, b"x" * SMALLEST_PART)
    tags = [
        bucket.put_part("exports/b.csv", upload, 1, b"a" * SMALLEST_PART),
        bucket.put_part("exports/b.csv", upload, 2, b"b"),
    ]
    with pytest.raises(FileMissing):
        bucket.look("exports/b.csv")

    bucket.complete("exports/b.csv", upload, tags)

    assert bucket.look("exports/b.csv").size == SMALLEST_PART + 1
    assert bucket.read("exports/b.csv") == b"a" * SMALLEST_PART + b"b"


def test_a_large_file_is_put_from_a_stream(bucket: Bucket) -> None:
    """What is too large to hold in memory is written from a file."""
    bucket.put("exports/c.csv", io.BytesIO(b"y" * (3 * SMALLEST_PART)), CSV)

    assert bucket.look("exports/c.csv").size == 3 * SMALLEST_PART


def test_all_files_are_listed_and_deleted_page_by_page(bucket: Bucket) -> None:
    """More files than S3 lists or deletes at once are all found, below the prefix only, and all deleted."""
    kind = FileType(content_type="text/plain", filename="x.txt")
    for number in range(1003):
        bucket.put(f"{TEMPORARY}{number:04}", b"", kind)
    bucket.put(f"{EXPORTS}kept", b"", kind)

    pages = list(bucket.pages(TEMPORARY))
    behind = [one.key for page in bucket.pages(TEMPORARY, after=pages[0][-2].key) for one in page]
    bucket.delete([one.key for page in pages for one in page])
    bucket.delete([f"{TEMPORARY}0000"])

    assert [len(page) for page in pages] == [1000, 3]
    assert behind == [f"{TEMPORARY}{number:04}" for number in range(999, 1003)]
    assert pages[0][0].modified_at > datetime.now(UTC) - timedelta(minutes=5)
    assert [one.key for page in bucket.pages("") for one in page] == [f"{EXPORTS}kept"]


def test_a_missing_file_is_named(bucket: Bucket) -> None:
    """Asking for what is not there says which key it was."""
    with pytest.raises(FileMissing, match="exports/none"):
        bucket.read("exports/none")


def test_files_are_encrypted_and_end(bucket: Bucket) -> None:
    """The bucket encrypts what it holds, and deletes below each prefix what has been kept long enough."""
    bucket.put("exports/a.csv", b"id", CSV)

    rules = bucket.client.get_bucket_lifecycle_configuration(Bucket=bucket.name)["Rules"]

    assert bucket.client.head_object(Bucket=bucket.name, Key="exports/a.csv")["ServerSideEncryption"] == "AES256"
    assert {r["Filter"]["Prefix"]: timedelta(days=r["Expiration"]["Days"]) for r in rules} == KEPT
