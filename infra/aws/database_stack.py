"""Aurora Serverless v2 for PostgreSQL in a VPC of its own: what `-c database=aurora` adds.

Functions run in the private subnets and reach QStash, Resend and AWS by one NAT gateway; each zone having its own would
double what the standing cost is mostly made of.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aws_cdk import CfnOutput, Duration, Fn, RemovalPolicy, SecretValue, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_rds as rds
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from infra.aws import plain_function
from infra.aws.context import Context
from infra.aws.errors import CannotDeploy
from infra.aws.functions import Function
from infra.aws.limits import connections
from infra.aws.secrets_stack import DATABASE_USER
from infra.aws.surroundings import Network
from infra.stage import AURORA

ENGINE = rds.AuroraPostgresEngineVersion.VER_17_5
NAME = "jobs"
PORT = 5432

HEADROOM = 10
"""Connections for migrations, the canary, and a person who looks."""

OF_ONE_RUN = 2
"""Connections: one for statements of this package, one for those of a handler, of the relay or of a long transaction."""

IDLE = Duration.minutes(15)
"""After this an idle connection is closed: a frozen function cannot, and one that was replaced never will."""


class DatabaseStack(Stack):
    """The database, its network, and perhaps a proxy."""

    def __init__(self, scope: Construct, context: Context, **options: Any) -> None:
        stage = context.names
        super().__init__(scope, "Database", stack_name=stage.stack("database"), **options)
        vpc = ec2.Vpc(
            self,
            "Vpc",
            max_azs=2,
            nat_gateways=1,
            gateway_endpoints={  # files cost nothing by this way, and by the NAT gateway they would
                "S3": ec2.GatewayVpcEndpointOptions(service=ec2.GatewayVpcEndpointAwsService.S3)
            },
            restrict_default_security_group=False,  # it would take a function of CDK's own with rights on all groups
            subnet_configuration=[
                ec2.SubnetConfiguration(name="Public", subnet_type=ec2.SubnetType.PUBLIC, cidr_mask=24),
                ec2.SubnetConfiguration(name="Functions", subnet_type=ec2.SubnetType.PRIVATE_WITH_EGRESS, cidr_mask=20),
                ec2.SubnetConfiguration(name="Database", subnet_type=ec2.SubnetType.PRIVATE_ISOLATED, cidr_mask=24),
            ],
        )
        functions = ec2.SecurityGroup(self, "Functions", vpc=vpc, description="Functions that reach the database")
        guard = ec2.SecurityGroup(self, "Guard", vpc=vpc, description="The database", allow_all_outbound=False)
        secret = stage.secret(AURORA)
        # RDS would make this group itself, and keep it for ever.
        log = plain_function.log_group(
            self,
            context,
            "Log",
            name=f"/aws/rds/cluster/{stage.prefix}/postgresql",
            removal=RemovalPolicy.DESTROY,
        )
        engine = rds.DatabaseClusterEngine.aurora_postgres(version=ENGINE)
        cluster = rds.DatabaseCluster(
            self,
            "Cluster",
            engine=engine,
            cluster_identifier=stage.prefix,
            credentials=rds.Credentials.from_password(
                DATABASE_USER, SecretValue.secrets_manager(secret, json_field="password")
            ),
            default_database_name=NAME,
            port=PORT,
            writer=rds.ClusterInstance.serverless_v2("Writer", publicly_accessible=False),
            serverless_v2_min_capacity=context.aurora_min_acu,
            serverless_v2_max_capacity=context.aurora_max_acu,
            vpc=vpc,
            vpc_subnets=ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_ISOLATED),
            security_groups=[guard],
            parameter_group=rds.ParameterGroup(
                self,
                "Parameters",
                engine=engine,
                description="Connections only by TLS, and none that nobody uses",
                parameters={
                    "rds.force_ssl": "1",
                    "idle_session_timeout": str(round(IDLE.to_milliseconds())),
                    "tcp_keepalives_idle": "60",
                },
            ),
            storage_encrypted=True,
            backup=rds.BackupProps(retention=Duration.days(14 if context.is_prod else 7)),
            copy_tags_to_snapshot=True,
            deletion_protection=context.is_protected,
            removal_policy=RemovalPolicy.SNAPSHOT,
            cloudwatch_logs_exports=["postgresql"],
        )
        cluster.node.add_dependency(log)
        # Adds to the secret where the database is, and says the secret's whole ARN.
        attached = secretsmanager.CfnSecretTargetAttachment(
            self,
            "Attachment",
            secret_id=secret,
            target_id=cluster.cluster_identifier,
            target_type="AWS::RDS::DBCluster",
        )
        # With a proxy too: the functions use this way until they have changed over, and again if that fails.
        guard.add_ingress_rule(functions, ec2.Port.tcp(PORT), "Functions")
        host = cluster.cluster_endpoint.hostname
        if context.database_proxy:
            between = ec2.SecurityGroup(self, "ProxyGuard", vpc=vpc, description="The proxy", allow_all_outbound=False)
            proxy = rds.DatabaseProxy(
                self,
                "Proxy",
                proxy_target=rds.ProxyTarget.from_cluster(cluster),
                secrets=[secretsmanager.Secret.from_secret_complete_arn(self, "Secret", attached.ref)],
                db_proxy_name=stage.prefix,
                vpc=vpc,
                vpc_subnets=ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_ISOLATED),
                security_groups=[between],
                require_tls=True,
                idle_client_timeout=IDLE,
            )
            between.add_ingress_rule(functions, ec2.Port.tcp(PORT), "Functions")
            host = proxy.endpoint
        ssm.StringParameter(
            self,
            "Host",
            parameter_name=stage.database_host_parameter,
            string_value=host,
            description="Where Postgres is reached: the cluster, or the proxy before it",
        )
        self.network = Network(vpc=vpc, security_group=functions)
        for id_, value, description in (
            ("VpcId", vpc.vpc_id, "For app services that enqueue: the network"),
            (
                "AccessGroup",
                functions.security_group_id,
                "For app services that enqueue: who is in it reaches the database",
            ),
        ):
            CfnOutput(self, id_, value=value, description=description)

    @property
    def availability_zones(self) -> list[str]:
        """CloudFormation knows them; for an account with a name, CDK would ask AWS at synth."""
        return [Fn.select(index, Fn.get_azs()) for index in range(2)]


def check_connections(context: Context, functions: Iterable[Function]) -> None:
    """Raises `CannotDeploy` when the functions could open more connections than Aurora takes.

    A proxy makes no difference: it gives each of our connections one of Aurora's, as each sets its limits with SET.
    Source: https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/rds-proxy-pinning.html
    """
    if context.database != "aurora":
        return
    allowed = connections(context.aurora_min_acu, context.aurora_max_acu)
    if context.reserved_concurrency == "none":
        raise CannotDeploy(
            f"Nothing limits how many functions run at once, and Aurora takes {allowed:,} connections at "
            f"{context.aurora_max_acu:g} units: say -c reserved_concurrency=options."
        )
    at_once = sum(one.concurrency for one in functions if one.needs_database)
    wanted = at_once * OF_ONE_RUN * 2 + HEADROOM
    if wanted > allowed:
        raise CannotDeploy(
            f"The functions may have {wanted:,} connections: {at_once:,} run at once, each with {OF_ONE_RUN}, and after a "
            f"deployment as many are left of the former ones for {IDLE.to_minutes():g} minutes; {HEADROOM} are for "
            f"deployments and people. Aurora takes {allowed:,} at {context.aurora_max_acu:g} units: raise "
            "-c aurora_max_acu=…, or lower the concurrency in the job types' options."
        )
