"""Each job type, and each folder without one, becomes one function that is what its options say."""

from __future__ import annotations

import re

import pytest
from aws_cdk import Stack
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns as sns

from infra.aws.alarms import Alarms
from infra.aws.app import new_app
from infra.aws.context import Context
from infra.aws.functions import WEB, Function, folders_of, functions_of
from infra.aws.served_function import WebFunction
from infra.aws.surroundings import Surroundings
from infra.stage import SECRETS, secret_of
from qstash_jobs.job import registry
from qstash_jobs.settings import Settings
from tests.conftest import ROOT
from tests.infra.conftest import Packages, Stacks, Template, synthesised
from tests.infra.reading import allowed, environment, lambda_named, listed, of_type, role_of, statements, text

FUNCTIONS = {one.name: one for one in functions_of((one.options for one in registry.contracts()), folders_of(ROOT))}
STEPS = ("deployment-migrate", "deployment-schedule", "deployment-canary")
SECRET = "arn:${AWS::Partition}:secretsmanager:${AWS::Region}:${AWS::AccountId}:secret:jobs/prod/"
URLS = "arn:${AWS::Partition}:ssm:${AWS::Region}:${AWS::AccountId}:parameter/jobs/prod/urls"

each = pytest.mark.parametrize("name", FUNCTIONS)


def test_every_folder_of_functions_is_deployed(template: Template) -> None:
    """With the deployment's own handlers and what CDK puts before them, and nothing else."""
    names = {one.get("FunctionName") for one in of_type(template, "AWS::Lambda::Function").values()}
    folders = {folder.replace("_", "-") for folder in folders_of(ROOT)}
    assert names - {None} == {f"jobs-prod-{name}" for name in folders | set(STEPS)}
    unnamed = [one for one in of_type(template, "AWS::Lambda::Function").values() if "FunctionName" not in one]
    assert [one["Description"].partition(" (")[0] for one in unnamed] == [
        "AWS CDK resource provider framework - onEvent"
    ] * 3


@each
def test_a_function_is_what_its_options_say(template: Template, name: str) -> None:
    """Its handler, time, memory and storage, on Python 3.13 and arm64, with the layer."""
    _, made = lambda_named(template, name)
    of = FUNCTIONS[name]
    assert (made["Handler"], made["Timeout"]) == (f"functions.{of.folder}.handler.handler", of.timeout.total_seconds())
    assert (made["MemorySize"], made["EphemeralStorage"]["Size"]) == (of.memory, of.ephemeral_storage)
    assert (made["Runtime"], made["Architectures"]) == ("python3.13", ["arm64"])
    (layer,) = of_type(template, "AWS::Lambda::LayerVersion")
    assert made["Layers"] == [{"Ref": layer}]
    assert "ReservedConcurrentExecutions" not in made
    assert "TracingConfig" not in made


@each
def test_a_function_s_address_may_be_called_by_anybody(template: Template, name: str) -> None:
    """By both permissions that this has needed since October 2025, and by no further one: the signature decides."""
    id_, _ = lambda_named(template, name)
    arn = {"Fn::GetAtt": [id_, "Arn"]}
    (url,) = [one for one in of_type(template, "AWS::Lambda::Url").values() if one["TargetFunctionArn"] == arn]
    assert url == {"AuthType": "NONE", "TargetFunctionArn": arn}
    permissions = [one for one in of_type(template, "AWS::Lambda::Permission").values() if one["FunctionName"] == arn]
    assert sorted(permissions, key=lambda one: str(one["Action"])) == [
        {"Action": "lambda:InvokeFunction", "FunctionName": arn, "InvokedViaFunctionUrl": True, "Principal": "*"},
        {
            "Action": "lambda:InvokeFunctionUrl",
            "FunctionName": arn,
            "FunctionUrlAuthType": "NONE",
            "Principal": "*",
        },
    ]


def test_nobody_may_call_what_has_no_address(template: Template) -> None:
    """The deployment's own functions are called by CDK's framework, whose role says so, and that by CloudFormation."""
    arns = {text(one["FunctionName"]) for one in of_type(template, "AWS::Lambda::Permission").values()}
    assert arns == {f"${{{lambda_named(template, name)[0]}.Arn}}" for name in FUNCTIONS}


@each
def test_a_function_s_address_is_published(template: Template, name: str) -> None:
    """In SSM, under the stage's path, by the function's name."""
    id_, _ = lambda_named(template, name)
    (url,) = [
        url
        for url, one in of_type(template, "AWS::Lambda::Url").items()
        if one["TargetFunctionArn"] == {"Fn::GetAtt": [id_, "Arn"]}
    ]
    parameters = {one["Name"]: text(one["Value"]) for one in of_type(template, "AWS::SSM::Parameter").values()}
    assert parameters[f"/jobs/prod/urls/{name}"] == f"${{{url}.FunctionUrl}}"


@pytest.mark.parametrize("name", [*FUNCTIONS, *STEPS])
def test_a_function_has_a_role_and_a_log_group_of_its_own(template: Template, name: str) -> None:
    """It writes JSON there, and may write nowhere else."""
    _, made = lambda_named(template, name)
    others = [one for one in of_type(template, "AWS::Lambda::Function").values() if one is not made]
    group = made["LoggingConfig"]["LogGroup"]["Ref"]
    assert made["LoggingConfig"] == {"LogFormat": "JSON", "LogGroup": {"Ref": group}}
    assert all(one["Role"] != made["Role"] and one["LoggingConfig"]["LogGroup"] != {"Ref": group} for one in others)
    assert {to for action, to in allowed(template, made) if action.startswith("logs:")} == {f"${{{group}.Arn}}"}
    assert template["Resources"][role_of(template, made)]["Properties"]["AssumeRolePolicyDocument"]["Statement"] == [
        {"Action": "sts:AssumeRole", "Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}}
    ]


def test_every_log_group_ends(template: Template) -> None:
    """After the days that the context says, CDK's own functions' too; `prod`'s stay when a function goes."""
    functions = of_type(template, "AWS::Lambda::Function")
    groups = of_type(template, "AWS::Logs::LogGroup")
    assert {one["LoggingConfig"]["LogGroup"]["Ref"] for one in functions.values()} == groups.keys()
    assert {one["RetentionInDays"] for one in groups.values()} == {90}
    assert {template["Resources"][one]["DeletionPolicy"] for one in groups} == {"RetainExceptOnCreate"}


@pytest.mark.parametrize("name", [*FUNCTIONS, *STEPS])
def test_a_function_may_read_exactly_the_secrets_that_it_is_told_of(template: Template, name: str) -> None:
    """By their names, with the six characters that Secrets Manager adds."""
    _, made = lambda_named(template, name)
    told = {value for value in environment(made).values() if ":secret:" in value}
    may = {to for action, to in allowed(template, made) if action == "secretsmanager:GetSecretValue"}
    assert may == {f"{arn}-??????" for arn in told}
    assert {one for one, _ in allowed(template, made) if one.startswith("secretsmanager:")} == {
        "secretsmanager:GetSecretValue"
    }


OF_EACH_JOB = {"signing-keys", "database"}
READS = {
    **{
        one.options.name: OF_EACH_JOB
        | ({"qstash-token"} if one.options.publishes else set())
        | {secret_of(setting) for setting in one.options.secrets}
        for one in registry.contracts()
    },
    "download": {"link-key"},
    "failure-callback": {"signing-keys", "database", "qstash-token", "resend"},
    "webhook-ingress": {"database", "qstash-token", "stripe-webhook", "resend-webhook", "custom-webhooks"},
    "deployment-migrate": {"database"},
    "deployment-schedule": {"qstash-token"},
    "deployment-canary": {"qstash-token", "database"},
}
"""Which secrets a function may read: a job type's as its contract says, where a wider option is seen in review; those of the
others, which have none, written down by hand."""


@pytest.mark.parametrize("name", [*FUNCTIONS, *STEPS])
def test_no_function_reads_more_than_it_needs(template: Template, name: str) -> None:
    """Only who publishes has the token; only who makes or follows links has their key."""
    _, made = lambda_named(template, name)
    may = {to for action, to in allowed(template, made) if action == "secretsmanager:GetSecretValue"}
    assert may == {f"{SECRET}{secret}-??????" for secret in READS[name]}


@each
def test_a_setting_that_is_a_secret_is_told_by_its_arn(template: Template, name: str) -> None:
    """Each of the settings that the secret holds is a variable, and both keys are in one."""
    _, made = lambda_named(template, name)
    told = {one: value for one, value in environment(made).items() if secret_of(one) is not None}
    assert told == {setting: f"{SECRET}{secret_of(setting)}" for secret in READS[name] for setting in SECRETS[secret]}


@each
def test_a_function_s_plain_settings_are_those_of_the_stage(template: Template, name: str) -> None:
    """Where QStash and the other functions are; the bucket and the topic only for who may touch them."""
    _, made = lambda_named(template, name)
    grants = FUNCTIONS[name].grants
    (bucket,), (topic,) = of_type(template, "AWS::S3::Bucket"), of_type(template, "AWS::SNS::Topic")
    assert {one: value for one, value in environment(made).items() if secret_of(one) is None} == {
        "JOBS_METRICS_NAMESPACE": "jobs/prod",
        "JOBS_SCHEDULE_PREFIX": "jobs-prod",
        "JOBS_URLS_PATH": "/jobs/prod/urls/",
        "QSTASH_PLAN": "free",
        "QSTASH_URL": "https://qstash.upstash.io",
        **({"JOBS_BUCKET": f"${{{bucket}}}"} if any(one.startswith("s3:") for one in grants) else {}),
        **({"JOBS_NOTIFY_TOPIC": f"${{{topic}}}"} if "sns:notifications" in grants else {}),
    }
    known = {str(field.alias) for field in Settings.model_fields.values()}
    assert environment(made).keys() <= known


@each
def test_a_function_finds_the_others_and_no_other_parameter(template: Template, name: str) -> None:
    """All addresses of the stage at once, by their path."""
    _, made = lambda_named(template, name)
    ssm = {(action, to) for action, to in allowed(template, made) if action.startswith("ssm:")}
    assert ssm == {("ssm:GetParametersByPath", URLS), ("ssm:GetParametersByPath", f"{URLS}/*")}


FOLDER = {"s3:exports": "exports/*", "s3:reports": "reports/*", "s3:tmp": "tmp/*"}
IN_A_FOLDER = {
    "s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:ListMultipartUploadParts", "s3:PutObject",
}  # fmt: skip


@each
def test_grants_open_what_they_say_and_no_more(template: Template, name: str) -> None:
    """A folder of the bucket, or all of it to read, or the topic."""
    _, made = lambda_named(template, name)
    (bucket,), (topic,) = of_type(template, "AWS::S3::Bucket"), of_type(template, "AWS::SNS::Topic")
    expected: set[tuple[str, str]] = set()
    prefixes: set[str | None] = set()
    for grant in FUNCTIONS[name].grants:
        if grant in FOLDER:
            expected |= {(action, f"${{{bucket}.Arn}}/{FOLDER[grant]}") for action in IN_A_FOLDER}
            prefixes.add(FOLDER[grant])
        elif grant == "s3:read":
            expected.add(("s3:GetObject", f"${{{bucket}.Arn}}/*"))
            prefixes.add(None)
        else:
            expected.add(("sns:Publish", f"${{{topic}}}"))
    if prefixes:
        expected.add(("s3:ListBucket", f"${{{bucket}.Arn}}"))
    assert {one for one in allowed(template, made) if one[0].startswith(("s3:", "sns:"))} == expected
    lists = [one for one in statements(template, role_of(template, made)) if "s3:ListBucket" in listed(one["Action"])]
    assert {one.get("Condition", {}).get("StringLike", {}).get("s3:prefix") for one in lists} == prefixes


def test_no_role_may_do_anything_else(template: Template) -> None:
    """What was not looked at above: no service but these, for anybody."""
    services = set()
    for made in of_type(template, "AWS::Lambda::Function").values():
        services |= {action.partition(":")[0] for action, _ in allowed(template, made)}
    assert services == {"lambda", "logs", "s3", "secretsmanager", "sns", "ssm"}


WITH_A_WILDCARD = {
    r"arn:.*:parameter/jobs/prod/urls/\*": "the addresses of the stage, which are read at once",
    r"\$\{Files\w+\.Arn\}/(exports/|reports/|tmp/)?\*": "files, whose names jobs make up",
    r"\$\{Deployment\w+Function\w+\.Arn\}:\*": "any version of the one handler behind CDK's framework",
}
"""The resources with a star that a role may have, each with its reason."""


def test_a_wildcard_is_one_of_few(stacks: Stacks) -> None:
    """No policy of any stack has the resource `*`, and no action is one."""
    for template in stacks.values():
        policies = [
            policy["PolicyDocument"]
            for role in of_type(template, "AWS::IAM::Role").values()
            for policy in role.get("Policies", [])
        ]
        policies += [one["PolicyDocument"] for one in of_type(template, "AWS::IAM::Policy").values()]
        policies += [one["PolicyDocument"] for one in of_type(template, "AWS::IAM::ManagedPolicy").values()]
        for statement in (one for policy in policies for one in policy["Statement"]):
            assert not any("*" in action for action in listed(statement["Action"])), statement
            starred = [to for to in map(text, listed(statement["Resource"])) if "*" in to]
            assert [to for to in starred if not any(re.fullmatch(one, to) for one in WITH_A_WILDCARD)] == []


@pytest.fixture(scope="module")
def busy(built: Packages) -> Template:
    """A stage with reserved concurrency and settings of its own, on x86_64."""
    other = Packages(built.layer, built.functions, built.deployment, "x86_64")
    return synthesised(
        other,
        stage="staging",
        app="acme",
        architecture="x86_64",
        reserved_concurrency="options",
        settings={"EMAIL_FROM": "Acme <hello@acme.example>"},
        tags={"team": "core"},
        log_retention_days=30,
        canary="off",
    )["acme-staging"]


@each
def test_concurrency_is_reserved_where_it_is_asked_for(busy: Template, name: str) -> None:
    """What a job type's options say is what QStash is told as well, so none is throttled."""
    _, made = lambda_named(busy, name, "acme-staging")
    assert made["ReservedConcurrentExecutions"] == FUNCTIONS[name].concurrency
    assert made["Architectures"] == ["x86_64"]
    assert environment(made)["EMAIL_FROM"] == "Acme <hello@acme.example>"
    assert {"Key": "team", "Value": "core"} in made["Tags"]


def test_another_stage_shares_no_name(built: Packages, template: Template) -> None:
    """So two stages fit into an account."""
    staging = synthesised(built, stage="staging")["jobs-staging"]
    names = [
        {str(one[key]) for one in of_type(part, type_).values() if key in one}
        for part in (staging, template)
        for type_, key in {
            "AWS::Lambda::Function": "FunctionName",
            "AWS::SSM::Parameter": "Name",
            "AWS::CloudWatch::Alarm": "AlarmName",
            "AWS::CloudWatch::Dashboard": "DashboardName",
            "AWS::IAM::ManagedPolicy": "ManagedPolicyName",
            "AWS::Lambda::LayerVersion": "LayerName",
        }.items()
    ]
    assert all(names)
    assert set().union(*names[:6]).isdisjoint(set().union(*names[6:]))


def test_what_is_not_prod_goes_with_its_logs(busy: Template) -> None:
    """After the days that the context says, or with the stage."""
    groups = [one for one in busy["Resources"].values() if one["Type"] == "AWS::Logs::LogGroup"]
    assert {(one["Properties"]["RetentionInDays"], one["DeletionPolicy"]) for one in groups} == {(30, "Delete")}


def test_the_canary_can_be_left_out(busy: Template) -> None:
    """With its function; the rest stands."""
    assert of_type(busy, "Custom::Canary") == {}
    assert "acme-staging-deployment-canary" not in {
        one.get("FunctionName") for one in of_type(busy, "AWS::Lambda::Function").values()
    }


def test_a_web_function_can_be_for_those_whom_iam_knows(built: Packages) -> None:
    """As a dashboard will be: its address asks for AWS_IAM, and nobody is let in without a permission of their own."""
    context = Context.read({"stage": "prod"})
    stack = Stack(new_app(), "Alone")
    topic = sns.Topic(stack, "Alerts")
    around = Surroundings(
        context=context,
        built=built,
        layer=lambda_.LayerVersion(stack, "Layer", code=lambda_.Code.from_asset(str(built.layer))),
        bucket=s3.Bucket(stack, "Files"),
        topic=topic,
    )
    desk = Function(name=WEB[0].name, secrets=("DATABASE_URL",), auth="AWS_IAM")
    WebFunction(stack, desk, around, Alarms(context=context, topic=topic))
    template: Template = stack.node.root.synth().get_stack_by_name("Alone").template  # type: ignore[attr-defined]
    assert [one["AuthType"] for one in of_type(template, "AWS::Lambda::Url").values()] == ["AWS_IAM"]
    assert of_type(template, "AWS::Lambda::Permission") == {}
