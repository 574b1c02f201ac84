"""`--stage`: a command on what is deployed, and those that must never touch it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text

from infra.cli.app import app
from infra.cli.secret_values import KEYS
from infra.local.qstash import QStashServer
from qstash_jobs import relay, schedule_changes
from qstash_jobs.schedules import SCHEDULES
from qstash_jobs.settings import settings
from qstash_jobs.testing import create_test_job
from tests.conftest import engine_for, forget
from tests.integration.cli.cloud import REGION, STAGE, Cloud
from tests.integration.cli.conftest import Jobs
from tests.integration.cli.worker import Worker

TOKEN = "a-token-of-the-stage"
EVERYWHERE = {"new", "qstash", "cost"}
"""Commands that touch neither a stage nor a system of any kind."""
TEMPLATE = json.dumps({"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}})


@pytest.fixture
def server(cloud: Cloud) -> Iterator[QStashServer]:
    """The stage's QStash."""
    with QStashServer(token=TOKEN) as running:
        yield running


@pytest.fixture
def stage(cloud: Cloud, server: QStashServer, database_url: str) -> Cloud:
    """A stage whose secrets are filled, with a database that has the tables."""
    cloud.fill("qstash-token", {"QSTASH_TOKEN": TOKEN})
    cloud.fill("signing-keys", dict(zip(KEYS, (server.current_signing_key, server.next_signing_key), strict=True)))
    cloud.fill("database", {"DATABASE_URL": database_url})
    cloud.deploy(QSTASH_URL=server.url, PRODUCT_NAME="Deployed")
    return cloud


@pytest.mark.parametrize(
    "line",
    [
        ("--stage", "prod", "enqueue", "probe"),
        ("enqueue", "probe", "--stage", "prod"),
        ("--stage", "prod", "enqueue", "probe", "--stage", "prod"),
    ],
)
def test_a_job_is_enqueued_on_the_stage(jobs: Jobs, stage: Cloud, line: tuple[str, ...]) -> None:
    """Its record, its QStash and its functions' addresses are the stage's; which stage it is, is said beside the answer."""
    stage.publish("probe", "http://127.0.0.1:9/")
    stage.publish("failure-callback", "http://127.0.0.1:9/")
    done = jobs(*line)
    assert done.code == 0, done
    assert "jobs, stage prod, in eu-central-1" in done.err
    job_id = done.out.strip()
    relay.publisher.flush(timedelta(seconds=20))
    shown = json.loads(jobs("--stage", "prod", "show", job_id, "--json").out)
    assert shown["execution"]["message_id"].startswith("msg_")
    assert settings().product_name == "Deployed"


def test_by_the_environment(jobs: Jobs, stage: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """JOBS_STAGE names the stage too; but not beside settings of another system, of which --stage knows better."""
    monkeypatch.setenv("JOBS_STAGE", "prod")
    assert "No job matches." in jobs("list").out
    assert jobs("list", "--stage", "staging").code == 1
    for name in ("DATABASE_URL", "QSTASH_URL"):  # which the command before has set, in this process
        monkeypatch.delenv(name)
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@localhost:9/desk")
    done = jobs("list")
    assert (done.code, "DATABASE_URL are set too" in done.sentence) == (2, True)
    forget()
    assert "No job matches." in jobs("list", "--stage", "prod").out


def test_nothing_of_the_shell_is_mixed_in(jobs: Jobs, stage: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting that the stage does not have is not the shell's."""
    monkeypatch.setenv("JOBS_BASE_URL", "http://127.0.0.1:9000")
    monkeypatch.setenv("EMAIL_FROM", "desk@example.com")
    assert jobs("list", "--stage", "prod").code == 0
    assert "JOBS_BASE_URL" not in os.environ
    assert settings().email_from != "desk@example.com"
    assert settings().schedule_prefix == "jobs-prod"


def test_secrets_are_known_by_their_arns(jobs: Jobs, stage: Cloud) -> None:
    """No value comes into the environment."""
    stage.deploy(QSTASH_URL="http://127.0.0.1:9")
    assert jobs("list", "--stage", "prod").code == 0
    arn = f"arn:aws:secretsmanager:{REGION}:123456789012:secret:jobs/prod/"
    assert os.environ["DATABASE_URL"] == f"{arn}database"
    assert os.environ[KEYS[0]] == os.environ[KEYS[1]] == f"{arn}signing-keys"
    assert TOKEN not in os.environ.values()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--stage", "staging"), "nothing is deployed as stage staging of jobs in eu-central-1"),
        (("--stage", "Prod"), "lower-case letters"),
    ],
)
def test_a_stage_that_is_not_there(jobs: Jobs, stage: Cloud, arguments: tuple[str, ...], words: str) -> None:
    """Which one was looked for and where, and what to do."""
    assert words in jobs("list", *arguments).sentence


def test_two_stages_are_one_too_many(jobs: Jobs) -> None:
    """Before the command and behind it."""
    done = jobs("--stage", "prod", "list", "--stage", "staging")
    assert (done.code, "prod and staging" in done.sentence) == (2, True)


def test_an_empty_secret_says_how_to_fill_it(jobs: Jobs, cloud: Cloud) -> None:
    """The stage is there, and nobody has filled its secrets."""
    cloud.deploy(QSTASH_URL="http://127.0.0.1:9")
    assert "jobs secrets put --stage prod" in jobs("list", "--stage", "prod").sentence


DESK = ["dev", "demo", "clean", "seed", "advance", "webhook", "invoke"]
ARGUMENTS = {"advance": ["1h"], "webhook": ["stripe", "invoice-paid"], "invoke": ["probe"]}


@pytest.mark.parametrize("command", DESK)
@pytest.mark.parametrize("by", ["--stage", "JOBS_STAGE"])
def test_what_is_for_the_desk_refuses_a_stage(
    jobs: Jobs, stage: Cloud, monkeypatch: pytest.MonkeyPatch, command: str, by: str
) -> None:
    """Made-up data, deletion and unfinished code never reach what is deployed, however the stage is named."""
    if by == "JOBS_STAGE":
        monkeypatch.setenv("JOBS_STAGE", "prod")
    before = [] if by == "JOBS_STAGE" else ["--stage", "prod"]
    done = jobs(*before, command, *ARGUMENTS.get(command, []))
    assert (done.code, "on the desk only" in done.sentence) == (2, True), done


def test_each_command_is_for_a_stage_or_for_the_desk() -> None:
    """So that one that is added is thought about."""
    marked = {}
    for one in app.registered_commands:
        assert one.callback is not None
        name = one.name or one.callback.__name__
        takes_it = "stage_" in one.callback.__annotations__
        marked[name] = "stage" if takes_it else "desk" if one.callback.__code__.co_name == "here" else None
    assert {name for name, what in marked.items() if what is None} == EVERYWHERE & set(marked)
    assert sorted(name for name, what in marked.items() if what == "desk") == sorted(DESK)


def test_going_back_asks_for_the_name_of_the_stage(jobs: Jobs, stage: Cloud) -> None:
    """The record of a stage is not taken away by a slip."""
    wrong = jobs("migrate", "--down", "--to", "base", "--stage", "prod", given="staging\n")
    assert wrong.code == 1
    assert jobs("list", "--stage", "prod").code == 0
    right = jobs("migrate", "--down", "--to", "base", "--stage", "prod", given="prod\n")
    assert (right.code, "Back at base" in right.out) == (0, True), right


def line(text: str, name: str) -> str:
    return next(one for one in text.splitlines() if one[2:].startswith(f"{name} "))


@pytest.fixture
def deployed(stage: Cloud, server: QStashServer, jobs: Jobs, database_url: str) -> Iterator[Cloud]:
    """The stage with its stacks, an alarm that does not ring, its schedules, and functions at their addresses."""
    for part in ("secrets", ""):
        stage.client("cloudformation").create_stack(StackName=STAGE.stack(part), TemplateBody=TEMPLATE)
    stage.client("cloudwatch").put_metric_alarm(
        AlarmName=f"{STAGE.prefix}-send-email-failures",
        AlarmDescription="Mails fail. What to do: https://example.com/runbook",
        MetricName="JobsFailed",
        Namespace="jobs/prod",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanThreshold",
        Statistic="Sum",
    )
    with Worker() as worker:
        stage.deploy(QSTASH_URL=server.url, JOBS_BASE_URL=worker.url)
        assert jobs("--stage", "prod", "schedules", "apply").code == 0
        yield stage
        forget()


def test_a_stage_that_is_well(jobs: Jobs, deployed: Cloud) -> None:
    """Account, stacks, secrets and alarms, besides all that is looked at on the desk."""
    done = jobs("doctor", "--stage", "prod", "--no-canary")
    assert done.code == 0, done
    assert "account 123456789012, region eu-central-1" in line(done.out, "AWS")
    assert "jobs-prod create complete" in line(done.out, "stacks")
    assert "all that every job needs" in line(done.out, "secrets")
    assert f"{len(SCHEDULES)} declared" in line(done.out, "QStash")
    assert "1, and none rings" in line(done.out, "alarms")
    assert not any(one.startswith(("✗", "–")) for one in done.out.splitlines())
    assert "canary" not in done.out


def test_a_canary_travels(jobs: Jobs, deployed: Cloud) -> None:
    """Published, delivered, run and recorded, from the terminal."""
    done = jobs("doctor", "--stage", "prod")
    assert done.code == 0, done
    assert "went the whole way" in line(done.out, "canary")


def test_a_stage_that_is_not(jobs: Jobs, deployed: Cloud, server: QStashServer) -> None:
    """An alarm that rings, with its runbook; keys that were rolled; each with what to do."""
    deployed.client("cloudwatch").set_alarm_state(
        AlarmName=f"{STAGE.prefix}-send-email-failures", StateValue="ALARM", StateReason="a test"
    )
    rolled = {KEYS[0]: "sig_" + "x" * 28, KEYS[1]: server.current_signing_key}
    deployed.fill("signing-keys", rolled)
    deployed.client("cloudformation").delete_stack(StackName=STAGE.stack())
    done = jobs("doctor", "--stage", "prod", "--no-canary")
    assert done.code == 1
    assert "https://example.com/runbook" in line(done.out, "alarms")
    assert "jobs rotate-keys --stage prod" in line(done.out, "signing keys")
    assert "make deploy STAGE=prod" in line(done.out, "stacks")
    assert line(done.out, "database").startswith("✓")


def test_schedules_put_right_by_hand_stay_the_deployment_s(jobs: Jobs, deployed: Cloud) -> None:
    """The labels that say whose a schedule is are kept, and so the stack still knows its own, and so is a pause."""
    qstash = relay.qstash()
    (was,) = [one for one in schedule_changes.wanted_schedules(SCHEDULES) if one.id == "jobs-prod.reconcile-jobs"]
    owner = ("jobs.prod.123456789012.eu-central-1", "51af3dc0.DeploymentScheduleReconcileJobs")
    qstash.put_schedule(was.id, "0 0 1 1 *", replace(was, owner=owner).labelled)
    qstash.pause_schedule(was.id, paused=True)
    assert "cron: 0 0 1 1 * → " in jobs("--stage", "prod", "schedules", "diff").out
    assert "replace jobs-prod.reconcile-jobs" in jobs("--stage", "prod", "schedules", "apply").out
    found = qstash.schedule(was.id)
    assert found is not None
    assert (found.owner, found.paused, found.facts["cron"]) == (owner, True, was.cron)
    assert jobs("--stage", "prod", "schedules", "diff").code == 0


def test_a_stage_whose_database_is_an_older_one(jobs: Jobs, stage: Cloud, database_url: str) -> None:
    """A backup, or another DSN: CloudFormation sees no difference, so the deployment is to ask once more."""
    engine = engine_for(database_url)
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE job_migrations"))
    engine.dispose()
    done = jobs("doctor", "--stage", "prod", "--no-canary")
    said = 'missing jobs_0001; run: make deploy STAGE=prod CONTEXT="-c resync=$(date +%s)"'
    assert said in " ".join(done.out.split())


def test_a_stage_whose_secrets_are_empty(jobs: Jobs, cloud: Cloud) -> None:
    """Nothing is deployed yet: what comes next is said, and the rest is not looked at."""
    cloud.client("cloudformation").create_stack(StackName=STAGE.stack("secrets"), TemplateBody=TEMPLATE)
    done = jobs("doctor", "--stage", "prod")
    assert done.code == 1
    assert "jobs-prod is not there" in line(done.out, "stacks")
    assert "run: jobs secrets put --stage prod qstash-token signing-keys database" in line(done.out, "secrets")
    assert "make deploy STAGE=prod" in line(done.out, "deployment")
    assert line(done.out, "database").startswith("–")
    assert line(done.out, "canary").startswith("–")


def test_without_credentials_the_rest_is_not_looked_at(
    jobs: Jobs, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One ✗ that says so, in the place of ten."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    done = jobs("doctor", "--stage", "prod")
    assert done.code == 1
    assert "no AWS credentials here" in line(done.out, "AWS")
    assert [one for one in done.out.splitlines() if one.startswith("✗")] == [line(done.out, "AWS")]


def test_a_job_of_another_system_is_not_the_stage_s(jobs: Jobs, stage: Cloud, database_url: str) -> None:
    """What stands in the stage's database is what is listed."""
    os.environ["DATABASE_URL"] = database_url
    forget()
    from qstash_jobs.jobs.probe import Probe

    job_id = create_test_job(Probe())
    os.environ.pop("DATABASE_URL")
    forget()
    assert str(job_id) in jobs("list", "--stage", "prod").out
