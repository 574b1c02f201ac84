"""`Custom::QStashSchedule` against the local QStash: each request that CloudFormation makes, and what it must not do."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from infra.deployment import custom_resource, schedule
from infra.deployment.custom_resource import DeploymentStopped
from infra.local.qstash import QStashServer
from infra.local.qstash.settings import LIMITS
from qstash_jobs import dispatch, relay, schedule_changes
from qstash_jobs.jobs.probe import Probe
from qstash_jobs.qstash import Scheduled
from qstash_jobs.testing import Context
from tests.conftest import forget
from tests.integration.deployment.between import Answer, Between, Exchange, honest
from tests.integration.deployment.conftest import PLACES, sample

ID = "jobs-prod.cleanup-old-sessions"
OWNER = "jobs.prod.123456789012.eu-central-1"
RESOURCE = "51af3dc0.ScheduleCleanupOldSessions5A8C1F3E"
ELSEWHERE = "jobs.prod.999999999999.us-east-1"
ANOTHER_STACK = "arn:aws:cloudformation:eu-central-1:123456789012:stack/jobs-prod/77777777-0000-11f0-872e-0a1b2c3d4e5f"

pytestmark = pytest.mark.usefixtures("qstash")


def ask(event: dict[str, Any], seconds: float = 30) -> dict[str, Any]:
    """The handler's answer, as Lambda would hand it on."""
    answer: dict[str, Any] = json.loads(json.dumps(schedule.handler(event, Context(timedelta(seconds=seconds)))))
    return answer


def refused(event: dict[str, Any], seconds: float = 30) -> str:
    """The sentence with which the deployment stops; none of them shows the token."""
    with pytest.raises(DeploymentStopped) as caught:
        ask(event, seconds)
    sentence = str(caught.value)
    assert relay.qstash()._http._current_token() not in sentence  # type: ignore[attr-defined]
    return sentence


def found(schedule_id: str = ID) -> Scheduled | None:
    return relay.qstash().schedule(schedule_id)


def one(schedule_id: str = ID) -> Scheduled:
    there = found(schedule_id)
    assert there is not None
    return there


def ids() -> set[str]:
    return {each.id for each in relay.qstash().schedules()}


def test_create_makes_the_schedule_and_says_when_it_fires() -> None:
    """With everything that the template says, and whose it is; the id is the schedule's."""
    answer = ask(sample("schedule-create"))
    made = one()
    properties = sample("schedule-create")["ResourceProperties"]
    assert answer["PhysicalResourceId"] == ID
    assert set(answer["Data"]) == {"Next"}
    assert datetime.fromisoformat(answer["Data"]["Next"]) == made.next_at
    assert made.next_at is not None
    assert datetime.now(UTC) < made.next_at <= datetime.now(UTC) + timedelta(days=1)
    assert made.owner == (OWNER, RESOURCE)
    assert made.facts == {
        "cron": "0 2 * * *",
        "destination": properties["Destination"],
        "method": "POST",
        "body": properties["Body"],
        "retries": 3,
        "timeout": 605,
        "delay": None,
        "queue": None,
        "label": "cleanup-old-data",
        "callback": None,
        "failure callback": properties["FailureCallback"],
        "retry delay": None,
        "flow control": ("cleanup-old-data", 1, None, 1),
    }


def test_all_that_a_template_can_say() -> None:
    """The optional properties reach QStash too."""
    ask(
        sample(
            "schedule-create",
            RetryDelay="1000 * (1 + retried)",
            FlowControlRate="20",
            FlowControlPeriod="60s",
            FlowControlParallelism="4",
        )
    )
    assert one().facts["retry delay"] == "1000 * (1 + retried)"
    assert one().facts["flow control"] == ("cleanup-old-data", 4, 20, 60)


def test_the_least_that_a_template_can_say() -> None:
    """As an older version might have had it, which a rollback brings again, and with what no version knows."""
    optional = ("Retries", "TimeoutSeconds", "FlowControlKey", "FlowControlParallelism", "FailureCallback", "Owner")
    others = dict.fromkeys((*optional, "Adopt", "Resync"))
    assert ask(sample("schedule-create", **others, Unknown="x", RetryDelay=""))["PhysicalResourceId"] == ID
    assert one().owner == ()


@pytest.mark.parametrize("name", ["schedule-create", "schedule-update"])
def test_a_request_that_is_repeated_changes_nothing(between: Between, name: str) -> None:
    """CloudFormation never heard the first answer."""
    first = ask(sample(name))
    between.seen.clear()
    assert ask(sample(name)) == first
    assert {request.partition(" ")[0] for request in between.seen} == {"GET"}


def test_update_changes_what_differs_and_keeps_the_pause() -> None:
    """Somebody paused it; a deployment is no reason to run it."""
    ask(sample("schedule-create"))
    relay.qstash().pause_schedule(ID, paused=True)
    assert ask(sample("schedule-update"))["PhysicalResourceId"] == ID
    assert (one().facts["cron"], one().facts["retries"]) == ("CRON_TZ=Europe/Berlin 0 3 * * *", 4)
    assert one().paused
    assert ids() == {ID}


def test_a_rollback_restores() -> None:
    """CloudFormation sends another Update, with the old properties, and the pause is still kept."""
    ask(sample("schedule-create"))
    before = one()
    ask(sample("schedule-update"))
    relay.qstash().pause_schedule(ID, paused=True)
    back = sample("schedule-update")
    back["ResourceProperties"], back["OldResourceProperties"] = (
        back["OldResourceProperties"],
        back["ResourceProperties"],
    )
    ask(back)
    assert (one().facts, one().owner, one().paused) == (before.facts, before.owner, True)


def test_what_was_changed_by_hand_is_put_right() -> None:
    """In the console somebody changed the time, lost the labels, and added a callback; a resync asks again."""
    ask(sample("schedule-create"))
    before = one()
    dispatch.schedule(Probe(), "59 23 * * *", id=ID)
    ask(sample("schedule-update", Cron="0 2 * * *", Retries="3", Resync="2"))
    assert (one().facts, one().owner) == (before.facts, before.owner)


def test_what_was_deleted_by_hand_is_made_again() -> None:
    """An Update finds nothing there."""
    ask(sample("schedule-create"))
    relay.qstash().delete_schedule(ID)
    ask(sample("schedule-update"))
    assert one().owner == (OWNER, RESOURCE)


def test_a_new_id_replaces_the_old_one() -> None:
    """The Update makes the new one and answers its id; then CloudFormation deletes the old one."""
    ask(sample("schedule-create"))
    assert ask(sample("schedule-rename"))["PhysicalResourceId"] == "jobs-prod.cleanup-sessions"
    assert ids() == {ID, "jobs-prod.cleanup-sessions"}
    assert ask(sample("schedule-delete"))["PhysicalResourceId"] == ID
    assert ids() == {"jobs-prod.cleanup-sessions"}


def test_a_new_id_that_is_rolled_back() -> None:
    """The old one is still there, and the new one goes."""
    ask(sample("schedule-create"))
    ask(sample("schedule-rename"))
    back = sample("schedule-rename", request={"PhysicalResourceId": "jobs-prod.cleanup-sessions"}, ScheduleId=ID)
    assert ask(back)["PhysicalResourceId"] == ID
    new = {"PhysicalResourceId": "jobs-prod.cleanup-sessions"}
    ask(sample("schedule-delete", request=new, ScheduleId="jobs-prod.cleanup-sessions"))
    assert ids() == {ID}


def test_delete_and_delete_again() -> None:
    """The second finds nothing, which is what was asked for."""
    ask(sample("schedule-create"))
    for _ in range(2):
        assert ask(sample("schedule-delete")) == {"PhysicalResourceId": ID, "Data": {}}
        assert ids() == set()


@pytest.mark.parametrize(
    "invented",
    [
        "jobs-prod-ScheduleCleanupOldSessions5A8C1F3E-1TRHZJ3VLY3AN",
        "AWSCDK::CustomResourceProviderFramework::MISSING_PHYSICAL_ID",
        "2026/11/25/[$LATEST]8f0e6c0b",
        "",
    ],
)
def test_an_id_that_was_never_ours_is_left_alone(invented: str) -> None:
    """CloudFormation invents one when a Create never ended; what carries the properties' id stays."""
    ask(sample("schedule-create"))
    answer = ask(sample("schedule-delete", request={"PhysicalResourceId": invented}))
    assert answer["PhysicalResourceId"] == invented
    assert ids() == {ID}


def test_a_delete_without_usable_properties_fails_nothing() -> None:
    """Whatever a stack has, it can be deleted."""
    ask(sample("schedule-create"))
    event = sample("schedule-delete")
    event["ResourceProperties"] = {"ServiceToken": "x"}
    ask(event)
    assert ids() == {ID}


WITHOUT_IT = (
    "To delete the stack without it: aws cloudformation delete-stack --stack-name jobs-prod "
    "--retain-resources ScheduleCleanupOldSessions5A8C1F3E"
)


def test_a_delete_that_qstash_refuses(between: Between) -> None:
    """The stack can go all the same, and how is said."""
    ask(sample("schedule-create"))
    between.tamper = lambda _exchange: (401, b"no")
    assert refused(sample("schedule-delete")).endswith(WITHOUT_IT)


@pytest.mark.parametrize(
    ("token", "says"),
    [
        ("", "QSTASH_TOKEN: it is not set"),
        (
            "arn:aws:secretsmanager:eu-central-1:123456789012:secret:jobs/prod/qstash-token",
            "AWS did not say what a setting is",
        ),
    ],
    ids=["empty", "out of reach"],
)
def test_a_delete_without_a_token(environment: pytest.MonkeyPatch, token: str, says: str) -> None:
    """Its secret is gone, or AWS away: who removes a stage often takes the secrets first."""
    environment.setenv("QSTASH_TOKEN", token)
    environment.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        environment.setenv(name, "test")
    with pytest.raises(DeploymentStopped) as caught:
        ask(sample("schedule-delete"), seconds=6)
    assert says in str(caught.value)
    assert str(caught.value).endswith(WITHOUT_IT)


def test_another_owners_schedule_is_not_overwritten() -> None:
    """A second AWS account with the same QStash account and the same names: neither Create nor Update takes it."""
    ask(sample("schedule-create", Owner=ELSEWHERE))
    before = one()
    for name in ("schedule-create", "schedule-update"):
        sentence = refused(sample(name))
        assert f"belongs to {ELSEWHERE}, and this is {OWNER}" in sentence
        assert "adopt_schedules=true" in sentence
        assert one() == before


def test_another_owners_schedule_is_not_deleted(caplog: pytest.LogCaptureFixture) -> None:
    """The stack can be deleted all the same, and the log says why something is left."""
    ask(sample("schedule-create", Owner=ELSEWHERE))
    ask(sample("schedule-delete"))
    assert ids() == {ID}
    assert f"Schedule {ID} not deleted: it belongs to {ELSEWHERE}" in caplog.text


def test_adopt_takes_over_and_keeps_the_pause() -> None:
    """It was asked for; and then it is ours to delete, and no more the other's."""
    ask(sample("schedule-create", Owner=ELSEWHERE))
    relay.qstash().pause_schedule(ID, paused=True)
    ask(sample("schedule-create", Adopt="true"))
    assert (one().owner, one().paused) == ((OWNER, RESOURCE), True)
    ask(sample("schedule-delete", Owner=ELSEWHERE))
    assert ids() == {ID}
    ask(sample("schedule-delete"))
    assert ids() == set()


def test_a_schedule_without_owner_that_goes_elsewhere_is_refused() -> None:
    """An app made it, or an older tool: whose it is cannot be known."""
    dispatch.schedule(Probe(), "0 4 * * *", id=ID)
    sentence = refused(sample("schedule-create"))
    assert "carries no owner" in sentence
    assert "http://127.0.0.1:9/probe" in sentence
    ask(sample("schedule-delete"))
    assert one().facts["destination"] == "http://127.0.0.1:9/probe"


def test_a_schedule_without_owner_that_goes_to_our_function_is_taken() -> None:
    """`jobs schedules apply` made it, before the stack did."""
    ask(sample("schedule-create", Owner=None))
    assert one().owner == ()
    ask(sample("schedule-create"))
    assert one().owner == (OWNER, RESOURCE)


def test_what_a_lost_stack_left_is_taken_over_instead_of_doubled() -> None:
    """The stage is deployed anew, by a stack with another id; the old stack, if it comes back to delete, takes nothing."""
    ask(sample("schedule-create", request={"StackId": ANOTHER_STACK}, Destination="https://old.example/"))
    ask(sample("schedule-create"))
    assert ids() == {ID}
    assert one().owner == (OWNER, RESOURCE)
    assert "old.example" not in str(one().facts["destination"])
    ask(sample("schedule-delete", request={"StackId": ANOTHER_STACK}, Destination="https://old.example/"))
    assert ids() == {ID}


def test_a_resource_that_was_renamed_in_its_stack_is_told_so() -> None:
    """CloudFormation makes the new one first, and deletes the old one last: the schedule would be gone."""
    ask(sample("schedule-create", request={"LogicalResourceId": "OldName1234"}))
    sentence = refused(sample("schedule-create"))
    assert "made by the resource OldName1234 of this same stack" in sentence
    assert "override_logical_id" in sentence
    assert one().owner == (OWNER, "51af3dc0.OldName1234")


def test_a_late_delete_of_a_former_resource_takes_nothing() -> None:
    """Out of order: the schedule was adopted under another logical id meanwhile."""
    ask(sample("schedule-create", request={"LogicalResourceId": "OldName1234"}))
    ask(sample("schedule-create", Adopt="true"))
    ask(sample("schedule-delete", request={"LogicalResourceId": "OldName1234"}))
    assert one().owner == (OWNER, RESOURCE)


def test_what_is_applied_by_hand_keeps_the_owner() -> None:
    """`jobs schedules apply` with the stage's settings: the stack still knows its own, and diff finds no difference."""
    ask(sample("schedule-create"))
    declared = schedule_changes.Wanted(
        id=ID, cron="1 2 * * *", message=sample_properties(sample("schedule-create")).message
    )
    steps = schedule_changes.changes([declared], relay.qstash().schedules(), "jobs-prod")
    assert [dict(step.differences) for step in steps] == [{"cron": ("0 2 * * *", "1 2 * * *")}]
    schedule_changes.apply(steps, relay.qstash())
    assert (one().facts["cron"], one().owner) == ("1 2 * * *", (OWNER, RESOURCE))
    assert schedule_changes.changes([declared], relay.qstash().schedules(), "jobs-prod") == []


def sample_properties(event: dict[str, Any]) -> schedule.ScheduleProperties:
    return custom_resource.Request.model_validate(event).properties(schedule.ScheduleProperties)


@pytest.mark.parametrize(
    ("properties", "says"),
    [
        ({"Retries": "three"}, "the property Retries"),
        ({"Cron": None}, "the property Cron"),
        ({"TimeoutSeconds": "1.5"}, "the property TimeoutSeconds"),
        ({"Adopt": "perhaps"}, "the property Adopt"),
        ({"Cron": "every now and then"}, "is not a cron expression"),
        ({"Destination": "nowhere"}, "QStash answered 400"),
    ],
)
def test_properties_that_cannot_be(properties: dict[str, str | None], says: str) -> None:
    """Which one, and that nothing was made."""
    assert says in refused(sample("schedule-create", **properties))
    assert ids() == set()


def test_an_empty_token(environment: pytest.MonkeyPatch, between: Between) -> None:
    """Before the secret is filled: which setting, and nothing is asked of QStash."""
    environment.setenv("QSTASH_TOKEN", "")
    with pytest.raises(DeploymentStopped, match=r"QSTASH_TOKEN: it is not set.*Then deploy again"):
        ask(sample("schedule-create"))
    assert between.seen == []


@pytest.mark.parametrize(
    "answer",
    [
        (401, b'{"error":"unable to authenticate: invalid token"}'),
        (404, b'{"error":"user not found in this region"}'),
        (403, b'{"error":"this token may only read"}'),
    ],
    ids=["401", "404", "403"],
)
@pytest.mark.parametrize("name", ["schedule-create", "schedule-update", "schedule-delete"])
def test_a_token_of_another_region(between: Between, answer: Answer, name: str) -> None:
    """Names QSTASH_URL, and where to look; and the 404 is not mistaken for a schedule that is not there."""
    ask(sample("schedule-create"))
    between.tamper = lambda _exchange: answer
    sentence = refused(sample(name))
    assert f"QStash at {between.url} does not know the token" in sentence
    assert "QSTASH_URL" in sentence
    assert "jobs secrets put" in sentence
    between.tamper = honest
    assert ids() == {ID}


def test_a_wrong_token(environment: pytest.MonkeyPatch) -> None:
    """As the local server itself refuses it."""
    environment.setenv("QSTASH_TOKEN", "of-somebody-else")
    assert "does not know the token (QStash answered 401" in refused(sample("schedule-create"))


@pytest.mark.parametrize("status", [412, 400])
def test_a_plan_that_takes_no_more(environment: pytest.MonkeyPatch, status: int) -> None:
    """QStash's own words, and what to do; what there is stays, and can be changed."""
    with QStashServer(limits=LIMITS["free"], quota_status=status, host_map=PLACES) as small:
        environment.setenv("QSTASH_URL", small.url)
        forget()
        for number in range(9):
            dispatch.schedule(Probe(), "0 4 * * *", id=f"of-an-app-{number}")
        ask(sample("schedule-create"))
        sentence = refused(sample("schedule-create", ScheduleId="jobs-prod.one-more"))
        assert "takes no more of them" in sentence
        assert "maxSchedules exceeded, current limit: 10" in sentence
        ask(sample("schedule-update"))
        assert len(ids()) == 10


def test_an_outage_that_ends_in_time(between: Between, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of each kind of trouble, and then it goes on."""
    troubles: list[Answer | None] = [(503, b"no"), None, (429, b"slow down"), (500, b""), (502, b"<html>")]

    def tamper(exchange: Exchange) -> Answer | None:
        return troubles.pop() if troubles else honest(exchange)

    between.tamper = tamper
    monkeypatch.setattr(custom_resource, "FIRST_PAUSE_SECONDS", 0.05)
    ask(sample("schedule-create"))
    assert one().owner == (OWNER, RESOURCE)


def test_an_outage_that_does_not_end(between: Between) -> None:
    """It is tried again while there is time, and ends before Lambda would kill it."""
    between.tamper = lambda _exchange: (503, b"no")
    began = time.monotonic()
    sentence = refused(sample("schedule-create"), seconds=15)
    assert 1 < time.monotonic() - began < 14.5
    assert len(between.seen) > 2
    assert "also when asked again and again" in sentence
    assert f"QStash answered 503: no, at {between.url}" in sentence


def test_a_lost_answer_to_the_write(between: Between) -> None:
    """QStash took the schedule, and its answer never came: the next try finds it as it is to be."""
    lost = iter([True])

    def tamper(exchange: Exchange) -> Answer | None:
        if exchange.method == "POST" and next(lost, False):
            exchange.pass_on()
            return None
        return honest(exchange)

    between.tamper = tamper
    ask(sample("schedule-create"))
    assert ids() == {ID}


@pytest.mark.usefixtures("impatient")
def test_a_create_that_fails_takes_away_what_it_made(between: Between) -> None:
    """The write came through and everything after it failed; nobody would delete it later, for a Create that fails is
    followed by no Delete."""
    made = iter([True])

    def tamper(exchange: Exchange) -> Answer | None:
        if exchange.method == "DELETE":
            return honest(exchange)
        if exchange.method == "POST" and next(made, False):
            return honest(exchange)
        return (404, b"{}") if "POST" in {seen.partition(" ")[0] for seen in between.seen[:-1]} else honest(exchange)

    between.tamper = tamper
    assert "otherwise than it was told: schedule None instead of" in refused(sample("schedule-create"))
    between.tamper = honest
    assert ids() == set()


def test_a_create_that_fails_leaves_what_was_there(between: Between) -> None:
    """It took over what a lost stack had left, and could not change it: that was not its own making."""
    ask(sample("schedule-create", request={"StackId": ANOTHER_STACK}))
    between.tamper = lambda exchange: (400, b"no") if exchange.method == "POST" else honest(exchange)
    assert "QStash answered 400: no" in refused(sample("schedule-create"))
    between.tamper = honest
    assert ids() == {ID}


@pytest.mark.usefixtures("impatient")
def test_a_failed_change_of_the_id_leaves_nothing_new(between: Between) -> None:
    """CloudFormation goes on with the old resource and never asks for the new one's deletion."""
    ask(sample("schedule-create"))
    between.tamper = normalised("retries", 2)
    assert "retries 2 instead of 3" in refused(sample("schedule-rename"))
    between.tamper = honest
    assert ids() == {ID}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What QStash shows otherwise will not change."""
    monkeypatch.setattr(schedule_changes, "READ_BACK_SECONDS", 0.2)


def normalised(name: str, value: object) -> Callable[[Exchange], Answer]:
    """QStash shows something else than it was told."""

    def tamper(exchange: Exchange) -> Answer:
        status, content = honest(exchange)
        if exchange.method == "GET" and status == 200:
            shown = json.loads(content)
            for each in shown if isinstance(shown, list) else [shown]:
                each[name] = value
            content = json.dumps(shown).encode()
        return status, content

    return tamper


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("cron", "0 1 * * *", "cron '0 1 * * *' instead of '0 2 * * *'"),
        ("timeout", 30, "timeout 30 instead of 605"),
        ("retries", 0, "retries 0 instead of 3"),
        ("failureCallback", None, "failure callback None instead of 'https://"),
        ("destination", "https://other.example", "destination 'https://other.example' instead of"),
        ("labels", ["cleanup-old-data"], f"owner None instead of '{OWNER}, {RESOURCE}'"),
        ("isPaused", True, "paused True instead of False"),
    ],
)
@pytest.mark.usefixtures("impatient")
def test_what_the_server_makes_otherwise_fails_loudly(between: Between, name: str, value: object, says: str) -> None:
    """A schedule that runs at another time, or tells nobody of failures, is worse than none; the field is named."""
    between.tamper = normalised(name, value)
    sentence = refused(sample("schedule-create"))
    assert f"the schedule {ID}: QStash took it and has it otherwise than it was told: " in sentence
    assert says in sentence
    between.tamper = honest
    assert ids() == set()


def test_a_server_that_shows_a_write_late(between: Between) -> None:
    """For a moment it still has the old one; that is waited for."""
    ask(sample("schedule-create"))
    old = json.dumps(httpx_get(between)).encode()
    late = iter(range(3))

    def tamper(exchange: Exchange) -> Answer:
        wrote = any(seen.startswith("POST") for seen in between.seen)
        if exchange.method == "GET" and wrote and next(late, None) is not None:
            return 200, old
        return honest(exchange)

    between.seen.clear()
    between.tamper = tamper
    ask(sample("schedule-update"))
    assert one().facts["retries"] == 4


def httpx_get(between: Between) -> Any:
    return relay.qstash()._http.request(path=f"/v2/schedules/{ID}", method="GET")


def test_a_pause_that_gets_lost_is_said(between: Between) -> None:
    """Replaced, but not paused again: who reads the failure must know that it may run."""
    ask(sample("schedule-create"))
    relay.qstash().pause_schedule(ID, paused=True)
    between.tamper = lambda exchange: (400, b"no") if exchange.path.endswith("/pause") else honest(exchange)
    assert "It was paused; see with `jobs schedules list`" in refused(sample("schedule-update"))


def test_blanks_in_a_cron_expression_are_no_difference() -> None:
    """QStash trims them."""
    ask(sample("schedule-create", Cron=" 0  2 * * *  "))
    assert one().facts["cron"] == "0 2 * * *"


def test_neither_answers_nor_logs_show_the_token(caplog: pytest.LogCaptureFixture, qstash: QStashServer) -> None:
    """What CloudFormation is told is shown to people, and logs are kept."""
    caplog.set_level(logging.DEBUG)
    answers = [ask(sample(f"schedule-{name}")) for name in ("create", "update", "delete")]
    assert qstash.token not in json.dumps(answers) + caplog.text
    assert re.search(r"Create jobs-prod\.cleanup-old-sessions", caplog.text)
