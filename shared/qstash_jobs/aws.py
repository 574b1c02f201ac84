"""Questions to Secrets Manager and Parameter Store, where settings are kept that a function's environment only names.

In Lambda the requests are signed here: loading boto3 and making a client would take as long as all else that a delivery
loads, and every cold start asks for the signing keys. Elsewhere boto3 asks, which knows profiles, roles and containers.
Both speak AWS's JSON protocol, version 1.1. Source of the signature:
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from qstash_jobs.errors import ConfigurationError, SettingsUnreachable

if TYPE_CHECKING:
    from socket import socket

Service = Literal["secretsmanager", "ssm"]

TIMEOUT_SECONDS = 2.0
"""For connecting, and for all of the answer; each question is asked twice at most."""

ANSWER_LIMIT_BYTES = 1024 * 1024
"""A secret has 64 kB at most, and a page of parameters ten times 8 kB."""

_TARGETS = {"secretsmanager": "secretsmanager", "ssm": "AmazonSSM"}
_ENDPOINTS = {"secretsmanager": "AWS_ENDPOINT_URL_SECRETS_MANAGER", "ssm": "AWS_ENDPOINT_URL_SSM"}
_DOMAINS = {
    "cn-": "amazonaws.com.cn",
    "eusc-": "amazonaws.eu",
    "us-iso-": "c2s.ic.gov",
    "us-isob-": "sc2s.sgov.gov",
    "us-isof-": "csp.hci.ic.gov",
    "eu-isoe-": "cloud.adc-e.uk",
}
"""Where the regions are that do not belong to amazonaws.com, by how their names begin."""
_BUSY = ("Throttl", "RequestThrottl", "TooManyRequests", "InternalServ", "ServiceUnavailable")


class AwsRefused(Exception):
    """AWS answered, and said no; `code` is its name for why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


def region() -> str:
    """The region that this process is to work in. Raises `ConfigurationError`."""
    name = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if not name and not _signs_itself():
        name = _boto3().Session().region_name
    if not name:
        raise ConfigurationError("AWS_REGION: it is not set, so it is not known where to read settings from")
    return str(name)


def ask(service: Service, action: str, question: Mapping[str, Any], region: str) -> dict[str, Any]:
    """What a service answers to one action, e.g. `ask("ssm", "GetParameter", {"Name": "/x"}, "eu-central-1")`.

    Raises `AwsRefused`, and `SettingsUnreachable` when it cannot be reached, or is too busy, also at the second try.
    """
    if not _signs_itself():
        return _ask_by_boto3(service, action, question, region)
    try:
        return _ask(service, action, question, region)
    except SettingsUnreachable:
        return _ask(service, action, question, region)


def _signs_itself() -> bool:
    return "AWS_LAMBDA_FUNCTION_NAME" in os.environ and "AWS_ACCESS_KEY_ID" in os.environ


def _ask(service: Service, action: str, question: Mapping[str, Any], region: str) -> dict[str, Any]:
    from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection

    from qstash_jobs.tls import verified

    given = os.environ.get(_ENDPOINTS[service]) or os.environ.get("AWS_ENDPOINT_URL")
    endpoint = urlsplit(given or address(service, region))
    body = json.dumps(question).encode()
    headers = signed(service, region, endpoint.netloc, f"{_TARGETS[service]}.{action}", body, datetime.now(UTC))
    connection = (
        HTTPSConnection(endpoint.netloc, timeout=TIMEOUT_SECONDS, context=verified())
        if endpoint.scheme == "https"
        else HTTPConnection(endpoint.netloc, timeout=TIMEOUT_SECONDS)
    )
    try:
        connection.request("POST", "/", body, headers)
        response = HTTPResponse(connection.sock, method="POST")
        response.fp = io.BufferedReader(_Answer(connection.sock, time.monotonic() + TIMEOUT_SECONDS))
        response.begin()
        status, content = response.status, response.read(ANSWER_LIMIT_BYTES + 1)
    except (OSError, HTTPException) as error:
        raise SettingsUnreachable(f"{endpoint.netloc} does not answer: {type(error).__name__}: {error}") from error
    finally:
        connection.close()
    if len(content) > ANSWER_LIMIT_BYTES:
        raise SettingsUnreachable(f"{endpoint.netloc} answered {status}, and more than {ANSWER_LIMIT_BYTES} bytes")
    return _answered(service, status, content)


class _Answer(io.RawIOBase):
    """What a socket receives until a time of the monotonic clock. Its own timeout begins anew with each read, so a
    server that sends byte after byte would never be left."""

    def __init__(self, sock: socket, until: float) -> None:
        self._socket = sock
        self._until = until

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer takes too long")
        self._socket.settimeout(left)
        return self._socket.recv_into(buffer)


def _answered(service: str, status: int, content: bytes) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = json.loads(content)
        code = str(answer.get("__type", "")).rpartition("#")[2]
    except (ValueError, AttributeError):
        raise SettingsUnreachable(f"{service} answered {status}, and no JSON") from None
    if status == 200:
        return answer
    if _is_busy(status, code):
        raise SettingsUnreachable(f"{service} answered {status} {code}")
    raise AwsRefused(code or str(status), str(answer.get("message") or answer.get("Message") or "no reason is given"))


def _is_busy(status: int, code: str) -> bool:
    return status >= 500 or status == 429 or code.startswith(_BUSY)


def address(service: Service, region: str) -> str:
    """Where a service answers, as AWS's own libraries have it."""
    domain = next((domain for beginning, domain in _DOMAINS.items() if region.startswith(beginning)), "amazonaws.com")
    return f"https://{service}.{region}.{domain}"


def signed(service: str, region: str, host: str, target: str, body: bytes, moment: datetime) -> dict[str, str]:
    """The headers of a POST to `/`, with AWS's signature, version 4."""
    stamp, day = f"{moment:%Y%m%dT%H%M%SZ}", f"{moment:%Y%m%d}"
    headers = {
        "content-type": "application/x-amz-json-1.1",
        "host": host,
        "x-amz-date": stamp,
        "x-amz-target": target,
    }
    if token := os.environ.get("AWS_SESSION_TOKEN"):
        headers["x-amz-security-token"] = token
    names = ";".join(sorted(headers))
    listed = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    canonical = f"POST\n/\n\n{listed}\n{names}\n{hashlib.sha256(body).hexdigest()}"
    scope = f"{day}/{region}/{service}/aws4_request"
    key = f"AWS4{os.environ['AWS_SECRET_ACCESS_KEY']}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    credential = f"{os.environ['AWS_ACCESS_KEY_ID']}/{scope}"
    headers["authorization"] = f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signature}"
    return headers


def _ask_by_boto3(service: Service, action: str, question: Mapping[str, Any], region: str) -> dict[str, Any]:
    boto3 = _boto3()
    from botocore import xform_name
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

    # botocore's own would be a minute for each read, and five tries.
    limits = Config(connect_timeout=TIMEOUT_SECONDS, read_timeout=TIMEOUT_SECONDS, retries={"total_max_attempts": 2})
    client = boto3.client(service, region_name=region, config=limits)
    try:
        answer: dict[str, Any] = getattr(client, xform_name(action))(**question)
    except ClientError as error:
        said = error.response["Error"]
        if _is_busy(error.response["ResponseMetadata"]["HTTPStatusCode"], said["Code"]):
            raise SettingsUnreachable(f"{service}: {error}") from error
        raise AwsRefused(said["Code"], said["Message"]) from error
    except NoCredentialsError:
        raise ConfigurationError("AWS: no credentials here; log in with `aws sso login`, or set AWS_PROFILE") from None
    except BotoCoreError as error:
        raise SettingsUnreachable(f"{service} cannot be asked: {error}") from error
    finally:
        client.close()
    return answer


def _boto3() -> Any:
    try:
        import boto3
    except ImportError as error:  # Lambda's runtime brings it
        raise ConfigurationError(
            "a setting is kept at AWS, and boto3 is not installed here: pip install boto3"
        ) from error
    return boto3
