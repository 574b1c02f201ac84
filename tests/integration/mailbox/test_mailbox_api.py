"""The mailbox answers as Resend does, keeps what it took, and fails when it is told to."""

from __future__ import annotations

import base64
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest

from infra.local.mailbox import Mailbox, PortTaken, store
from infra.local.mailbox.store import KEEP

MAIL: dict[str, Any] = {
    "from": "Northwind <hello@northwind.example>",
    "to": ["ada@example.com"],
    "subject": "Hello",
    "text": "Hello Ada",
}


def client_of(mailbox: Mailbox) -> httpx.Client:
    return httpx.Client(base_url=mailbox.url, headers={"authorization": "Bearer re_test"}, trust_env=False)


@pytest.fixture
def client(mailbox: Mailbox) -> Iterator[httpx.Client]:
    """A client with a key."""
    with client_of(mailbox) as client:
        yield client


def test_takes_a_mail(mailbox: Mailbox, client: httpx.Client) -> None:
    """A mail gets an id, by which the provider's API and the desk's both show it."""
    answer = client.post("/emails", json=MAIL | {"html": "<p>Hello", "to": "ada@example.com", "cc": "c@example.com"})

    (mail,) = mailbox.mails()
    assert (answer.status_code, answer.json()) == (200, {"id": mail.id})
    assert client.get(f"/emails/{mail.id}").json() | {"created_at": ""} == {
        "object": "email",
        "id": mail.id,
        "from": MAIL["from"],
        "to": ["ada@example.com"],
        "cc": ["c@example.com"],
        "bcc": [],
        "reply_to": [],
        "subject": "Hello",
        "html": "<p>Hello",
        "text": "Hello Ada",
        "headers": {},
        "tags": [],
        "created_at": "",
        "last_event": "delivered",
    }
    assert client.get(f"/api/mails/{mail.id}").json() == mail.as_json()
    assert client.get("/api/mails").json() == {"mails": [mail.as_summary()]}


@pytest.mark.parametrize("authorization", ["", "Bearer", "Basic re_test", "re_test"])
def test_wants_a_key(client: httpx.Client, authorization: str) -> None:
    """Without a key nothing is taken; any key will do."""
    answer = client.post("/emails", json=MAIL, headers={"authorization": authorization})

    assert (answer.status_code, answer.json()["name"]) == (401, "missing_api_key")


@pytest.mark.parametrize(
    ("change", "name", "message"),
    [
        ({"from": None}, "missing_required_field", "Missing `from` field."),
        ({"to": None}, "missing_required_field", "Missing `to` field."),
        ({"subject": None}, "missing_required_field", "Missing `subject` field."),
        ({"text": None}, "missing_required_field", "Missing `html` or `text` field."),
        ({"from": "Northwind"}, "validation_error", "Invalid `from` field."),
        ({"to": ["ada@example.com", "eve"]}, "validation_error", "Invalid `to` field."),
        ({"to": []}, "validation_error", "Invalid `to` field."),
        ({"to": ["a@example.com"] * 51}, "validation_error", "Invalid `to` field."),
        ({"reply_to": "nobody"}, "validation_error", "Invalid `reply_to` field."),
        ({"subject": "a\nBcc: b@example.com"}, "validation_error", "Invalid `subject` field."),
        ({"tags": [{"name": "a b", "value": "c"}]}, "validation_error", "Invalid `tags` field."),
    ],
)
def test_refuses_as_resend_does(client: httpx.Client, change: dict[str, Any], name: str, message: str) -> None:
    """A wrong mail is refused with the provider's status, name and field."""
    body = {field: value for field, value in (MAIL | change).items() if value is not None}

    answer = client.post("/emails", json=body)

    assert (answer.status_code, answer.json()["name"]) == (422, name)
    assert answer.json()["message"].startswith(message)


@pytest.mark.parametrize(("content", "status"), [(b"{", 400), (b"\xff", 400), (b"[]", 422), (b'"mail"', 422)])
def test_refuses_what_is_no_mail(client: httpx.Client, content: bytes, status: int) -> None:
    """A body that is no JSON object is refused."""
    assert client.post("/emails", content=content).status_code == status


def test_unknown_paths_and_methods(client: httpx.Client) -> None:
    """What there is not is refused in the provider's form."""
    assert client.get("/emails/none").json()["name"] == "not_found"
    assert client.get("/domains").json()["name"] == "not_found"
    assert client.put("/emails").json()["name"] == "method_not_allowed"


def test_idempotency(mailbox: Mailbox, client: httpx.Client) -> None:
    """A key that comes again gets the first mail's id; with another mail it is refused."""
    key = {"idempotency-key": "job-1"}

    first = client.post("/emails", json=MAIL, headers=key)
    again = client.post("/emails", json=dict(reversed(MAIL.items())), headers=key)
    other = client.post("/emails", json=MAIL | {"subject": "Other"}, headers=key)

    assert first.json() == again.json()
    assert (other.status_code, other.json()["name"]) == (409, "invalid_idempotent_request")
    assert len(mailbox.mails()) == 1


@pytest.mark.parametrize("key", ["", "x" * 257])
def test_idempotency_keys_have_a_length(client: httpx.Client, key: str) -> None:
    """A key has 1 to 256 characters."""
    answer = client.post("/emails", json=MAIL, headers={"idempotency-key": key})

    assert (answer.status_code, answer.json()["name"]) == (400, "invalid_idempotency_key")


def test_batch(mailbox: Mailbox, client: httpx.Client) -> None:
    """A batch is taken whole or not at all, and once for each key."""
    batch = [MAIL, MAIL | {"to": "eve@example.com"}]

    first = client.post("/emails/batch", json=batch, headers={"idempotency-key": "batch-1"})
    again = client.post("/emails/batch", json=batch, headers={"idempotency-key": "batch-1"})
    refused = client.post("/emails/batch", json=[MAIL, {}])
    too_many = client.post("/emails/batch", json=[MAIL] * 101)

    assert first.json() == again.json()
    assert [{"id": mail.id} for mail in reversed(mailbox.mails())] == first.json()["data"]
    assert (refused.status_code, too_many.status_code) == (422, 422)


def test_keeps_mails_over_a_restart(tmp_path: Path) -> None:
    """With a folder, mails and idempotency keys are there again after a restart."""
    with Mailbox(folder=tmp_path / "mails") as before, client_of(before) as client:
        first = client.post("/emails", json=MAIL, headers={"idempotency-key": "job-1"}).json()
        client.post("/emails", json=MAIL | {"subject": "Second"})

    with Mailbox(folder=tmp_path / "mails") as after, client_of(after) as client:
        assert [mail.subject for mail in after.mails()] == ["Second", "Hello"]
        assert client.post("/emails", json=MAIL, headers={"idempotency-key": "job-1"}).json() == first
        assert len(after.mails()) == 2


def test_keeps_the_newest(mailbox: Mailbox, client: httpx.Client) -> None:
    """Of very many mails the oldest go."""
    for number in range(KEEP // 100 + 1):
        client.post("/emails/batch", json=[MAIL | {"subject": str(number)}] * 100).raise_for_status()

    assert len(mailbox.mails()) == KEEP
    assert {mail.subject for mail in mailbox.mails()} == {str(number) for number in range(1, KEEP // 100 + 1)}


def test_keeps_what_is_attached(mailbox: Mailbox, client: httpx.Client) -> None:
    """A file that comes with a mail can be downloaded, byte for byte, under a name that is safe to save it as."""
    content = bytes(range(256))
    attached = {"filename": "../Bericht 'Ä'.pdf", "content": base64.b64encode(content).decode()}
    client.post("/emails", json=MAIL | {"attachments": [attached]}).raise_for_status()

    (mail,) = mailbox.mails()
    (told,) = client.get(f"/api/mails/{mail.id}").json()["attachments"]
    answer = client.get(told["path"])

    assert told == {"filename": attached["filename"], "size": 256, "path": f"/mails/{mail.id}/attachments/0"}
    assert answer.content == content
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''_Bericht%20%27%C3%84%27.pdf"
    assert (answer.headers["x-content-type-options"], answer.headers["content-type"]) == (
        "nosniff",
        "application/octet-stream",
    )
    assert "attachments" not in client.get(f"/emails/{mail.id}").json()
    assert client.get(f"/mails/{mail.id}/attachments/1").status_code == 404


def test_a_file_that_claims_to_be_a_page_is_not_shown(mailbox: Mailbox, client: httpx.Client) -> None:
    """A browser saves it, and would run nothing of it if it did not."""
    page = base64.b64encode(b"<script>parent.document.title = 1</script>").decode()
    client.post("/emails", json=MAIL | {"attachments": [{"filename": "a.html", "content": page}]})

    answer = client.get(f"/mails/{mailbox.mails()[0].id}/attachments/0")

    assert answer.headers["content-disposition"].startswith("attachment;")
    assert answer.headers["content-security-policy"] == "sandbox; default-src 'none'"
    assert "html" not in answer.headers["content-type"]


def test_refuses_an_attachment_that_is_no_base64(client: httpx.Client) -> None:
    """As Resend does; the whole mail is refused."""
    answer = client.post("/emails", json=MAIL | {"attachments": [{"filename": "a.pdf", "content": "%PDF-1.7"}]})

    assert (answer.status_code, answer.json()["name"]) == (422, "validation_error")
    assert answer.json()["message"].startswith("Invalid `attachments` field.")


def test_attachments_stay_over_a_restart(tmp_path: Path) -> None:
    """With a folder, files are there again too."""
    attached = {"filename": "a.txt", "content": base64.b64encode(b"hello").decode()}
    with Mailbox(folder=tmp_path / "mails") as before, client_of(before) as client:
        client.post("/emails", json=MAIL | {"attachments": [attached]}).raise_for_status()

    with Mailbox(folder=tmp_path / "mails") as after:
        assert [file.data for file in after.mails()[0].attachments] == [b"hello"]


def test_large_attachments_push_old_mails_out(
    mailbox: Mailbox, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much is attached, the mailbox's memory has an end; the newest mail is kept whatever its size."""
    monkeypatch.setattr(store, "KEEP_ATTACHED", 1000)
    for number, size in enumerate((300, 300, 300, 900)):
        attached = {"filename": "a", "content": base64.b64encode(bytes(size)).decode()}
        client.post("/emails", json=MAIL | {"subject": str(number), "attachments": [attached]}).raise_for_status()
        if number == 2:
            assert [mail.subject for mail in mailbox.mails()] == ["2", "1"]

    assert [mail.subject for mail in mailbox.mails()] == ["3"]


def test_clear(mailbox: Mailbox, client: httpx.Client) -> None:
    """Deleting all forgets the mails and their keys."""
    client.post("/emails", json=MAIL, headers={"idempotency-key": "job-1"})

    assert client.delete("/api/mails").status_code == 204
    assert mailbox.mails() == []
    assert client.post("/emails", json=MAIL | {"subject": "x"}, headers={"idempotency-key": "job-1"}).is_success


def test_waits_for_a_mail(mailbox: Mailbox, client: httpx.Client) -> None:
    """A test may wait for the mail to a person, and hears when none comes."""
    sender = Thread(target=lambda: client.post("/emails", json=MAIL))
    sender.start()

    assert mailbox.wait_for_mail(to="ada@example.com").subject == "Hello"
    sender.join()
    with pytest.raises(TimeoutError, match=r"eve@example\.com"):
        mailbox.wait_for_mail(to="eve@example.com", timeout=timedelta(milliseconds=1))


def test_list_is_sent_when_it_changed(client: httpx.Client) -> None:
    """A page that asks again gets the list only if there is another one."""
    tag = client.get("/api/mails").headers["etag"]

    assert client.get("/api/mails", headers={"if-none-match": tag}).status_code == 304
    client.post("/emails", json=MAIL)
    assert client.get("/api/mails", headers={"if-none-match": tag}).status_code == 200


def test_faults(mailbox: Mailbox, client: httpx.Client) -> None:
    """Sends fail as often as was asked for, in order, and then succeed."""
    added = client.post("/api/faults", json={"status": 500, "count": 2})
    client.post("/api/faults", json={"status": 429, "headers": {"retry-after": "3"}})

    answers = [client.post("/emails", json=MAIL) for _ in range(4)]

    assert [(fault["status"], fault["count"]) for fault in added.json()["faults"]] == [(500, 2)]
    assert [answer.status_code for answer in answers] == [500, 500, 429, 200]
    assert answers[0].json()["name"] == "internal_server_error"
    assert answers[2].headers["retry-after"] == "3"
    assert len(mailbox.mails()) == 1
    assert client.get("/api/faults").json() == {"faults": []}


def test_clear_faults(client: httpx.Client) -> None:
    """Faults that wait can be called off."""
    client.post("/api/faults", json={"status": 500, "count": 9})

    assert client.delete("/api/faults").status_code == 204
    assert client.post("/emails", json=MAIL).status_code == 200


@pytest.mark.parametrize("fault", [{}, {"status": 200}, {"status": 500, "count": 0}, {"status": 500, "often": 1}, []])
def test_wrong_faults(client: httpx.Client, fault: object) -> None:
    """A fault that is none is refused."""
    assert client.post("/api/faults", json=fault).status_code == 422


def test_other_pages_cannot_reach_it(mailbox: Mailbox, client: httpx.Client) -> None:
    """A page of another origin can neither switch faults with a plain form, nor read mails under a name of its own."""
    form = client.post("/api/faults", content=b'{"status": 500}', headers={"content-type": "text/plain"})
    rebound = client.get("/api/mails", headers={"host": f"evil.example:{httpx.URL(mailbox.url).port}"})

    assert (form.status_code, rebound.status_code) == (415, 400)


def test_html_is_served_as_a_strangers(mailbox: Mailbox, client: httpx.Client) -> None:
    """A mail's HTML comes with a policy that lets it do nothing, and its links open apart."""
    client.post("/emails", json=MAIL | {"html": "<!doctype html><head><title>x</title></head><script>1</script>"})

    answer = client.get(f"/mails/{mailbox.mails()[0].id}")

    assert answer.text.startswith('<!doctype html><head><base target="_blank"><title>')
    policy = answer.headers["content-security-policy"]
    assert "sandbox allow-popups allow-popups-to-escape-sandbox;" in policy
    assert "default-src 'none'" in policy
    assert "script-src" not in policy


def test_plain_text_has_no_html(mailbox: Mailbox, client: httpx.Client) -> None:
    """A mail of plain text only has no HTML to show."""
    client.post("/emails", json=MAIL)

    assert client.get(f"/mails/{mailbox.mails()[0].id}").status_code == 404


def test_taken_port() -> None:
    """A port that is taken is named."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortTaken, match=f"port {port} is taken"):
            Mailbox(port=port).start()


def test_command(tmp_path: Path) -> None:
    """The command says where it answers, and ends in order when it is told to."""
    command = [sys.executable, "-m", "infra.local.mailbox", "--port", "0", "--folder", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={"PYTHONUNBUFFERED": "1"}) as process:
        assert process.stdout is not None
        url = process.stdout.readline().removeprefix("The mailbox is at ").partition(";")[0]
        page = httpx.get(url, trust_env=False)
        process.send_signal(signal.SIGTERM)
        status = process.wait(30)

    assert (page.status_code, status) == (200, 0)
    assert "<title>Mailbox</title>" in page.text
    assert (tmp_path / "mailbox.db").exists()


def test_command_with_a_taken_port(mailbox: Mailbox, tmp_path: Path) -> None:
    """The command names the taken port, and the way out."""
    port = str(httpx.URL(mailbox.url).port)
    command = [sys.executable, "-m", "infra.local.mailbox", "--port", port, "--folder", str(tmp_path)]

    ended = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (ended.returncode, ended.stderr) == (
        1,
        f"Port {port} is taken: stop what listens there, or choose another one with --port.\n",
    )
