"""What a handler is given for a request."""

from __future__ import annotations

import base64
import gzip
import socket
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

ECHO = """
def handler(event, context):
    return event
"""

FROM_AWS: dict[str, Any] = {
    "version": "2.0",
    "routeKey": "$default",
    "rawPath": "/my/path",
    "rawQueryString": "parameter1=value1&parameter1=value2&parameter2=value",
    "cookies": ["cookie1", "cookie2"],
    "headers": {"x-forwarded-proto": "https", "x-forwarded-port": "443", "x-forwarded-for": "123.123.123.123"},
    "queryStringParameters": {"parameter1": "value1,value2", "parameter2": "value"},
    "requestContext": {
        "accountId": "anonymous",
        "apiId": "<urlid>",
        "domainName": "<url-id>.lambda-url.us-west-2.on.aws",
        "domainPrefix": "<url-id>",
        "http": {
            "method": "POST",
            "path": "/my/path",
            "protocol": "HTTP/1.1",
            "sourceIp": "123.123.123.123",
            "userAgent": "agent",
        },
        "requestId": "id",
        "routeKey": "$default",
        "stage": "$default",
        "time": "12/Mar/2020:19:03:58 +0000",
        "timeEpoch": 1583348638390,
    },
    "body": "Hello from client!",
    "isBase64Encoded": False,
}


def shape(value: Any) -> Any:
    """Keys and types, without the values."""
    return {name: shape(part) for name, part in value.items()} if isinstance(value, dict) else type(value)


def test_the_event_has_the_shape_that_aws_sends(serve):
    """A request with everything in it makes an event with the same keys and types as AWS's own sample."""
    request = {"headers": {"cookie": "cookie1; cookie2", "user-agent": "agent", "content-type": "text/plain"}}
    event = (
        serve(ECHO)
        .post("/path?parameter1=value1&parameter1=value2&parameter2=value", content="Hello", **request)
        .json()
    )

    assert FROM_AWS["headers"].keys() <= event.pop("headers").keys()
    assert shape({name: value for name, value in FROM_AWS.items() if name != "headers"}) == shape(event)
    assert FROM_AWS["cookies"] == event["cookies"]
    assert FROM_AWS["queryStringParameters"] == event["queryStringParameters"]


def test_what_a_request_lacks_is_absent_from_the_event(serve):
    """Without body, query and cookies the event has no key for them."""
    event = serve(ECHO).get().json()

    assert {"body", "cookies", "queryStringParameters"} == FROM_AWS.keys() - event.keys()
    assert event["rawQueryString"] == ""


def test_the_request_context_names_the_request(serve):
    """Method, address, agent, host and request id are those of the HTTP request and its answer."""
    served = serve(ECHO)
    response = served.http.patch("/sample-function", headers={"user-agent": "me/1", "host": "jobs.test:81"})

    context = response.json()["requestContext"]
    assert context["http"] == {
        "method": "PATCH",
        "path": "/sample-function",
        "protocol": "HTTP/1.1",
        "sourceIp": "127.0.0.1",
        "userAgent": "me/1",
    }
    assert context["domainName"] == "jobs.test:81"
    assert response.headers["x-amzn-requestid"] == context["requestId"]
    assert (context["apiId"], context["domainPrefix"]) == ("sample-function", "sample-function")


@pytest.mark.parametrize(
    ("content_type", "body", "encoded"),
    [
        ("application/json", b'{"name": "Ada"}', False),
        ("application/json; charset=utf-8", "Größe".encode(), False),
        ("application/cloudevents+json", b"{}", False),
        ("text/plain", b"hello", False),
        ("application/xml", b"<a/>", False),
        ("application/javascript", b"1", False),
        ("application/x-www-form-urlencoded", b"a=1", False),
        ("text/plain", b"\xff\xfe", True),
        ("application/json", b'"\xed\xa0\x80"', True),
        ("application/octet-stream", b"hello", True),
        ("image/png", b"\x89PNG", True),
        (None, b"hello", True),
    ],
)
def test_a_body_is_text_only_if_its_type_and_its_bytes_are(serve, content_type, body, encoded):
    """Text of a textual type arrives as it is; everything else as base64."""
    headers = {"content-type": content_type} if content_type else {}
    event = serve(ECHO).post(content=body, headers=headers).json()

    assert encoded is event["isBase64Encoded"]
    assert body == (base64.b64decode(event["body"]) if encoded else event["body"].encode())


def test_repeated_headers_are_joined_under_lower_case_names(serve):
    """Header names are lower-case, and the values of a repeated one are joined by commas in their order."""
    event = serve(ECHO).get(headers=[("X-Tag", "one"), ("x-other", "1"), ("X-TAG", "two")]).json()

    assert event["headers"]["x-tag"] == "one,two"


def test_path_and_query_arrive_byte_for_byte(serve):
    """Nothing in the request target is decoded, sorted or cleaned up, since signatures are for the URL as sent."""
    served = serve(ECHO)
    target = "/sample-function//a%2Fb/../%c3%BC;v=1/?z=%20&y=1&y=a+b&empty=&flag"
    event = httpx.Response(200, content=raw_get(served.gateway.url, target)).json()

    path, _, query = target.partition("?")
    assert (path, path, query) == (event["rawPath"], event["requestContext"]["http"]["path"], event["rawQueryString"])
    assert event["queryStringParameters"] == {"z": " ", "y": "1,a b", "empty": "", "flag": ""}


def raw_get(url: str, target: str) -> bytes:
    """The body of a GET of exactly this target: HTTP clients tidy it up."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port), timeout=60) as connection:
        connection.sendall(f"GET {target} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n".encode())
        return connection.makefile("rb").read().partition(b"\r\n\r\n")[2]


def test_a_compressed_body_stays_compressed(serve):
    """The handler gets the bytes that were sent, whatever Content-Encoding says."""
    body = gzip.compress(b"hello")
    headers = {"content-encoding": "gzip", "content-type": "application/octet-stream"}
    event = serve(ECHO).post(content=body, headers=headers).json()

    assert body == base64.b64decode(event["body"])


@pytest.mark.parametrize(
    ("size", "status"), [(4_700_000, 200), (4_720_000, 413), (6_400_000, 413)], ids=["fits", "base64", "body"]
)
def test_an_event_of_more_than_six_megabytes_is_refused(serve, size, status):
    """What counts is the event's size, in which a binary body takes a third more; beyond the limit it is 413."""
    served = serve("def handler(event, context):\n    return len(event['body'])")

    assert status == served.post(content=bytes(size)).status_code


def test_a_client_may_wait_for_permission_to_send(serve):
    """`Expect: 100-continue`, as curl sends it for large bodies, is granted."""
    served = serve(ECHO)
    address = urlsplit(served.gateway.url)
    with socket.create_connection((address.hostname, address.port), timeout=60) as connection:
        connection.sendall(
            b"POST /sample-function HTTP/1.1\r\nHost: here\r\nConnection: close\r\nExpect: 100-continue\r\n"
            b"Content-Type: text/plain\r\nContent-Length: 5\r\n\r\n"
        )
        assert connection.recv(1024) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"hello")
        assert b'"body": "hello"' in connection.makefile("rb").read()


def test_only_functions_are_served(serve):
    """An unknown path is answered 404, and the answer says what there is."""
    response = serve(ECHO).http.get("/sample-functions/x")

    assert response.status_code == 404
    assert "/sample-functions/x" in response.json()["Message"]
    assert "/sample-function" in response.json()["Message"]
