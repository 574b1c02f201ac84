"""The bucket: the files that jobs make. Each has a key that its job determines, so that a repeated attempt overwrites its
own file and makes no second one.

boto3 comes with Lambda's runtime, and is loaded when the first object is asked for: most functions need none.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import IO, Any
from urllib.parse import quote

from qstash_jobs.errors import FileMissing
from qstash_jobs.settings import settings

EXPORTS = "exports/"
REPORTS = "reports/"
TEMPORARY = "tmp/"

KEPT = {EXPORTS: timedelta(days=30), REPORTS: timedelta(days=90), TEMPORARY: timedelta(days=14)}
"""For how long the bucket's lifecycle keeps what lies below a prefix. Encryption is the bucket's own too: what an upload
says of it would override a key that the bucket was given."""

SMALLEST_PART = 5 * 2**20
"""Bytes of each part of an upload but the last.
Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html"""
MOST_PARTS = 10_000
"""Parts of one upload. Source: the same."""

_DELETED_AT_ONCE = 1000


@dataclass(frozen=True, kw_only=True)
class FileType:
    """How a browser is to take a file."""

    content_type: str
    filename: str
    """What it is called where it is saved."""

    @property
    def headers(self) -> dict[str, str]:
        """As S3 is told, which says it to whoever downloads. Source of the two names: RFC 6266, section 4.3."""
        plain = re.sub(r"[^ !#-\[\]-~]", "_", self.filename)
        disposition = f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(self.filename, safe='')}"
        return {"ContentType": self.content_type, "ContentDisposition": disposition}


@dataclass(frozen=True, kw_only=True)
class Object:
    """One file in the bucket."""

    key: str
    size: int
    """Bytes."""
    modified_at: datetime


class Bucket:
    """An S3 bucket. What S3 refuses is raised as botocore's `ClientError`."""

    def __init__(self, name: str) -> None:
        self.name = name

    @cached_property
    def client(self) -> Any:
        """S3's client: each call is tried three times, and none waits for ever."""
        import boto3
        from botocore.config import Config

        config = Config(
            connect_timeout=5,
            read_timeout=30,
            retries={"mode": "standard", "max_attempts": 3},
            # Left to itself, botocore signs addresses by a version that S3 does not take for files under a key of KMS,
            # and for a host that regions opened since 2019 do not answer at.
            signature_version="s3v4",
            s3={"addressing_style": "virtual"},
        )
        return boto3.client("s3", config=config)

    def put(self, key: str, content: bytes | IO[bytes], kind: FileType) -> None:
        """Write a file, in one piece or, when it is large, in parts."""
        if isinstance(content, bytes):
            self.client.put_object(Bucket=self.name, Key=key, Body=content, **kind.headers)
        else:
            from boto3.s3.transfer import TransferConfig

            few = TransferConfig(max_concurrency=2)  # each holds a part in memory
            self.client.upload_fileobj(content, self.name, key, ExtraArgs=kind.headers, Config=few)

    def begin(self, key: str, kind: FileType) -> str:
        """Begin an upload in parts; its id. Nothing is seen of it before it is completed."""
        begun = self.client.create_multipart_upload(Bucket=self.name, Key=key, **kind.headers)
        return str(begun["UploadId"])

    def put_part(self, key: str, upload_id: str, number: int, content: bytes) -> str:
        """Write a part of an upload, from 1 on; its tag. The same number again replaces it."""
        put = self.client.upload_part(Bucket=self.name, Key=key, UploadId=upload_id, PartNumber=number, Body=content)
        return str(put["ETag"])

    def complete(self, key: str, upload_id: str, tags: Sequence[str]) -> None:
        """Make the file of the parts of these tags, in order."""
        parts = [{"PartNumber": number, "ETag": tag} for number, tag in enumerate(tags, 1)]
        self.client.complete_multipart_upload(
            Bucket=self.name, Key=key, UploadId=upload_id, MultipartUpload={"Parts": parts}
        )

    def has_upload(self, key: str, upload_id: str) -> bool:
        """Whether an upload can be gone on with: it was neither completed nor cleared away."""
        try:
            self.client.list_parts(Bucket=self.name, Key=key, UploadId=upload_id, MaxParts=1)
        except self.client.exceptions.NoSuchUpload:
            return False
        return True

    def look(self, key: str) -> Object:
        """What there is. Raises `FileMissing`."""
        from botocore.exceptions import ClientError

        try:
            head = self.client.head_object(Bucket=self.name, Key=key)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                raise FileMissing(key) from None
            raise
        return Object(key=key, size=head["ContentLength"], modified_at=head["LastModified"])

    def read(self, key: str) -> bytes:
        """A whole file, for one that is known to be small. Raises `FileMissing`."""
        try:
            content: bytes = self.client.get_object(Bucket=self.name, Key=key)["Body"].read()
        except self.client.exceptions.NoSuchKey:
            raise FileMissing(key) from None
        return content

    def pages(self, prefix: str, after: str = "") -> Iterator[list[Object]]:
        """All files below a prefix, by key, up to a thousand at a time; only those behind the key `after`."""
        listed = self.client.get_paginator("list_objects_v2")
        for page in listed.paginate(Bucket=self.name, Prefix=prefix, StartAfter=after):
            yield [
                Object(key=one["Key"], size=one["Size"], modified_at=one["LastModified"])
                for one in page.get("Contents", ())
            ]

    def delete(self, keys: Sequence[str]) -> None:
        """Delete files; those that are gone already count as deleted. Raises `RuntimeError` naming one that stayed."""
        for first in range(0, len(keys), _DELETED_AT_ONCE):
            objects = [{"Key": key} for key in keys[first : first + _DELETED_AT_ONCE]]
            answer = self.client.delete_objects(Bucket=self.name, Delete={"Objects": objects, "Quiet": True})
            if errors := answer.get("Errors"):
                raise RuntimeError(f"S3 kept {len(errors)} files, {errors[0]['Key']!r} because of {errors[0]['Code']}")

    def address(self, key: str, within: timedelta) -> str:
        """An address that downloads a file without a login for that long, and at most while the credentials of this
        process last: a function's own end within hours."""
        signed: str = self.client.generate_presigned_url(
            "get_object",
            Params={"Bucket": self.name, "Key": key},
            ExpiresIn=max(1, round(within.total_seconds())),
        )
        return signed


@functools.cache
def bucket() -> Bucket:
    """The bucket of the settings. Raises `ConfigurationError`."""
    return Bucket(settings().secret("JOBS_BUCKET"))
