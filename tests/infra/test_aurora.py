"""The database that `-c database=aurora` makes, and the functions in its network."""

from __future__ import annotations

import json
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from infra.aws.app import add_stacks, new_app
from infra.aws.context import Context
from infra.aws.functions import folders_of, functions_of
from qstash_jobs.job import registry
from qstash_jobs.settings import RDS_CA
from tests.conftest import ROOT
from tests.infra.conftest import Packages, Stacks, Template, synthesised
from tests.infra.reading import allowed, environment, lambda_named, listed, of_type, statements, text

WITH_DATABASE = {
    one.name
    for one in functions_of((one.options for one in registry.contracts()), folders_of(ROOT))
    if one.needs_database
} | {"deployment-migrate", "deployment-canary"}
WITHOUT = {"download", "deployment-schedule"}


@pytest.fixture(scope="module")
def plain(built: Packages) -> Stacks:
    """With reserved concurrency in the place of a proxy, and not in `prod`."""
    return synthesised(
        built,
        stage="staging",
        database="aurora",
        reserved_concurrency="options",
        aurora_min_acu="1",
        aurora_max_acu="4",
    )


def database(stacks: Stacks, stage: str = "prod") -> Template:
    return stacks[f"jobs-{stage}-database"]


def test_the_database_comes_between_secrets_and_functions(aurora: Stacks) -> None:
    """Its password is among the secrets, and the functions run in its network."""
    assert list(aurora) == ["jobs-prod-secrets", "jobs-prod-database", "jobs-prod"]


def test_the_cluster_is_kept_and_encrypted(aurora: Stacks) -> None:
    """A snapshot is what stays of it, `prod` refuses to delete it at all."""
    ((id_, cluster),) = of_type(database(aurora), "AWS::RDS::DBCluster").items()
    resource = database(aurora)["Resources"][id_]
    assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == ("Snapshot", "Snapshot")
    assert (cluster["DeletionProtection"], cluster["StorageEncrypted"], cluster["CopyTagsToSnapshot"]) == (
        True,
        True,
        True,
    )
    assert (cluster["Engine"], cluster["BackupRetentionPeriod"]) == ("aurora-postgresql", 14)
    assert int(cluster["EngineVersion"].split(".")[0]) >= 16
    assert cluster["ServerlessV2ScalingConfiguration"] == {"MinCapacity": 0.5, "MaxCapacity": 8}
    (instance,) = of_type(database(aurora), "AWS::RDS::DBInstance").values()
    assert (instance["DBInstanceClass"], instance["PubliclyAccessible"]) == ("db.serverless", False)


def test_capacity_and_protection_are_the_context_s(plain: Stacks) -> None:
    """In a stage that is not `prod`."""
    (cluster,) = of_type(database(plain, "staging"), "AWS::RDS::DBCluster").values()
    assert cluster["ServerlessV2ScalingConfiguration"] == {"MinCapacity": 1, "MaxCapacity": 4}
    assert cluster["DeletionProtection"] is False


def test_connections_are_by_tls_only(aurora: Stacks) -> None:
    """At the cluster and at the proxy."""
    ((id_, group),) = of_type(database(aurora), "AWS::RDS::DBClusterParameterGroup").items()
    assert group["Parameters"] == {
        "rds.force_ssl": "1",
        "idle_session_timeout": "900000",
        "tcp_keepalives_idle": "60",
    }
    (cluster,) = of_type(database(aurora), "AWS::RDS::DBCluster").values()
    assert cluster["DBClusterParameterGroupName"] == {"Ref": id_}
    (proxy,) = of_type(database(aurora), "AWS::RDS::DBProxy").values()
    assert (proxy["RequireTLS"], proxy["EngineFamily"]) == (True, "POSTGRESQL")


def test_the_password_is_made_up_and_never_seen(aurora: Stacks) -> None:
    """The secret makes it, the cluster takes it by name, and what RDS adds says where the database is."""
    secrets = of_type(aurora["jobs-prod-secrets"], "AWS::SecretsManager::Secret").values()
    (made,) = [one["GenerateSecretString"] for one in secrets if one["Name"] == "jobs/prod/aurora"]
    assert (made["SecretStringTemplate"], made["GenerateStringKey"]) == ('{"username": "jobs"}', "password")
    assert {"/", "@", '"', " "} <= set(made["ExcludeCharacters"])  # what RDS refuses
    (cluster,) = of_type(database(aurora), "AWS::RDS::DBCluster").values()
    assert cluster["MasterUsername"] == "jobs"
    assert cluster["MasterUserPassword"] == "{{resolve:secretsmanager:jobs/prod/aurora:SecretString:password::}}"
    ((attached, one),) = of_type(database(aurora), "AWS::SecretsManager::SecretTargetAttachment").items()
    assert (one["SecretId"], one["TargetType"]) == ("jobs/prod/aurora", "AWS::RDS::DBCluster")
    (proxy,) = of_type(database(aurora), "AWS::RDS::DBProxy").values()
    assert proxy["Auth"] == [{"AuthScheme": "SECRETS", "IAMAuth": "DISABLED", "SecretArn": {"Ref": attached}}]


def way_in(template: Template) -> set[tuple[str, str]]:
    """Which security group lets which other in, at Postgres's port."""
    rules = of_type(template, "AWS::EC2::SecurityGroupIngress").values()
    groups = of_type(template, "AWS::EC2::SecurityGroup")
    names = {f"${{{id_}.GroupId}}": one["GroupDescription"] for id_, one in groups.items()}
    assert all("SecurityGroupIngress" not in one for one in groups.values())
    assert {text(one["IpProtocol"]) for one in rules} == {"tcp"}
    assert all(text(one["FromPort"]) == text(one["ToPort"]) for one in rules)
    assert {text(one["FromPort"]).partition(".")[2] or text(one["FromPort"]) for one in rules} <= {
        "5432",
        "Endpoint.Port}",
    }
    return {(names[text(one["SourceSecurityGroupId"])], names[text(one["GroupId"])]) for one in rules}


def test_only_the_functions_reach_the_database(aurora: Stacks, plain: Stacks) -> None:
    """Directly, and by the proxy if there is one: those of the deployment before do not know it yet."""
    assert way_in(database(aurora)) == {
        ("Functions that reach the database", "The database"),
        ("Functions that reach the database", "The proxy"),
        ("The proxy", "The database"),
    }
    assert way_in(database(plain, "staging")) == {("Functions that reach the database", "The database")}


def test_the_database_s_log_ends(aurora: Stacks) -> None:
    """RDS would keep it for ever."""
    ((id_, group),) = of_type(database(aurora), "AWS::Logs::LogGroup").items()
    assert (group["LogGroupName"], group["RetentionInDays"]) == ("/aws/rds/cluster/jobs-prod/postgresql", 90)
    ((cluster, one),) = of_type(database(aurora), "AWS::RDS::DBCluster").items()
    assert (one["DBClusterIdentifier"], one["EnableCloudwatchLogsExports"]) == ("jobs-prod", ["postgresql"])
    assert id_ in listed(database(aurora)["Resources"][cluster]["DependsOn"])


@pytest.mark.parametrize("name", sorted(WITH_DATABASE))
def test_functions_with_a_database_are_in_its_network(aurora: Stacks, plain: Stacks, name: str) -> None:
    """They verify its certificate by the file in the layer, and find it where the database's stack says."""
    _, made = lambda_named(aurora["jobs-prod"], name)
    assert len(made["VpcConfig"]["SubnetIds"]) == 2
    assert all("FunctionsSubnet" in text(one) for one in made["VpcConfig"]["SubnetIds"])
    assert environment(made)["JOBS_DATABASE_CA"] == "rds"
    parameter = environment(made)["JOBS_DATABASE_HOST"].removeprefix("${").removesuffix("}")
    assert aurora["jobs-prod"]["Parameters"][parameter]["Default"] == "/jobs/prod/database-host"
    assert environment(made)["DATABASE_URL"].endswith(":secret:jobs/prod/aurora")


@pytest.mark.parametrize(
    ("proxy", "host"), [(True, "${ProxyCB0DFB71.Endpoint}"), (False, "${ClusterEB0386A7.Endpoint.Address}")]
)
def test_the_database_s_stack_says_where_it_is(aurora: Stacks, plain: Stacks, proxy: bool, host: str) -> None:
    """The proxy, if there is one."""
    template = database(aurora) if proxy else database(plain, "staging")
    (one,) = of_type(template, "AWS::SSM::Parameter").values()
    assert text(one["Value"]) == host


def test_zones_are_asked_of_cloudformation(built: Packages) -> None:
    """So a named account and region need no credentials at synth."""
    app = new_app()
    named = {"account": "123456789012", "region": "eu-central-1", "reserved_concurrency": "options"}
    add_stacks(app, Context.read({"stage": "prod", "database": "aurora", **named}), built, root=ROOT)
    assembly = app.synth()
    assert "missing" not in json.loads((Path(assembly.directory) / "manifest.json").read_text())
    subnets = of_type(assembly.get_stack_by_name("jobs-prod-database").template, "AWS::EC2::Subnet").values()
    assert {json.dumps(one["AvailabilityZone"]) for one in subnets} == {
        json.dumps({"Fn::Select": [index, {"Fn::GetAZs": ""}]}) for index in (0, 1)
    }


@pytest.mark.parametrize("name", sorted(WITHOUT))
def test_functions_without_a_database_stay_outside(aurora: Stacks, name: str) -> None:
    """They need no network interface, and start sooner."""
    _, made = lambda_named(aurora["jobs-prod"], name)
    assert "VpcConfig" not in made
    assert not any(action.startswith("ec2:") for action, _ in allowed(aurora["jobs-prod"], made))


def test_only_network_interfaces_are_allowed_on_everything(aurora: Stacks) -> None:
    """Lambda asks for that, and for nothing else."""
    template = aurora["jobs-prod"]
    starred = [
        (role, one["Sid"], {action.partition(":")[0] for action in listed(one["Action"])})
        for role in of_type(template, "AWS::IAM::Role")
        for one in statements(template, role)
        if "*" in map(text, listed(one["Resource"]))
    ]
    roles = {lambda_named(template, name)[1]["Role"]["Fn::GetAtt"][0] for name in WITH_DATABASE}
    assert {role for role, _, _ in starred} == roles
    assert {sid for _, sid, _ in starred} == {"NetworkInterfaces"}
    assert all(services == {"ec2"} for _, _, services in starred)


def test_the_authorities_of_rds_are_in_the_layer() -> None:
    """Each is one, and is good for another year; those of the proxy are among them."""
    context = ssl.create_default_context(cafile=RDS_CA)
    pieces = RDS_CA.read_text().count("BEGIN CERTIFICATE")
    assert context.cert_store_stats() == {"x509": pieces, "crl": 0, "x509_ca": pieces}
    names = set()
    for one in context.get_ca_certs():
        ends = datetime.fromtimestamp(ssl.cert_time_to_seconds(str(one["notAfter"])), UTC)
        assert ends > datetime.now(UTC) + timedelta(days=365), one["subject"]
        names |= {value for part in one["subject"] for key, value in part if key == "commonName"}  # type: ignore[misc]
    assert {"Amazon RDS eu-central-1 Root CA RSA2048 G1", "Amazon RDS us-east-1 Root CA ECC384 G1"} <= names
    assert {"Amazon Root CA 1", "Amazon Root CA 4"} <= names


def test_a_stage_that_moves_to_aurora_is_migrated(aurora: Stacks) -> None:
    """The same revisions in another database: CloudFormation sees by the kind of it that they are to run there."""
    assert [one["Database"] for one in of_type(aurora["jobs-prod"], "Custom::Migration").values()] == ["aurora"] * 2
