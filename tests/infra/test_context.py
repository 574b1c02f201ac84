"""What can be said of a deployment, and what is answered when it cannot be."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from infra.aws import functions as functions_module
from infra.aws.context import OF_THE_DESK, OF_THE_STACK, Context
from infra.aws.custom_resources import check_schedules
from infra.aws.database_stack import HEADROOM, check_connections
from infra.aws.errors import CannotDeploy
from infra.aws.functions import WEB, check_names, folders_of, functions_of
from infra.aws.limits import connections
from infra.stage import SECRETS, Stage
from qstash_jobs.job import JobOptions, registry
from qstash_jobs.jobs.probe import Probe
from qstash_jobs.schedules import SCHEDULES, Schedule
from qstash_jobs.settings import Settings
from tests.conftest import ROOT

OURS = functions_of((job_type.options for job_type in registry.contracts()), folders_of(ROOT))


def read(**given: object) -> Context:
    return Context.read({"stage": "staging", **given})


def refusal(**given: object) -> str:
    with pytest.raises(CannotDeploy) as caught:
        read(**given)
    return str(caught.value)


def test_a_stage_is_all_that_must_be_said() -> None:
    """The rest has defaults that suit a small app in a fresh account."""
    context = read()
    assert (context.app, context.architecture, context.database) == ("jobs", "arm64", "dsn")
    assert (context.reserved_concurrency, context.canary, context.starter) == ("none", True, False)
    assert context.names == Stage("jobs", "staging")


def test_values_of_the_command_line_are_texts() -> None:
    """And mean the same as those of cdk.json, which are JSON."""
    texts = read(
        canary="off",
        database="aurora",
        aurora_max_acu="16",
        log_retention_days="30",
        tags='{"team": "core"}',
        settings='{"PRODUCT_NAME": "A"}',
    )
    values = read(
        canary=False,
        database="aurora",
        aurora_max_acu=16,
        log_retention_days=30,
        tags={"team": "core"},
        settings={"PRODUCT_NAME": "A"},
    )
    assert texts == values
    assert (texts.canary, texts.log_days, texts.tags) == (False, 30, {"team": "core"})


def test_what_is_cdk_s_own_is_left_to_it() -> None:
    """Its names have a colon, a slash or an @."""
    assert read(**{"aws:cdk:enable-path-metadata": True, "@aws-cdk/core:target-partitions": ["aws"]}) == read()


def test_prod_keeps_its_logs_longer_and_is_protected() -> None:
    """Unless it is said otherwise."""
    prod = Context.read({"stage": "prod"})
    assert (prod.log_days, prod.is_protected) == (90, True)
    assert (read().log_days, read().is_protected) == (14, False)
    assert Context.read({"stage": "prod", "termination_protection": "false"}).is_protected is False


def test_a_missing_stage_is_answered_with_those_there_are() -> None:
    """And with what to say."""
    with pytest.raises(CannotDeploy, match=r"^Context stage is missing; say -c stage=… with staging or prod\."):
        Context.read({})


WRONG = {
    "stage": ("production", "it is staging or prod, not 'production'"),
    "architecture": ("arm", "it is arm64 or x86_64, not 'arm'"),
    "database": ("postgres", "it is dsn or aurora, not 'postgres'"),
    "reserved_concurrency": ("5", "it is none or options, not '5'"),
    "qstash_plan": ("pro", "it is free or payg, not 'pro'"),
    "canary": ("maybe", "it is true or false (on or off), not 'maybe'"),
    "starter": ("2", "it is true or false (on or off), not '2'"),
    "adopt_schedules": ("x", "it is true or false (on or off), not 'x'"),
    "database_proxy": ("x", "it is true or false (on or off), not 'x'"),
    "termination_protection": ("x", "it is true or false (on or off), not 'x'"),
    "app": ("Jobs", "a name here is lower-case letters, digits and single hyphens between them, at most 30"),
    "account": ("12345", "The AWS account, 12 digits"),
    "region": ("Frankfurt", "a region is called like eu-central-1, not 'Frankfurt'"),
    "aurora_min_acu": ("0.3", "Aurora's capacity goes from 0 to 256 units in steps of a half"),
    "aurora_max_acu": ("512", "Aurora's capacity goes from 0 to 256 units in steps of a half"),
    "log_retention_days": ("10", "CloudWatch keeps logs for 1, 3, 5, 7, 14, 30, 60, 90"),
    "alarm_email": ("ops", "an address is like ops@example.com, not 'ops'"),
    "qstash_url": ("qstash", "it is the address alone, like https://qstash-eu-central-1.upstash.io, not 'qstash'"),
    "docs_url": ("https://docs.example.com/", "without a slash at its end"),
    "settings": ("EMAIL_FROM=x", "it is no JSON"),
    "tags": ('["a"]', "it is an object of names and plain values"),
}


@pytest.mark.parametrize("name", WRONG)
def test_each_wrong_value_is_answered_with_a_sentence(name: str) -> None:
    """It names the context and says what is allowed."""
    value, said = WRONG[name]
    sentence = refusal(**{name: value})
    assert sentence.startswith((f"Context {name}: ", f"Context {name} "))
    assert said in sentence
    assert sentence.endswith((".", "`"))


def test_every_context_that_can_be_wrong_is_among_these() -> None:
    """`resync` takes any text."""
    assert WRONG.keys() | {"resync"} == Context.model_fields.keys()


def test_a_name_that_is_none_is_refused_with_the_nearest() -> None:
    """A misspelt one would do nothing, silently."""
    assert refusal(alarm_mail="a@example.com").startswith(
        "There is no context 'alarm_mail'; did you mean 'alarm_email'? Allowed are account, adopt_schedules, alarm_email, "
    )


@pytest.mark.parametrize("region", ["eu-central-2", "il-central-1"])
def test_a_region_whose_functions_have_no_addresses_is_refused(region: str) -> None:
    """Named here or by the shell, with the others of its kind."""
    assert f"Lambda functions have no addresses in {region}" in refusal(region=region)
    with pytest.raises(CannotDeploy, match=f"The region of your shell: Lambda functions have no addresses in {region}"):
        Context.read({"stage": "prod"}, region)
    assert Context.read({"stage": "prod", "region": "eu-central-1"}, region).region == "eu-central-1"


@pytest.mark.parametrize("url", ["https://qstash.upstash.io/v2/publish", "http://qstash.upstash.io", "ftp://q"])
def test_an_address_of_qstash_that_is_none_is_refused(url: str) -> None:
    """The token would go there."""
    assert refusal(qstash_url=url).startswith("Context qstash_url: ")


@pytest.mark.parametrize("name", [name for names in SECRETS.values() for name in names])
def test_a_secret_among_the_plain_settings_is_refused(name: str) -> None:
    """It would be readable in the template, and in every function; and the sentence does not repeat it."""
    sentence = refusal(settings={name: "sk_live_1234567890"})
    assert f"{name} is a secret" in sentence
    assert "jobs secrets put" in sentence
    assert "sk_live" not in sentence


@pytest.mark.parametrize("name", sorted(OF_THE_STACK | OF_THE_DESK))
def test_settings_that_are_not_for_people_are_refused(name: str) -> None:
    """Those that the stack sets itself, and those of the desk."""
    assert name in refusal(settings={name: "x"})
    assert name in {str(field.alias) for field in Settings.model_fields.values()}


def test_a_setting_that_is_none_or_malformed_is_refused() -> None:
    """At synth, and not by the function that would read it first."""
    assert "there is no setting 'EMAIL_FORM'; did you mean 'EMAIL_FROM'?" in refusal(settings={"EMAIL_FORM": "a@b.c"})
    assert "EMAIL_FROM: it must be an address" in refusal(settings={"EMAIL_FROM": "nobody"})


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"aws:x": "1"}, "AWS takes no tag aws:x=1"),
        ({"App": "shop"}, "app and stage are ours: rename App"),
        ({"team": "a", "Team": "b"}, "rename Team, team"),
        ({f"tag-{number}": "1" for number in range(49)}, "AWS takes 50 tags, 2 of which are ours, and these are 49"),
    ],
)
def test_tags_that_aws_refuses_are_refused(tags: dict[str, str], said: str) -> None:
    """Before half of the resources have them."""
    assert said in refusal(tags=tags)


@pytest.mark.parametrize("app", ["aws-jobs", "ssmile", "my--app", "app-", "1app", "a" * 31])
def test_names_that_aws_refuses_are_refused(app: str) -> None:
    """Parameter Store keeps some beginnings to itself, and RDS takes hyphens only between others."""
    assert "a name here is" in refusal(app=app)
    assert read(app="a" * 30).app == "a" * 30
    assert read(app="my-app-2").app == "my-app-2"


def test_settings_that_would_not_fit_are_refused() -> None:
    """Lambda would refuse them once the migrations had run."""
    assert "bytes are left for these" in refusal(settings={"PRODUCT_NAME": "ä" * 750})
    assert read(settings={"PRODUCT_NAME": "ä" * 700}).settings


def test_links_that_would_not_fit_into_an_alarm_are_refused() -> None:
    """CloudWatch takes 1,024 characters for all that an alarm says."""
    assert "at most 500 characters" in refusal(docs_url=f"https://{'x' * 500}")


@pytest.mark.parametrize("region", ["us-gov-west-1", "cn-north-1", "us-iso-east-1", "eusc-de-east-1"])
def test_a_region_of_another_partition_is_refused(region: str) -> None:
    """Its ARNs and services are others."""
    assert f"{region} is in a partition" in refusal(region=region)


def test_a_proxy_needs_aurora_and_the_most_is_no_less_than_the_least() -> None:
    """What does not fit together is said with what to do."""
    assert "add -c database=aurora" in refusal(database_proxy="true")
    assert "aurora_max_acu: it is of Aurora: add -c database=aurora" in refusal(aurora_max_acu="4")
    assert "no less than aurora_min_acu" in refusal(database="aurora", aurora_min_acu="16")


def options(name: str, **more: object) -> JobOptions:
    return JobOptions(name=name, **more)  # type: ignore[arg-type]


WEB_FOLDERS = [one.folder for one in WEB]


def test_a_folder_without_a_contract_is_refused() -> None:
    """With where the contract belongs, or what else to say."""
    with pytest.raises(
        CannotDeploy, match=r"functions/send_sms has no contract: no job type is called 'send-sms'\. Write"
    ):
        functions_of([], ["send_sms", *WEB_FOLDERS])


def test_a_contract_without_a_folder_is_refused() -> None:
    """And so is a web function without one."""
    with pytest.raises(CannotDeploy, match=r"'send-sms' has no function: there is no functions/send_sms/handler\.py"):
        functions_of([options("send-sms")], WEB_FOLDERS)
    with pytest.raises(CannotDeploy, match=r"'download' of WEB in infra/aws/functions\.py has no function"):
        functions_of([], [one for one in WEB_FOLDERS if one != "download"])


def test_a_grant_or_a_secret_that_there_is_not_is_refused() -> None:
    """With those there are."""
    folders = ["send_sms", *WEB_FOLDERS]
    with pytest.raises(CannotDeploy, match=r"send-sms asks for the grant 's3:all', and there are s3:exports, "):
        functions_of([options("send-sms", grants=("s3:all",))], folders)
    with pytest.raises(CannotDeploy, match=r"send-sms asks for the secret 'TWILIO_KEY', and there are CUSTOM_WEBHOOK_"):
        functions_of([options("send-sms", secrets=("TWILIO_KEY",))], folders)


def test_names_that_lambda_refuses_are_refused() -> None:
    """Too long, or those of the deployment's own functions."""
    long = functions_of([options("a" * 60)], ["a" * 60, *WEB_FOLDERS])
    with pytest.raises(CannotDeploy, match="longer than the 64 characters that Lambda takes: shorten -c app="):
        check_names(long, Stage("jobs", "prod"))
    taken = functions_of([options("deployment-canary")], ["deployment_canary", *WEB_FOLDERS])
    with pytest.raises(CannotDeploy, match="rename 'deployment-canary'"):
        check_names(taken, Stage("jobs", "prod"))


def test_only_folders_with_a_handler_count(tmp_path: Path) -> None:
    """Caches and fixtures are none."""
    (tmp_path / "functions/send_sms").mkdir(parents=True)
    (tmp_path / "functions/__pycache__").mkdir()
    assert folders_of(tmp_path) == []
    (tmp_path / "functions/send_sms/handler.py").touch()
    assert folders_of(tmp_path) == ["send_sms"]


def test_more_schedules_than_the_plan_has_are_refused() -> None:
    """QStash would refuse the eleventh, in the middle of a deployment."""
    eleven = [Schedule(id=f"tick-{number}", job=Probe(), cron="* * * * *") for number in range(11)]
    with pytest.raises(
        CannotDeploy, match=r"^11 schedules are declared, and QStash's plan 'free' has 10: .*qstash_plan=payg"
    ):
        check_schedules(read(), eleven)
    check_schedules(read(), eleven[:10])
    check_schedules(read(qstash_plan="payg"), eleven)
    check_schedules(read(), SCHEDULES)


def test_two_schedules_of_one_id_are_refused() -> None:
    """The later would replace the earlier at QStash."""
    tick = Schedule(id="tick", job=Probe(), cron="* * * * *")
    with pytest.raises(CannotDeploy, match="two schedules 'tick'"):
        check_schedules(read(), [tick, tick])


def test_connections_are_those_of_aws_s_table() -> None:
    """Less what Postgres and RDS keep for themselves; fewer when the least capacity is half a unit or none."""
    assert [connections(1, most) + 13 for most in (1, 4, 8, 16, 32, 256)] == [189, 823, 1669, 3360, 5000, 5000]
    assert [connections(0.5, most) + 13 for most in (1, 8, 16)] == [189, 1669, 2000]
    assert connections(1, 4) < connections(1, 6) < connections(1, 8)


def aurora(**given: object) -> Context:
    return read(database="aurora", **given)


def test_functions_without_a_limit_before_aurora_are_refused() -> None:
    """Behind a proxy too, which gives each of their connections one of Aurora's."""
    with pytest.raises(
        CannotDeploy, match=r"Aurora takes 1,656 connections at 8 units: say -c reserved_concurrency=options"
    ):
        check_connections(aurora(), OURS)
    with pytest.raises(CannotDeploy, match="say -c reserved_concurrency=options"):
        check_connections(aurora(database_proxy="true"), OURS)
    check_connections(read(), OURS)


def test_more_functions_at_once_than_connections_are_refused() -> None:
    """The sum is over those that talk to Postgres, two for each run, those of former functions among them, with room for
    deployments and people."""
    most = connections(0.5, 1)
    crowd = functions_of([options("crowd", concurrency=most)], ["crowd", *WEB_FOLDERS])
    with pytest.raises(
        CannotDeploy,
        match=rf"may have {(most + 30) * 4 + HEADROOM} connections: {most + 30} run at once.* raise -c aurora_max_acu=",
    ):
        check_connections(aurora(reserved_concurrency="options", aurora_max_acu="1"), crowd)
    check_connections(aurora(reserved_concurrency="options", aurora_max_acu="8"), crowd)


def test_our_own_functions_fit_into_a_small_aurora() -> None:
    """So the example of the docs deploys, which has more."""
    check_connections(aurora(reserved_concurrency="options", aurora_max_acu="3"), OURS)


def test_a_function_is_what_its_options_say() -> None:
    """Timeout, memory, storage and concurrency, with the keys and the database; the token only if it publishes."""
    made = functions_module.of_job(
        options(
            "x",
            timeout=timedelta(seconds=7),
            memory=256,
            ephemeral_storage=1024,
            concurrency=3,
            secrets=("RESEND_API_KEY",),
        )
    )
    assert (made.timeout.total_seconds(), made.memory, made.ephemeral_storage, made.concurrency) == (7, 256, 1024, 3)
    assert made.secrets == ("QSTASH_CURRENT_SIGNING_KEY", "QSTASH_NEXT_SIGNING_KEY", "DATABASE_URL", "RESEND_API_KEY")
    assert "QSTASH_TOKEN" in functions_module.of_job(options("x", publishes=True)).secrets
