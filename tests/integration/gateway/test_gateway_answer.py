"""What the caller gets for a handler's result."""

from __future__ import annotations

import json

import pytest

RETURN_THE_BODY = """
import json

def handler(event, context):
    return json.loads(event["body"])
"""

BAD_GATEWAY = (502, {"Message": "Internal Server Error"})


def test_status_headers_and_body_are_the_handlers(serve):
    """A result with `statusCode` is the HTTP answer, field by field."""
    result = {
        "statusCode": 489,
        "headers": {"Upstash-NonRetryable-Error": "true", "content-type": "text/plain"},
        "body": "né",
    }
    response = serve(RETURN_THE_BODY).post(json=result)

    assert (response.status_code, response.content.decode()) == (489, "né")
    assert (response.headers["upstash-nonretryable-error"], response.headers["content-type"]) == ("true", "text/plain")


def test_an_answer_without_content_type_is_json(serve):
    """The platform's default type is JSON, and an absent body is an empty one."""
    response = serve(RETURN_THE_BODY).post(json={"statusCode": 202})

    assert (response.status_code, response.content, response.headers["content-type"]) == (202, b"", "application/json")


def test_a_binary_body_is_decoded(serve):
    """With `isBase64Encoded` the caller gets the decoded bytes."""
    result = {"statusCode": 200, "headers": {"content-type": "image/png"}, "body": "iVBORw==", "isBase64Encoded": True}

    assert serve(RETURN_THE_BODY).post(json=result).content == b"\x89PNG"


def test_each_cookie_is_a_header_of_its_own(serve):
    """`cookies` become one Set-Cookie header each."""
    response = serve(RETURN_THE_BODY).post(json={"statusCode": 200, "cookies": ["a=1; Path=/", "b=2"]})

    assert response.headers.get_list("set-cookie") == ["a=1; Path=/", "b=2"]


def test_headers_of_the_connection_are_the_gateways(serve):
    """A handler's Content-Length or Transfer-Encoding cannot corrupt the answer."""
    headers = {"Content-Length": "1", "Transfer-Encoding": "chunked", "Connection": "close"}
    response = serve(RETURN_THE_BODY).post(json={"statusCode": 200, "headers": headers, "body": "hello"})

    assert response.content == b"hello"


@pytest.mark.parametrize("result", [{"ok": True}, [1, 2], "text", 7, None], ids=repr)
def test_a_result_without_status_is_a_json_body(serve, result):
    """Any other JSON value is the body of a 200."""
    response = serve(RETURN_THE_BODY).post(content=json.dumps(result), headers={"content-type": "application/json"})

    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    assert result == response.json()


@pytest.mark.parametrize(
    "result",
    [
        {"statusCode": "200"},
        {"statusCode": True},
        {"statusCode": 42},
        {"statusCode": 200, "body": {"not": "text"}},
        {"statusCode": 200, "body": "!", "isBase64Encoded": True},
        {"statusCode": 200, "headers": {"retry-after": 3}},
        {"statusCode": 200, "headers": {"x": "a\r\nset-cookie: b"}},
        {"statusCode": 200, "headers": ["x"]},
        {"statusCode": 200, "cookies": ["a=1\r\nx: y"]},
        {"statusCode": 200, "cookies": "a=1"},
    ],
    ids=json.dumps,
)
def test_a_malformed_answer_is_a_bad_gateway(serve, result):
    """What is no HTTP answer becomes 502, and the log says what is wrong with it."""
    served = serve(RETURN_THE_BODY)
    response = served.post(json=result)

    assert (response.status_code, response.json()) == BAD_GATEWAY
    assert f"RequestId: {response.headers['x-amzn-requestid']} Error: " in served.log.text


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("raise ValueError('no such template')", "ValueError: no such template"),
        ("return object()", "TypeError: Object of type object is not JSON serializable"),
        ("return '\\ud800'", "UnicodeEncodeError"),
    ],
)
def test_an_exception_is_a_bad_gateway_with_its_traceback_in_the_log(serve, statement, error):
    """A handler that raises, or returns what JSON cannot hold, is 502; the caller learns no more, the log all."""
    served = serve(f"def handler(event, context):\n    {statement}")
    response = served.get()

    assert (response.status_code, response.json()) == BAD_GATEWAY
    assert "Traceback (most recent call last):" in served.log.lines
    assert error in served.log.text


def test_the_environment_survives_an_exception(serve):
    """After an exception the same process takes the next request."""
    served = serve("def handler(event, context):\n    raise ValueError")
    served.get()
    before = served.pids()
    served.get()

    assert before == served.pids()


def test_a_result_of_more_than_six_megabytes_is_a_bad_gateway(serve):
    """Lambda's limit holds for results too; just below it they pass."""
    served = serve("def handler(event, context):\n    return 'x' * int(event['body'])")

    assert [
        served.post(content=str(size), headers={"content-type": "text/plain"}).status_code
        for size in (6_291_554, 6_291_555)
    ] == [200, 502]
