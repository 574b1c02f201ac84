"""`Custom::Canary` and `travel`: a probe through a real QStash server into a real function's process and its Postgres."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from infra.deployment import canary
from infra.deployment.custom_resource import DeploymentStopped
from infra.local.gateway import FunctionSpec, Gateway, discover
from infra.local.qstash import QStashServer
from qstash_jobs.database import database
from qstash_jobs.testing import Context
from tests.conftest import CURRENT_KEY, NEXT_KEY, ROOT, forget
from tests.integration.deployment.between import Answer, Between, Exchange, Tamper, honest
from tests.integration.deployment.conftest import sample
from tests.integration.postgres.conftest import Wire, wired
from tests.waiting import until

SHORT = timedelta(seconds=4)
OTHER_KEYS = {"QSTASH_CURRENT_SIGNING_KEY": "sig_" + "a" * 28, "QSTASH_NEXT_SIGNING_KEY": "sig_" + "b" * 28}


@dataclass
class Stage:
    """What is deployed: functions at addresses, a QStash that leads there, and a database."""

    environment: pytest.MonkeyPatch
    database_url: str
    qstash: QStashServer
    closing: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    log: list[str] = field(default_factory=list)

    def deploy(self, *specs: FunctionSpec, front: Tamper = honest, **variables: str) -> None:
        """Let the functions be there, with other settings than ours where these differ, and `front` before them."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        before = Between(f"http://127.0.0.1:{port}")
        before.tamper = front
        self.closing.callback(before.close)
        url = before.url
        given = {
            "DATABASE_URL": self.database_url,
            "QSTASH_URL": self.qstash.url,
            "QSTASH_TOKEN": self.qstash.token,
            "QSTASH_CURRENT_SIGNING_KEY": CURRENT_KEY,
            "QSTASH_NEXT_SIGNING_KEY": NEXT_KEY,
            "JOBS_BASE_URL": url,
        }
        found = specs or [spec for spec in discover(ROOT / "functions", environments=1) if spec.name == "probe"]
        gateway = Gateway(
            found, environment={**given, **variables}, port=port, log=lambda _function, line: self.log.append(line)
        )
        self.closing.enter_context(gateway)
        self.lead_to(url)

    def lead_to(self, url: str) -> None:
        """Say where the functions are."""
        self.environment.setenv("JOBS_BASE_URL", url)
        forget()


@pytest.fixture
def stage(environment: pytest.MonkeyPatch, database_url: str) -> Iterator[Stage]:
    """A QStash whose waits pass thirty times faster, and no function yet."""
    with QStashServer(time_scale=30) as server:
        environment.setenv("QSTASH_URL", server.url)
        environment.setenv("QSTASH_TOKEN", server.token)
        made = Stage(environment, database_url, server)
        made.lead_to("http://127.0.0.1:9")
        yield made
        made.closing.close()
        forget()


@pytest.fixture
def wire(stage: Stage) -> Iterator[Wire]:
    """Between us and Postgres; the functions have a way of their own."""
    with wired(stage.database_url) as made:
        stage.environment.setenv("DATABASE_URL", made.url(stage.database_url))
        forget()
        yield made
        forget()


@pytest.fixture
def answering() -> Iterator[Between]:
    """Something else that answers where a function should."""
    made = Between("http://127.0.0.1:9")
    yield made
    made.close()


def rows() -> list[dict[str, Any]]:
    found = database().run_pooled("SELECT to_jsonb(e) FROM job_executions e ORDER BY created_at")
    return [row[0] for row in found]


def ask(event: dict[str, Any], seconds: float = 60) -> tuple[str, str]:
    """The physical id, and what was said."""
    answer = json.loads(json.dumps(canary.handler(event, Context(timedelta(seconds=seconds)))))
    return answer["PhysicalResourceId"], answer["Data"]["Said"]


def request(name: str, **properties: str) -> dict[str, Any]:
    """A sample event, as a request of its own."""
    return sample(name, request={"RequestId": str(uuid4())}, **properties)


def stranded(within: timedelta = SHORT) -> str:
    """How far a probe came that does not arrive; and it is cancelled, so that nobody is alarmed later."""
    journey = canary.travel(within)
    assert not journey.arrived
    assert journey.said.startswith(f"probe {journey.job_id} did not go the whole way in ")
    row = rows()[-1]
    assert UUID(row["job_id"]) == journey.job_id
    assert row["status"] in {"cancelled", "failed"}
    return journey.said


def test_the_whole_way(stage: Stage) -> None:
    """Published, delivered, verified, run and recorded; the time is Postgres's."""
    stage.deploy()
    journey = canary.travel()
    assert journey.arrived
    assert journey.said == f"probe {journey.job_id} went the whole way in {journey.took.total_seconds():.1f} s"
    assert [(row["status"], row["attempts"]) for row in rows()] == [("completed", 1)]


def test_the_resource_answers_what_happened(stage: Stage) -> None:
    """On Create and on Update, each with a probe of its own."""
    stage.deploy()
    for name in ("canary-create", "canary-update"):
        physical_id, said = ask(request(name))
        assert physical_id == f"canary-{sample(name)['ResourceProperties']['Of']}"
        assert re.match(r"probe .* went the whole way in", said)
    assert [row["status"] for row in rows()] == ["completed", "completed"]


def test_a_request_that_is_repeated_sends_no_other(stage: Stage) -> None:
    """CloudFormation never heard the first answer."""
    stage.deploy()
    event = sample("canary-create")
    assert ask(event) == ask(event)
    assert len(rows()) == 1


def test_delete_sends_nothing(stage: Stage) -> None:
    """The functions may be gone by then."""
    stage.environment.setenv("DATABASE_URL", "")
    assert ask(sample("canary-delete")) == ("canary-90ab12cd34ef5678", "nothing is sent when a stack goes")


def test_an_address_that_is_not_ready_at_once(stage: Stage) -> None:
    """A URL that was made a moment ago lets nobody in yet; QStash comes again, and that is waited for."""
    refusals = iter([(403, b'{"Message":"Forbidden"}')] * 2)
    stage.deploy(front=lambda exchange: next(refusals, None) or honest(exchange))
    assert canary.travel(timedelta(seconds=30)).arrived
    assert rows()[0]["attempts"] == 1


def test_keys_of_another_region(stage: Stage) -> None:
    """The commonest mistake of a first deployment: which secret, and where to take the keys."""
    stage.deploy(**OTHER_KEYS)
    said = stranded()
    assert "which answered 401: the function refuses QStash's signature" in said
    assert "`signing-keys`" in said
    assert "jobs secrets put" in said


def test_another_database(stage: Stage, saas_database_url: str) -> None:
    """The function runs, and looks elsewhere."""
    stage.deploy(DATABASE_URL=saas_database_url)
    assert "answered 503: the function looks into another database" in stranded()


def test_a_database_that_the_function_does_not_reach(stage: Stage) -> None:
    """We do."""
    stage.deploy(DATABASE_URL="postgresql://ada:s3cret@127.0.0.1:9/jobs")
    said = stranded()
    assert "answered 503: the function does not reach its database" in said
    assert "s3cret" not in said


def test_a_function_that_cannot_start(stage: Stage, tmp_path: Path) -> None:
    """Its package is broken."""
    stage.deploy(FunctionSpec(name="probe", module="functions.no_such_module"))
    assert "answered 502: the function ended without an answer" in stranded(timedelta(seconds=8))


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((403, b'{"Message":"Forbidden"}'), "both permissions, lambda:InvokeFunctionUrl and lambda:InvokeFunction"),
        ((429, b'{"Reason":"ConcurrentInvocationLimitExceeded"}'), "Lambda had no room for it"),
        ((404, b""), "nothing of ours answers at that address"),
        ((418, b"teapot"), "which answered 418."),
    ],
    ids=["403", "429", "404", "418"],
)
def test_an_address_where_something_else_answers(stage: Stage, answering: Between, answer: Answer, says: str) -> None:
    """What it means, by the answer."""
    answering.tamper = lambda _exchange: answer
    stage.lead_to(answering.url)
    said = stranded()
    assert says in said
    assert f"{answering.url}/probe" in said


def test_an_address_where_nothing_answers(stage: Stage) -> None:
    """QStash's own words."""
    assert "to http://127.0.0.1:9/probe, and got no answer: " in stranded()


def test_a_probe_that_fails(stage: Stage, answering: Between) -> None:
    """It reached its function, and its error is told."""
    stage.deploy(FunctionSpec(name="probe", module="tests.integration.deployment.failing_probe"))
    said = stranded()
    assert re.search(r"it reached its function, and attempt \d ended with ZeroDivisionError: division by zero\.$", said)


def test_a_token_that_qstash_does_not_know(stage: Stage) -> None:
    """It was never published: names QSTASH_URL, and shows no token."""
    stage.environment.setenv("QSTASH_TOKEN", "of-another-region")
    forget()
    said = stranded(timedelta(seconds=1))
    assert f"its message: QStash at {stage.qstash.url} does not know the token" in said
    assert "QSTASH_URL" in said
    assert "of-another-region" not in said


def test_a_qstash_that_takes_nothing_for_a_while(stage: Stage) -> None:
    """The first try fails, and there is no relay: the canary itself tries again."""
    stage.deploy()
    between = Between(stage.qstash.url)
    troubles = iter([(503, b"no")] * 3)
    between.tamper = lambda exchange: next(troubles, None) or honest(exchange)
    stage.environment.setenv("QSTASH_URL", between.url)
    forget()
    try:
        assert canary.travel(timedelta(seconds=30)).arrived
    finally:
        between.close()


def test_a_qstash_that_takes_nothing(stage: Stage) -> None:
    """What it said, and that it was tried again."""
    stage.qstash.refuse_publishes(503)
    said = stranded(timedelta(seconds=1))
    assert "its message: QStash answered 503" in said
    assert "Is QSTASH_URL right?" in said


def test_a_log_that_cannot_be_read(stage: Stage, answering: Between) -> None:
    """Then the record tells what it can."""
    between = Between(stage.qstash.url)

    def tamper(exchange: Exchange) -> Answer:
        return (500, b"") if exchange.path.startswith("/v2/events") else honest(exchange)

    between.tamper = tamper
    stage.environment.setenv("QSTASH_URL", between.url)
    forget()
    try:
        assert "QStash has taken it, and its log says nothing of it; no delivery" in stranded(timedelta(seconds=1))
    finally:
        between.close()


def test_a_deployment_stops_when_it_does_not_arrive(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """In time, before Lambda would end the function."""
    monkeypatch.setattr(canary, "ANSWERING", timedelta(seconds=3))
    stage.deploy(**OTHER_KEYS)
    began = time.monotonic()
    with pytest.raises(DeploymentStopped, match="which answered 401"):
        ask(request("canary-create"), seconds=6)
    assert time.monotonic() - began < 6


def update(to: str, before: str, last: str) -> dict[str, Any]:
    """From one deployment to another, where `last` is the one whose canary arrived last: its id is the resource's."""
    event = sample("canary-update", request={"RequestId": str(uuid4()), "PhysicalResourceId": f"canary-{last}"}, Of=to)
    event["OldResourceProperties"]["Of"] = before
    return event


def test_the_way_back_does_not_stop(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """CloudFormation undoes what the canary stopped, and asks it again about the state of before: if that does not work
    either, because the keys are wrong outside the stack, the stack must not be stuck between the two."""
    monkeypatch.setattr(canary, "LONGEST_JOURNEY", timedelta(seconds=2))
    stage.deploy(**OTHER_KEYS)
    with pytest.raises(DeploymentStopped):
        ask(update("new", before="old", last="old"))
    physical_id, said = ask(update("old", before="new", last="old"))
    assert physical_id == "canary-old"
    assert said.startswith("on the way back, and probe ")
    assert "which answered 401" in said
    for before in ("old", "new"):  # the next deployment is none of that, also if nobody took the one before back
        with pytest.raises(DeploymentStopped):
            ask(update("newer", before=before, last="old"))


def test_a_way_back_without_postgres(stage: Stage, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is what stopped the deployment, with a sentence; the way back is known without it."""
    monkeypatch.setattr(canary, "LONGEST_JOURNEY", timedelta(seconds=1))
    wire.refuse()
    with pytest.raises(DeploymentStopped, match=r"^Postgres cannot be reached: .* Then deploy again\.$"):
        ask(update("new", before="old", last="old"))
    physical_id, said = ask(update("old", before="new", last="old"))
    assert physical_id == "canary-old"
    assert said.startswith("on the way back, and ")


def test_postgres_goes_away_for_a_while(stage: Stage, wire: Wire) -> None:
    """It is looked for again, and nothing is lost of a probe that arrives meanwhile."""

    def away(exchange: Exchange) -> Answer:
        wire.refuse()
        again.start()
        return honest(exchange)

    again = threading.Timer(1.5, wire.listen)
    stage.deploy(front=away)
    assert canary.travel(timedelta(seconds=30)).arrived
    again.join()


def test_postgres_goes_away_for_good(stage: Stage, wire: Wire) -> None:
    """A sentence, once the time is up."""
    stage.deploy(**OTHER_KEYS)
    timer = threading.Timer(0.5, wire.refuse)
    timer.start()
    began = time.monotonic()
    with pytest.raises(DeploymentStopped, match=r"^Postgres cannot be reached"):
        ask(request("canary-create"), seconds=canary.ANSWERING.total_seconds() + 3)
    assert 2 < time.monotonic() - began < 6


def test_settings_that_are_missing(stage: Stage) -> None:
    """Before anything is written."""
    stage.environment.setenv("QSTASH_TOKEN", "")
    with pytest.raises(DeploymentStopped, match=r"QSTASH_TOKEN: it is not set.*Then deploy again"):
        ask(request("canary-create"))
    assert rows() == []


def test_a_probe_that_arrives_in_the_last_moment(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Completed between the last look and the cancelling: it has arrived."""
    stage.deploy()
    stop = canary._stop

    def late(job_id: UUID) -> None:
        until(lambda: rows()[-1]["status"] == "completed")
        stop(job_id)

    monkeypatch.setattr(canary, "_stop", late)
    assert canary.travel(timedelta(0)).arrived
