"""A link in a mail leads to its file for as long as it is good, and to a page that says why not otherwise."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import boto3
import httpx
import jwt
import pytest
from botocore.config import Config

from functions.download.handler import handler
from qstash_jobs.bucket import Bucket, FileType
from qstash_jobs.links import link_to
from qstash_jobs.settings import settings
from qstash_jobs.testing import function_url_event, time_out_after

KIND = FileType(content_type="text/csv", filename="users.csv")


def click(url: str, method: str = "GET") -> dict[str, Any]:
    """What the function answers to a browser."""
    return handler(function_url_event(url, b"", {}, method), time_out_after(timedelta(seconds=30)))


def test_a_link_leads_to_its_file(bucket: Bucket) -> None:
    """The browser is sent on to S3, which gives the file without a login."""
    bucket.put("exports/a.csv", b"id\r\n1\r\n", KIND)
    link = link_to("exports/a.csv", settings())

    answer = click(link.url)

    assert answer["statusCode"] == 302
    assert answer["headers"]["Cache-Control"] == "no-store"
    assert httpx.get(answer["headers"]["Location"]).content == b"id\r\n1\r\n"


def test_a_link_outlives_the_address_that_it_leads_to(bucket: Bucket) -> None:
    """Opened again, also after the first address has ended, the link leads to a new one."""
    bucket.put("exports/a.csv", b"id", KIND)
    link = link_to("exports/a.csv", settings())

    assert [click(link.url)["statusCode"] for _ in range(2)] == [302, 302]


def test_a_link_ends(bucket: Bucket, environment: pytest.MonkeyPatch) -> None:
    """After its life the page says that the link has ended, in words for people."""
    bucket.put("exports/a.csv", b"id", KIND)
    now = settings().model_copy(update={"link_life": timedelta(seconds=-1)})

    answer = click(link_to("exports/a.csv", now).url)

    assert answer["statusCode"] == 410
    assert "This link has ended" in answer["body"]


def test_a_deleted_file_is_said_to_be_deleted(bucket: Bucket) -> None:
    """A link that is good to a file that is gone says so, and does not show S3's XML."""
    answer = click(link_to("exports/gone.csv", settings()).url)

    assert answer["statusCode"] == 410
    assert "has been deleted" in answer["body"]


@pytest.mark.parametrize(
    "token",
    [
        "",
        "favicon.ico",
        "a.b.c",
        jwt.encode({"sub": "exports/a.csv", "exp": 9_999_999_999}, "another-key-of-the-right-length-0123"),
        jwt.encode({"sub": "exports/a.csv", "exp": 9_999_999_999}, None, algorithm="none"),
        jwt.encode({"sub": "exports/a.csv"}, "a-key-for-tests-and-for-nothing-else"),
        "%00%ff",
    ],
)
def test_a_forged_link_leads_nowhere(bucket: Bucket, token: str) -> None:
    """Only what was signed with this stage's key, for a limited time, opens a file."""
    bucket.put("exports/a.csv", b"id", KIND)

    answer = click(f"{settings().url('download')}/{token}")

    assert answer["statusCode"] == 404
    assert "There is nothing here" in answer["body"]
    assert "Location" not in answer["headers"]


def test_a_link_is_only_opened(bucket: Bucket) -> None:
    """Nothing can be sent to a link."""
    bucket.put("exports/a.csv", b"id", KIND)

    answer = click(link_to("exports/a.csv", settings()).url, "POST")

    assert (answer["statusCode"], answer["headers"]["Allow"]) == (405, "GET, HEAD")


def test_while_s3_is_away_people_are_asked_to_try_again(bucket: Bucket) -> None:
    """And see a page, not an error of the function's."""
    link = link_to("exports/a.csv", settings())
    nowhere = boto3.client("s3", endpoint_url="http://127.0.0.1:9", config=Config(retries={"total_max_attempts": 1}))
    bucket.client.close()
    vars(bucket)["client"] = nowhere

    answer = click(link.url)

    assert (answer["statusCode"], answer["headers"]["Retry-After"]) == (503, "10")
    assert "Please try again" in answer["body"]
