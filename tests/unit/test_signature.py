"""Only what QStash signed for this URL and this body is accepted, and each defect is told apart."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Self

import jwt
import pytest
from hypothesis import given
from hypothesis import settings as example_settings
from hypothesis import strategies as st
from qstash import Receiver

from qstash_jobs.errors import InvalidMessage, SignatureRejected
from qstash_jobs.request import Request
from qstash_jobs.settings import Settings
from qstash_jobs.signature import LEEWAY, normalise, verify
from qstash_jobs.testing import function_url_event
from tests.conftest import CURRENT_KEY, NEXT_KEY

URL = "https://abc.lambda-url.eu-central-1.on.aws/send-email"
BODY = b'{"type":"send-email"}'
KEYS = (CURRENT_KEY, NEXT_KEY)
OTHER_KEY = "sig_0000000000000000000000000000"
SETTINGS = Settings.read({"QSTASH_CURRENT_SIGNING_KEY": CURRENT_KEY, "QSTASH_NEXT_SIGNING_KEY": NEXT_KEY})
NOW = 1_800_000_000
LEEWAY_SECONDS = int(LEEWAY.total_seconds())


def digest(body: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(body).digest()).decode()


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(header: object, claims: object, key: str) -> str:
    """A token with a genuine HMAC under any header and any claims: what a careless JWT library would let through."""
    signed = f"{base64url(json.dumps(header).encode())}.{base64url(json.dumps(claims).encode())}"
    return f"{signed}.{base64url(hmac.digest(key.encode(), signed.encode(), 'sha256'))}"


def genuine(**changes: object) -> dict[str, Any]:
    """What QStash claims; None removes a claim."""
    now = int(time.time())
    claims = {"iss": "Upstash", "sub": URL, "exp": now + 300, "nbf": now, "iat": now, "body": digest(BODY)}
    return {name: value for name, value in (claims | changes).items() if value is not None}


def sign(body: bytes, url: str, key: str, /, **changes: object) -> str:
    """What QStash would send, with claims replaced or removed."""
    return token({"alg": "HS256", "typ": "JWT"}, genuine(**{"sub": url, "body": digest(body)} | changes), key)


def reason_of(signature: str | None, body: bytes = BODY, url: str = URL) -> str | None:
    """Why a request is rejected; None when it is accepted."""
    try:
        verify(signature, body, url, KEYS)
    except SignatureRejected as error:
        return error.reason
    return None


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets the clock that tokens are compared with."""

    def set_clock(unix_seconds: int) -> None:
        class Frozen(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> Self:
                return cls.fromtimestamp(unix_seconds, tz)

        monkeypatch.setattr(jwt.api_jwt, "datetime", Frozen)

    return set_clock


def test_a_genuine_request_is_accepted() -> None:
    """What QStash signs passes."""
    assert None is reason_of(sign(BODY, URL, CURRENT_KEY))


def test_the_next_key_is_accepted() -> None:
    """So that a rotation of keys needs no pause."""
    assert None is reason_of(sign(BODY, URL, NEXT_KEY))


@pytest.mark.parametrize("body", [b"", b"\xff\xfe\x00", "\N{SNOWMAN}".encode(), b" " * 1_000_000])
def test_any_bytes_can_be_signed(body: bytes) -> None:
    """The digest is of the raw bytes, text or not."""
    assert None is reason_of(sign(body, URL, CURRENT_KEY), body)


@pytest.mark.parametrize("signature", [None, ""])
def test_a_missing_signature_is_rejected(signature: str | None) -> None:
    """No signature, no job."""
    assert reason_of(signature) == "missing"


@pytest.mark.parametrize(
    "signature",
    [
        "x",
        "a.b",
        "a.b.c",
        "....",
        "Bearer " + sign(BODY, URL, CURRENT_KEY),
        sign(BODY, URL, CURRENT_KEY) + ", " + sign(BODY, URL, CURRENT_KEY),
        "\N{SNOWMAN}.\N{SNOWMAN}.\N{SNOWMAN}",
        "\ud800",
        "\0",
        "A" * 100_000,
        token([], genuine(), CURRENT_KEY),
        token({"alg": "HS256"}, [], CURRENT_KEY),
        token({"alg": "HS256"}, "text", CURRENT_KEY),
        token({"alg": "HS256", "crit": ["b64"], "b64": False}, genuine(), CURRENT_KEY),
    ],
)
def test_a_malformed_signature_is_rejected(signature: str) -> None:
    """Whatever stands in the header, it is an answer and never a crash."""
    assert reason_of(signature) == "malformed"


@pytest.mark.parametrize("position", range(3))
def test_each_part_of_the_token_is_signed(position: int) -> None:
    """A change in header, claims or signature leaves nothing that is accepted."""
    parts = sign(BODY, URL, CURRENT_KEY).split(".")
    parts[position] = parts[position][:-2] + ("AA" if parts[position][-2:] != "AA" else "BB")
    assert reason_of(".".join(parts)) in {"malformed", "wrong_key"}


def test_another_body_is_rejected() -> None:
    """The signature is for one body."""
    assert reason_of(sign(BODY, URL, CURRENT_KEY), BODY + b" ") == "wrong_body"


def test_another_url_is_rejected() -> None:
    """A signature for another function of the same account cannot be replayed here."""
    assert reason_of(sign(BODY, URL.replace("send-email", "export-data"), CURRENT_KEY)) == "wrong_url"


def test_another_key_is_rejected() -> None:
    """Only the current and the next key count."""
    assert reason_of(sign(BODY, URL, OTHER_KEY)) == "wrong_key"


def test_without_keys_nothing_is_accepted() -> None:
    """An empty list of keys means no one, not anyone."""
    with pytest.raises(SignatureRejected, match="wrong_key"):
        verify(sign(BODY, URL, CURRENT_KEY), BODY, URL, [])


@pytest.mark.parametrize("algorithm", ["none", "None", "", None, "HS384", "RS256", "ES256", "hs256", ["HS256"], {}, 1])
def test_another_algorithm_is_rejected(algorithm: object) -> None:
    """`alg` is not the token's to choose, not even over a genuine HMAC."""
    assert reason_of(token({"alg": algorithm, "typ": "JWT"}, genuine(), CURRENT_KEY)) == "wrong_algorithm"


def test_no_algorithm_is_rejected() -> None:
    """A header that names no algorithm is not completed by us."""
    assert reason_of(token({"typ": "JWT"}, genuine(), CURRENT_KEY)) == "wrong_algorithm"


def test_an_unsigned_token_is_rejected() -> None:
    """`alg: none` with an empty signature, as PyJWT itself would make it."""
    assert reason_of(jwt.encode(genuine(), "", algorithm="none")) == "wrong_algorithm"


@pytest.mark.parametrize("claim", ["iss", "sub", "exp", "nbf", "body"])
def test_each_claim_is_required(claim: str) -> None:
    """A token that leaves one out binds less than QStash's do."""
    assert reason_of(sign(BODY, URL, CURRENT_KEY, **{claim: None})) == "missing_claim"


@pytest.mark.parametrize("claim", ["iat", "jti"])
def test_claims_that_bind_nothing_may_be_missing(claim: str) -> None:
    """When it was issued and how it is called is not checked against anything."""
    assert None is reason_of(sign(BODY, URL, CURRENT_KEY, **{claim: None}))


@pytest.mark.parametrize("issuer", ["upstash", "Upstash ", "", "Other", 1, ["Upstash"]])
def test_another_issuer_is_rejected(issuer: object) -> None:
    """Exactly `Upstash`."""
    assert reason_of(token({"alg": "HS256"}, genuine(iss=issuer), CURRENT_KEY)) == "wrong_issuer"


@pytest.mark.parametrize(
    "claimed", [1, True, ["x"], {}, 0.5, "", "\N{SNOWMAN}", "\ud800", digest(BODY) + "X", digest(BODY).swapcase()]
)
def test_a_body_claim_that_is_no_digest_is_rejected(claimed: object) -> None:
    """Of another type, empty, not ASCII: an answer, never a crash."""
    assert reason_of(token({"alg": "HS256"}, genuine(body=claimed), CURRENT_KEY)) == "wrong_body"


@pytest.mark.parametrize("claims", [{"sub": 1}, {"sub": [URL]}, {"exp": "soon"}, {"nbf": {}}, {"aud": "someone else"}])
def test_claims_of_another_type_are_malformed(claims: dict[str, object]) -> None:
    """Also a genuine HMAC does not make sense of them."""
    assert reason_of(token({"alg": "HS256"}, genuine(**claims), CURRENT_KEY)) == "malformed"


@pytest.mark.parametrize("padding", ["", "=", "=="])
def test_the_digest_may_be_padded(padding: str) -> None:
    """The documentation shows it padded, other sources do not."""
    claimed = digest(BODY).rstrip("=") + padding
    assert None is reason_of(sign(BODY, URL, CURRENT_KEY, body=claimed))


@pytest.mark.parametrize(
    ("since_expiry", "expected"),
    [(-300, None), (0, None), (LEEWAY_SECONDS - 1, None), (LEEWAY_SECONDS, "expired"), (86_400, "expired")],
)
def test_an_expired_signature_is_rejected(at: Callable[[int], None], since_expiry: int, expected: str | None) -> None:
    """Our clock may be ahead by the leeway, and no more."""
    at(NOW + since_expiry)
    assert expected == reason_of(sign(BODY, URL, CURRENT_KEY, exp=NOW, nbf=NOW - 300, iat=NOW - 300))


@pytest.mark.parametrize("claim", ["nbf", "iat"])
@pytest.mark.parametrize(
    ("until_valid", "expected"),
    [(-1, None), (0, None), (LEEWAY_SECONDS, None), (LEEWAY_SECONDS + 1, "too_early"), (86_400, "too_early")],
)
def test_a_signature_from_the_future_is_rejected(
    at: Callable[[int], None], claim: str, until_valid: int, expected: str | None
) -> None:
    """Our clock may be behind by the leeway, and no more."""
    at(NOW - until_valid)
    times = {"exp": NOW + 300, "nbf": NOW - 86_400, "iat": NOW - 86_400, claim: NOW}
    assert expected == reason_of(sign(BODY, URL, CURRENT_KEY, **times))


def test_clocks_may_be_five_seconds_apart() -> None:
    """Enough for servers that are set by NTP, and little beside the five minutes that a signature lives."""
    assert timedelta(seconds=5) == LEEWAY


def test_not_before_may_be_zero() -> None:
    """QStash sends it so, lest clocks that differ reject its messages."""
    assert None is reason_of(sign(BODY, URL, CURRENT_KEY, nbf=0))


def test_the_first_reason_is_not_masked_by_the_other_key() -> None:
    """A defect under the right key is named, not reported as a wrong key."""
    now = int(time.time())
    assert reason_of(sign(BODY, URL, CURRENT_KEY, exp=now - 60)) == "expired"
    assert reason_of(sign(BODY, URL, NEXT_KEY, exp=now - 60)) == "expired"


def test_the_reason_is_all_that_the_error_says() -> None:
    """It holds nothing of the token, the keys or the URL."""
    with pytest.raises(SignatureRejected) as caught:
        verify(sign(BODY, URL, OTHER_KEY), BODY, URL, KEYS)
    assert str(caught.value) == "signature rejected: wrong_key"
    assert caught.value.__cause__ is None


SAME = [
    ("HTTPS://h.example/a", "https://h.example/a"),
    ("https://H.Example/a", "https://h.example/a"),
    ("https://h.example:443/a", "https://h.example/a"),
    ("HTTPS://h.example:443/a", "https://h.example/a"),
    ("http://h.example:80/a", "http://h.example/a"),
    ("https://[2001:DB8::1]:443/a", "https://[2001:db8::1]/a"),
    ("https://h.example/", "https://h.example"),
    ("https://h.example/a/", "https://h.example/a"),
    ("https://h.example/?x=1", "https://h.example?x=1"),
    ("https://h.example/a/?x=1", "https://h.example/a?x=1"),
]
DIFFERENT = [
    ("http://h.example/a", "https://h.example/a"),
    ("https://h.example:80/a", "https://h.example/a"),
    ("http://h.example:443/a", "http://h.example/a"),
    ("https://h.example:8443/a", "https://h.example/a"),
    ("https://h.example:443:443/a", "https://h.example/a"),
    ("https://h.example:4430/a", "https://h.example/a"),
    ("https://h.example./a", "https://h.example/a"),
    ("https://g.example/a", "https://h.example/a"),
    ("https://h.example.evil/a", "https://h.example/a"),
    ("https://user@h.example/a", "https://h.example/a"),
    ("https://user:Word@h.example/a", "https://user:word@h.example/a"),
    ("https://h.example@evil.example/a", "https://h.example/a"),
    ("https://h.example/A", "https://h.example/a"),
    ("https://h.example/a//", "https://h.example/a"),
    ("https://h.example//a", "https://h.example/a"),
    ("https://h.example/b/../a", "https://h.example/a"),
    ("https://h.example/./a", "https://h.example/a"),
    ("https://h.example/%61", "https://h.example/a"),
    ("https://h.example/%c3%a9", "https://h.example/%C3%A9"),
    ("https://h.example/%C3%A9", "https://h.example/é"),
    ("https://h.example/a%2F", "https://h.example/a/"),
    ("https://h.example/a+b", "https://h.example/a%20b"),
    ("https://h.example/a?", "https://h.example/a"),
    ("https://h.example/a?x=1", "https://h.example/a"),
    ("https://h.example/a?x=1", "https://h.example/a?x=2"),
    ("https://h.example/a?x=1&y=2", "https://h.example/a?y=2&x=1"),
    ("https://h.example/a?x=1/", "https://h.example/a?x=1"),
    ("https://h.example/a?X=1", "https://h.example/a?x=1"),
    ("https://h.example/a?x=%41", "https://h.example/a?x=A"),
    ("https://h.example/a?x=//H", "https://h.example/a?x=//h"),
    ("https://h.example/a#b", "https://h.example/a"),
    ("https://h.example/a\n", "https://h.example/a"),
    (" https://h.example/a", "https://h.example/a"),
    ("h.example/a", "https://h.example/a"),
    ("//h.example/a", "https://h.example/a"),
    ("ftp://h.example:21/a", "ftp://h.example/a"),
    ("not an address/", "not an address"),
    ("", "https://h.example"),
]


@pytest.mark.parametrize(("published", "ours"), SAME)
def test_spellings_of_one_address_are_the_same(published: str, ours: str) -> None:
    """Scheme and host in any case, the default port, one trailing slash of the path."""
    assert normalise(published) == normalise(ours)
    assert None is reason_of(sign(BODY, published, CURRENT_KEY), url=ours)
    assert None is reason_of(sign(BODY, ours, CURRENT_KEY), url=published)


@pytest.mark.parametrize(("published", "ours"), DIFFERENT)
def test_anything_else_is_another_address(published: str, ours: str) -> None:
    """Path and query to the byte; userinfo, port and scheme as they are."""
    assert normalise(published) != normalise(ours)
    if published:
        assert reason_of(sign(BODY, published, CURRENT_KEY), url=ours) == "wrong_url"


@given(st.text())
def test_normalising_is_settled_after_one_slash(url: str) -> None:
    """Any text has a form, and only a slash that was doubled can be taken off again."""
    once = normalise(url)
    assert once == normalise(once) or "//" in once.partition("://")[2]


def test_a_base64_body_is_verified_by_its_bytes() -> None:
    """Lambda encodes what is not text; the signature is over what it stands for."""
    body = b"\xff\x00\x80 not text"
    event = function_url_event(URL, body, {"Upstash-Signature": sign(body, URL, CURRENT_KEY)})
    assert event["isBase64Encoded"]
    request = Request.from_event(event)
    assert body == request.body
    request.authenticate(SETTINGS, "send-email")


def test_a_base64_body_is_not_verified_as_text() -> None:
    """A signature over the encoded form is for another body."""
    body = b"\xff\x00\x80 not text"
    event = function_url_event(URL, body, {"upstash-signature": sign(base64.b64encode(body), URL, CURRENT_KEY)})
    with pytest.raises(SignatureRejected, match="wrong_body"):
        Request.from_event(event).authenticate(SETTINGS, "send-email")


@pytest.mark.parametrize(
    ("body", "encoded"), [("not base64!", True), ("YQ", True), ("é", True), ("\ud800", False)], ids=repr
)
def test_a_body_that_is_not_what_lambda_says_is_refused(body: str, encoded: bool) -> None:
    """Not decodable is an answer, not a crash."""
    event = function_url_event(URL, b"", {}) | {"body": body, "isBase64Encoded": encoded}
    with pytest.raises(InvalidMessage):
        Request.from_event(event)


# QStash's own SDK as an oracle

RECEIVER = Receiver(*KEYS)


def sdk_accepts(signature: str, body: str, url: str) -> bool:
    try:
        RECEIVER.verify(signature=signature, body=body, url=url)
    except Exception:  # noqa: BLE001  # it lets a KeyError escape as well
        return False
    return True


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, str, str]:
    """A signature, a body and a URL: genuine, or with defects."""
    body = draw(st.text(max_size=30))
    url = draw(st.sampled_from([URL, "https://example.com/?a=b", "http://127.0.0.1:8080/x"]))
    now = int(time.time())
    usual = {
        "iss": "Upstash",
        "sub": url,
        "exp": now + 300,
        "nbf": now,
        "iat": now,
        "jti": "jwt_1",
        "body": digest(body.encode("utf-8", "surrogatepass")),
    }
    unusual: dict[str, st.SearchStrategy[object]] = {
        "iss": st.sampled_from(["upstash", "", None, 3]),
        "sub": st.sampled_from(["https://example.com/other", "", 7, None]),
        "exp": st.sampled_from([now - 60, 0, "later", None]),
        "nbf": st.sampled_from([0, now + 60, "now", None]),
        "iat": st.sampled_from([0, now + 60, None, "now"]),
        "jti": st.sampled_from([1, None, ""]),
        "body": st.sampled_from([digest(b"other"), "", str(usual["body"]).rstrip("="), f"{usual['body']}===", None]),
        "aud": st.sampled_from(["someone", "", [], None]),
    }
    changed = draw(st.sets(st.sampled_from(sorted(unusual)), max_size=2))
    claims = usual | {name: draw(unusual[name]) for name in changed}
    removed = draw(st.sets(st.sampled_from(sorted(usual)), max_size=1)) if draw(st.booleans()) else set()
    header = {"alg": draw(st.sampled_from(["HS256", "HS256", "HS256", "none", "RS256", "HS512"])), "typ": "JWT"}
    key = draw(st.sampled_from([CURRENT_KEY, CURRENT_KEY, NEXT_KEY, OTHER_KEY]))
    signature = token(header, {name: value for name, value in claims.items() if name not in removed}, key)
    if draw(st.integers(0, 9)) == 0:
        cut = draw(st.integers(0, len(signature) - 1))
        signature = signature[:cut] + draw(st.text("ABab01-_.=", max_size=2)) + signature[cut + 1 :]
    return signature, body, url


@given(requests())
@example_settings(max_examples=1000, deadline=None)
def test_the_sdk_and_we_agree(request: tuple[str, str, str]) -> None:
    """Whatever QStash's receiver accepts we accept, and whatever it rejects we reject."""
    signature, body, url = request
    assert sdk_accepts(signature, body, url) == (reason_of(signature, body.encode(), url) is None)


def test_the_sdk_ignores_its_clock_tolerance() -> None:
    """It rejects what expired a moment ago, however tolerant; we accept it within the leeway."""
    signature = sign(BODY, URL, CURRENT_KEY, exp=int(time.time()))
    with pytest.raises(Exception, match="expired"):
        RECEIVER.verify(signature=sign(BODY, URL, NEXT_KEY, exp=int(time.time())), body=BODY.decode(), url=URL,
                        clock_tolerance=3600)  # fmt: skip
    assert None is reason_of(signature)


def test_the_sdk_cannot_take_bytes() -> None:
    """A body that is not text cannot be verified with it."""
    body = b"\xff"
    signature = sign(body, URL, CURRENT_KEY)
    with pytest.raises(AttributeError):
        RECEIVER.verify(signature=signature, body=body, url=URL)  # type: ignore[arg-type]
    assert None is reason_of(signature, body)


def test_the_sdk_lets_a_missing_claim_escape() -> None:
    """A token without `body` is a `KeyError` there, and a rejection here."""
    signature = sign(BODY, URL, CURRENT_KEY, body=None)
    with pytest.raises(KeyError):
        RECEIVER.verify(signature=signature, body=BODY.decode(), url=URL)
    assert reason_of(signature) == "missing_claim"


@pytest.mark.parametrize(
    ("claims", "reason"),
    [({"exp": int(datetime.now(UTC).timestamp()) - 60}, "expired"), ({"sub": "https://example.com"}, "wrong_url")],
)
def test_the_sdk_masks_the_reason(claims: dict[str, object], reason: str) -> None:
    """It always reports what was wrong under the second key."""
    signature = sign(BODY, URL, CURRENT_KEY, **claims)
    with pytest.raises(Exception, match="Signature verification failed"):
        RECEIVER.verify(signature=signature, body=BODY.decode(), url=URL)
    assert reason == reason_of(signature)


def test_the_sdk_takes_another_spelling_of_the_url_for_another() -> None:
    """Function URLs end with a slash that the publisher may have left out."""
    signature = sign(BODY, URL + "/", CURRENT_KEY)
    assert not sdk_accepts(signature, BODY.decode(), URL)
    assert None is reason_of(signature)


def test_the_sdk_accepts_any_url_when_it_is_told_none() -> None:
    """There the check is optional; here the URL is always compared."""
    signature = sign(BODY, "https://example.com/other", CURRENT_KEY)
    RECEIVER.verify(signature=signature, body=BODY.decode())
    assert reason_of(signature) == "wrong_url"
