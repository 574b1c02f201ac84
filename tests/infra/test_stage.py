"""What a stage has besides its functions: secrets, files, a topic, what app services need, and the order of a deployment."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from pydantic.alias_generators import to_pascal

from infra.deployment.canary import CanaryProperties
from infra.deployment.migrate import MigrationProperties
from infra.deployment.schedule import ScheduleProperties
from infra.migrations import heads
from infra.stage import SECRETS
from qstash_jobs import schedule_changes
from qstash_jobs.bucket import KEPT
from qstash_jobs.schedules import SCHEDULES
from qstash_jobs.settings import Settings
from tests.infra.conftest import Packages, Stacks, Template, synthesised
from tests.infra.reading import Properties, depends, environment, lambda_named, listed, of_type, text

URLS = "arn:${AWS::Partition}:ssm:${AWS::Region}:${AWS::AccountId}:parameter/jobs/prod"


def only(template: Template, type_: str) -> tuple[str, Properties]:
    (found,) = of_type(template, type_).items()
    return found


def test_the_stacks_are_called_after_the_stage(stacks: Stacks) -> None:
    """And CloudFormation is told to put the secrets first."""
    assert list(stacks) == ["jobs-prod-secrets", "jobs-prod"]


def test_secrets_are_made_empty_and_kept(stacks: Stacks) -> None:
    """With no value in the template, and no demand for one; a creation that fails leaves none behind."""
    secrets = stacks["jobs-prod-secrets"]["Resources"]
    assert {one["Type"] for one in secrets.values()} == {"AWS::SecretsManager::Secret"}
    assert {one["Properties"]["Name"] for one in secrets.values()} == {f"jobs/prod/{name}" for name in SECRETS}
    for one in secrets.values():
        assert (one["DeletionPolicy"], one["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")
        assert "SecretString" not in one["Properties"]
        is_link_key = one["Properties"]["Name"] == "jobs/prod/link-key"
        assert ("GenerateSecretString" in one["Properties"]) == is_link_key


def test_the_key_for_links_is_made_by_secrets_manager(stacks: Stacks) -> None:
    """In the shape that settings take, and long enough for them."""
    (made,) = [
        one["Properties"]["GenerateSecretString"]
        for one in stacks["jobs-prod-secrets"]["Resources"].values()
        if one["Properties"]["Name"].endswith("link-key")
    ]
    assert json.loads(made["SecretStringTemplate"]) == {}
    value = "x" * made["PasswordLength"]
    assert Settings.read({made["GenerateStringKey"]: value}).secret("JOBS_LINK_KEY") == value


def test_no_stack_holds_another_fast(stacks: Stacks) -> None:
    """Nothing is exported, so each can be deployed by itself, and a secret can be made anew."""
    for template in stacks.values():
        assert "Fn::ImportValue" not in json.dumps(template)
        assert not any("Export" in one for one in template.get("Outputs", {}).values())


LOOKS_SECRET = re.compile(
    r"\bsig_\w|whsec_\w|\bre_[A-Za-z0-9]{8}|postgres(?:ql)?://|eyJ|BEGIN [A-Z ]*PRIVATE|resolve:secretsmanager"
)


def test_no_value_of_a_secret_is_in_a_template(stacks: Stacks) -> None:
    """Nor anything that looks like one, nor a reference that CloudFormation would fill in."""
    for template in stacks.values():
        assert LOOKS_SECRET.findall(json.dumps(template)) == []


def test_files_are_private_encrypted_and_end(template: Template) -> None:
    """Each folder after its time, as the package says it, and uploads that nobody ended after a day."""
    id_, bucket = only(template, "AWS::S3::Bucket")
    resource = template["Resources"][id_]
    assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"] == [
        {"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    ]
    rules = bucket["LifecycleConfiguration"]["Rules"]
    assert {one["Status"] for one in rules} == {"Enabled"}
    ends = {one["Prefix"]: one["ExpirationInDays"] for one in rules if "Prefix" in one}
    assert ends == {prefix: kept.days for prefix, kept in KEPT.items()}
    assert [one["AbortIncompleteMultipartUpload"] for one in rules if "Prefix" not in one] == [
        {"DaysAfterInitiation": 1}
    ]


@pytest.mark.parametrize("type_", ["AWS::S3::BucketPolicy", "AWS::SNS::TopicPolicy"])
def test_files_and_alerts_go_by_tls_only(template: Template, type_: str) -> None:
    """Who comes without is refused, whoever it is."""
    _, policy = only(template, type_)
    refusals = [one for one in policy["PolicyDocument"]["Statement"] if one["Effect"] == "Deny"]
    assert {"Bool": {"aws:SecureTransport": "false"}} in [one["Condition"] for one in refusals]
    assert all(one["Principal"] in ("*", {"AWS": "*"}) for one in refusals)


def test_alarms_of_this_account_may_tell_the_topic(template: Template) -> None:
    """A topic with a policy of its own has lost the one that would let them."""
    _, policy = only(template, "AWS::SNS::TopicPolicy")
    (grant,) = [one for one in policy["PolicyDocument"]["Statement"] if one["Effect"] == "Allow"]
    assert (grant["Principal"], grant["Action"]) == ({"Service": "cloudwatch.amazonaws.com"}, "sns:Publish")
    assert grant["Condition"] == {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}
    assert of_type(template, "AWS::SNS::Subscription") == {}


def test_app_services_are_given_a_policy_and_the_settings(template: Template) -> None:
    """The settings are those that this package reads, secrets by their ARNs; the policy reads the addresses and two
    secrets."""
    parameters = {one["Name"]: text(one["Value"]) for one in of_type(template, "AWS::SSM::Parameter").values()}
    layer, _ = only(template, "AWS::Lambda::LayerVersion")
    assert parameters["/jobs/prod/layer-arn"] == f"${{{layer}}}"
    settings: dict[str, str] = json.loads(parameters["/jobs/prod/settings"])
    secret = "arn:${AWS::Partition}:secretsmanager:${AWS::Region}:${AWS::AccountId}:secret:jobs/prod/"
    files, _ = only(template, "AWS::S3::Bucket")
    assert settings == {
        "JOBS_BUCKET": f"${{{files}}}",
        "JOBS_METRICS_NAMESPACE": "jobs/prod",
        "JOBS_SCHEDULE_PREFIX": "jobs-prod",
        "JOBS_URLS_PATH": "/jobs/prod/urls/",
        "QSTASH_PLAN": "free",
        "QSTASH_URL": "https://qstash.upstash.io",
        **{setting: f"{secret}{name}" for name, held in SECRETS.items() for setting in held},
    }
    assert settings.keys() <= {str(field.alias) for field in Settings.model_fields.values()}
    _, policy = only(template, "AWS::IAM::ManagedPolicy")
    assert text(policy["ManagedPolicyName"]) == "jobs-prod-enqueue-${AWS::Region}"
    may = {
        (action, text(to))
        for one in policy["PolicyDocument"]["Statement"]
        for action in listed(one["Action"])
        for to in listed(one["Resource"])
    }
    assert may == {
        ("ssm:GetParameter", f"{URLS}/layer-arn"),
        ("ssm:GetParameter", f"{URLS}/settings"),
        ("ssm:GetParametersByPath", f"{URLS}/urls"),
        ("ssm:GetParametersByPath", f"{URLS}/urls/*"),
        ("secretsmanager:GetSecretValue", f"{secret}database-??????"),
        ("secretsmanager:GetSecretValue", f"{secret}qstash-token-??????"),
    }


def test_former_layers_stay(template: Template) -> None:
    """An app service may still run with one."""
    id_, _ = only(template, "AWS::Lambda::LayerVersion")
    resource = template["Resources"][id_]
    assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == ("Retain", "Retain")


def migrations(template: Template) -> dict[str, str]:
    """The logical id of each part of the migrations."""
    return {one["Part"]: id_ for id_, one in of_type(template, "Custom::Migration").items()}


def test_migrations_run_before_and_after_the_functions(template: Template) -> None:
    """Whatever serves waits for the first part, and the second for whatever serves, with its address and permissions."""
    parts = migrations(template)
    assert parts.keys() == {"before", "after"}
    urls = of_type(template, "AWS::Lambda::Url")
    served = {one["TargetFunctionArn"]["Fn::GetAtt"][0] for one in urls.values()}
    assert served
    assert all(parts["before"] in depends(template, one) for one in served)
    permissions = of_type(template, "AWS::Lambda::Permission").keys()
    parameters = {id_ for id_, one in of_type(template, "AWS::SSM::Parameter").items() if "/urls/" in one["Name"]}
    assert served | urls.keys() | permissions | parameters <= depends(template, parts["after"])


def test_schedules_come_after_the_migrations_and_the_canary_last(template: Template) -> None:
    """So nothing is fired at functions that cannot answer yet."""
    after = migrations(template)["after"]
    schedules = of_type(template, "Custom::QStashSchedule").keys()
    assert all(after in depends(template, one) for one in schedules)
    probe, _ = only(template, "Custom::Canary")
    assert schedules <= depends(template, probe)


def test_a_step_waits_for_the_code_that_takes_it(template: Template) -> None:
    """A new handler is there before it is asked: directly, and not by way of what CDK puts before it."""
    for type_, name in (("Migration", "migrate"), ("QStashSchedule", "schedule"), ("Canary", "canary")):
        handler, _ = lambda_named(template, f"deployment-{name}")
        for id_ in of_type(template, f"Custom::{type_}"):
            assert handler in template["Resources"][id_]["DependsOn"]


def test_nothing_waits_for_itself(stacks: Stacks) -> None:
    """Whatever enqueues what: addresses are looked up, and never in a function's environment."""
    for template in stacks.values():
        assert [one for one in template["Resources"] if one in depends(template, one)] == []


def test_migrations_say_what_the_package_has(template: Template, built: Packages) -> None:
    """So CloudFormation asks again when there is a new revision."""
    for one in of_type(template, "Custom::Migration").values():
        assert (one["Head"], one["Starter"]) == (", ".join(heads(saas=False)), "false")
        assert (one["Database"], one["Resync"]) == ("dsn", "")
    _, step = lambda_named(template, "deployment-migrate")
    assert step["Handler"] == "infra.deployment.migrate.handler"
    assert environment(step)["DATABASE_URL"].endswith(":secret:jobs/prod/database")


def test_steps_end_before_what_waits_for_them(template: Template) -> None:
    """The handler first, then CDK's framework, then CloudFormation, so that the reason is seen and not only a timeout."""
    frameworks = {
        text(one["Environment"]["Variables"]["USER_ON_EVENT_FUNCTION_ARN"]): one["Timeout"]
        for one in of_type(template, "AWS::Lambda::Function").values()
        if "FunctionName" not in one
    }
    for type_, name in (("Migration", "migrate"), ("QStashSchedule", "schedule"), ("Canary", "canary")):
        handler, step = lambda_named(template, f"deployment-{name}")
        assert step["Timeout"] < frameworks[f"${{{handler}.Arn}}"]
        for one in of_type(template, f"Custom::{type_}").values():
            assert step["Timeout"] < int(one["ServiceTimeout"]) <= frameworks[f"${{{handler}.Arn}}"]


def test_each_declared_schedule_is_a_resource(template: Template) -> None:
    """What QStash is told is what `jobs schedules apply` would tell it, with the address that the deployment makes."""
    urls = {
        one["TargetFunctionArn"]["Fn::GetAtt"][0]: f"${{{id_}.FunctionUrl}}"
        for id_, one in of_type(template, "AWS::Lambda::Url").items()
    }
    address = {
        name: urls[lambda_named(template, name)[0]]
        for name in {one.job.options.name for one in SCHEDULES} | {"failure-callback"}
    }
    known = Settings(schedule_prefix="jobs-prod", jobs_urls={name: f"https://{name}.example" for name in address})
    declared = {one.id: one for one in schedule_changes.wanted_schedules(SCHEDULES, known)}
    made = {one["ScheduleId"]: one for one in of_type(template, "Custom::QStashSchedule").values()}
    assert made.keys() == declared.keys()
    for id_, one in made.items():
        message = declared[id_].message
        expected: dict[str, Any] = {
            "ScheduleId": id_,
            "Cron": declared[id_].cron,
            "Destination": address[message.label],
            "Body": message.body,
            "Label": message.label,
            "Retries": str(message.retries),
            "TimeoutSeconds": str(message.timeout_seconds),
            "FlowControlKey": message.flow_control["key"],
            "FlowControlParallelism": str(message.flow_control["parallelism"]),
            "FailureCallback": address["failure-callback"],
            "Owner": "jobs.prod.${AWS::AccountId}.${AWS::Region}",
            "Adopt": "false",
            "Resync": "",
        }
        if message.retry_delay is not None:
            expected["RetryDelay"] = message.retry_delay
        if "rate" in message.flow_control:
            expected |= {
                "FlowControlRate": str(message.flow_control["rate"]),
                "FlowControlPeriod": message.flow_control["period"],
            }
        given = {name: text(value) for name, value in one.items() if name not in {"ServiceToken", "ServiceTimeout"}}
        assert given == expected


def test_the_handlers_read_what_the_template_says(template: Template) -> None:
    """Each property arrives as text, and none is one that its handler does not know."""

    def given(type_: str) -> list[dict[str, str]]:
        return [
            {name: text(value) for name, value in one.items() if name not in {"ServiceToken", "ServiceTimeout"}}
            for one in of_type(template, f"Custom::{type_}").values()
        ]

    for type_, model, besides in (
        ("QStashSchedule", ScheduleProperties, {"Resync"}),
        ("Migration", MigrationProperties, {"Database", "Resync"}),
        ("Canary", CanaryProperties, set()),
    ):
        known = {to_pascal(name) for name in model.model_fields}
        assert all(one.keys() - besides <= known for one in given(type_))
        assert given(type_)
    known_urls = {one.job.options.name: "https://x.example" for one in SCHEDULES} | {
        "failure-callback": "https://f.example"
    }
    declared = {
        one.id: one.message
        for one in schedule_changes.wanted_schedules(
            SCHEDULES, Settings(schedule_prefix="jobs-prod", jobs_urls=known_urls)
        )
    }
    for one in given("QStashSchedule"):
        properties = ScheduleProperties.model_validate({name: value for name, value in one.items() if value != ""})
        wanted = declared[properties.schedule_id]
        message = properties.message
        assert (message.body, message.label, message.retries) == (wanted.body, wanted.label, wanted.retries)
        assert (message.timeout, dict(message.flow_control)) == (wanted.timeout, dict(wanted.flow_control))
    assert [MigrationProperties.model_validate(one).heads for one in given("Migration")] == [set(heads(saas=False))] * 2


def test_a_context_is_passed_on_to_the_steps(built: Packages) -> None:
    """To adopt schedules, to compare them and the tables once more, to bring the starter's, to tell somebody of alarms."""
    made = synthesised(
        built, adopt_schedules="true", resync="again", starter="true", alarm_email="ops@example.com", qstash_plan="payg"
    )["jobs-prod"]
    for one in of_type(made, "Custom::QStashSchedule").values():
        assert (one["Adopt"], one["Resync"]) == ("true", "again")
    for one in of_type(made, "Custom::Migration").values():
        assert (one["Head"], one["Starter"], one["Resync"]) == (", ".join(heads(saas=True)), "true", "again")
    _, subscription = only(made, "AWS::SNS::Subscription")
    assert (subscription["Protocol"], subscription["Endpoint"]) == ("email", "ops@example.com")
    _, step = lambda_named(made, "deployment-schedule")
    assert environment(step)["QSTASH_PLAN"] == "payg"


def test_a_deployment_ends_with_what_it_met(template: Template) -> None:
    """The addresses that people need, and what the migrations and the canary said."""
    outputs = {one["Description"]: text(one["Value"]) for one in template["Outputs"].values()}
    probe, _ = only(template, "Custom::Canary")
    assert outputs["What the canary job met"] == f"${{{probe}.Said}}"
    assert outputs["What the last migrations did"] == f"${{{migrations(template)['after']}.Said}}"
    assert {
        "Where webhook-ingress answers",
        "Where download answers",
        "Where failure-callback answers",
    } <= outputs.keys()
