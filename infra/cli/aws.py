"""AWS as a person at the keyboard may use it, and what to say when it does not do what it is asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

_REFUSED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError"}
_ENDED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired"}
_UNKNOWN = {
    *("UnrecognizedClientException", "InvalidClientTokenId", "InvalidSignatureException", "SignatureDoesNotMatch"),
    *("IncompleteSignature", "AuthFailure", "InvalidAccessKeyId", "MissingAuthenticationToken"),
}
_BUSY = ("Throttl", "TooManyRequests", "RequestLimitExceeded", "InternalServ", "ServiceUnavailable")
LOG_IN = "log in, e.g. with `aws sso login`, or name a profile with --profile"


class AwsFailed(Exception):
    """AWS did not do what it was asked; the message says what to do."""


class NotThere(AwsFailed):
    """AWS knows no such thing."""


class Account:
    """What the shell's credentials reach in one region. Nothing is asked before it is needed."""

    def __init__(self) -> None:
        self._clients: dict[str, Any] = {}
        self._session: Any = None

    @property
    def region(self) -> str:
        """Raises `AwsFailed` when none is set."""
        from qstash_jobs import aws
        from qstash_jobs.errors import ConfigurationError

        with spoken("say which region is meant"):
            try:
                return aws.region()
            except ConfigurationError:
                raise AwsFailed("it is not known which AWS region is meant: set AWS_REGION, or say --region") from None

    def client(self, service: str) -> Any:
        """A client of boto3's, kept for as long as this object lives. Raises `AwsFailed`."""
        if service not in self._clients:
            import boto3
            from botocore.config import Config

            patient = Config(connect_timeout=5, read_timeout=15, retries={"mode": "standard", "total_max_attempts": 4})
            with spoken("make a client"):
                self._session = self._session or boto3.Session()  # boto3's own outlives what the environment says
                self._clients[service] = self._session.client(service, region_name=self.region, config=patient)
        return self._clients[service]

    def close(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            client.close()


@contextmanager
def account() -> Iterator[Account]:
    """An account, closed at the end."""
    made = Account()
    try:
        yield made
    finally:
        made.close()


@contextmanager
def spoken(doing: str) -> Iterator[None]:
    """Whatever boto3 raises within is an `AwsFailed`, or a `NotThere`; `doing` goes on after "AWS does not let you"."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        raise _answered(error, doing) from None
    except BotoCoreError as error:
        raise AwsFailed(_unasked(error, doing)) from None


def moment_of(answer: dict[str, Any]) -> datetime:
    """When AWS gave this answer, by its own clock: ours may be minutes apart, and what is waited for is AWS's."""
    return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])


def _answered(error: Any, doing: str) -> AwsFailed:
    said = error.response.get("Error", {})
    code, message = said.get("Code", ""), said.get("Message", "")
    if code in {"ResourceNotFoundException", "ParameterNotFound"}:
        return NotThere(message)
    if code in _REFUSED:
        return AwsFailed(f"AWS does not let you {doing}; your role needs {error.operation_name} for it ({message})")
    if code in _ENDED:
        return AwsFailed(f"your AWS session has ended: {LOG_IN}")
    if code in _UNKNOWN:
        return AwsFailed(f"AWS does not know your credentials ({code}): {LOG_IN}")
    if code.startswith(_BUSY):
        return AwsFailed(f"AWS is too busy to {doing} ({code}); the same in a minute may succeed")
    return AwsFailed(f"AWS does not {doing}: {code}: {message}")


def _unasked(error: Exception, doing: str) -> str:
    kind = type(error).__name__
    match kind:
        case "NoCredentialsError" | "PartialCredentialsError":
            return f"there are no AWS credentials here: {LOG_IN}"
        case "ProfileNotFound":
            return f"{error}; `aws configure list-profiles` lists those that there are"
        case "NoRegionError":
            return "it is not known which AWS region is meant: set AWS_REGION, or say --region"
        case "InvalidRegionError":
            return f"{error}; a region is called like eu-central-1"
        case _ if "Token" in kind or "SSO" in kind or "Credential" in kind or "Login" in kind:
            return f"your AWS session cannot be used ({error}): {LOG_IN}"
        case _:
            return f"AWS cannot be asked to {doing}: {error}. Is the network there, and the region right?"
