"""Aurora Serverless v2 for PostgreSQL in a VPC of its own: what `-c database=aurora` adds.

Functions run in the private subnets and reach QStash, Resend and AWS by one NAT gateway; each zone having its own would
double what the standing cost is mostly made of.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aws_cdk import Duration, RemovalPolicy, SecretValue, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_rds as rds
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from infra.aws import plain_function
from infra.aws.context import Context
from infra.aws.errors import CannotDeploy
from infra.aws.functions import Function
from infra.aws.limits import connections
from infra.aws.secrets_stack import DATABASE_USER
from infra.aws.surroundings import Network

ENGINE = rds.AuroraPostgresEngineVersion.VER_17_5
NAME = "jobs"
PORT = 5432

HEADROOM = 10
"""Connections for migrations, the canary, and a person who looks."""


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
        secret = stage.secret("database")
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
                description="Connections only by TLS",
                parameters={"rds.force_ssl": "1"},
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
        host = None
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
                idle_client_timeout=Duration.minutes(15),
            )
            between.add_ingress_rule(functions, ec2.Port.tcp(PORT), "Functions")
            host = proxy.endpoint
        else:
            guard.add_ingress_rule(functions, ec2.Port.tcp(PORT), "Functions")
        self.network = Network(vpc=vpc, security_group=functions, database_host=host)


def check_connections(context: Context, functions: Iterable[Function]) -> None:
    """Raises `CannotDeploy` when the functions could open more connections than Aurora takes."""
    if context.database != "aurora":
        return
    allowed = connections(context.aurora_min_acu, context.aurora_max_acu)
    if context.reserved_concurrency == "none":
        if context.database_proxy:
            return
        raise CannotDeploy(
            f"Nothing limits how many functions run at once, and Aurora takes {allowed:,} connections at "
            f"{context.aurora_max_acu:g} units: say -c reserved_concurrency=options, or -c database_proxy=true."
        )
    wanted = sum(one.concurrency for one in functions if one.needs_database) + HEADROOM
    if wanted > allowed:
        raise CannotDeploy(
            f"The functions may open {wanted:,} connections at once (the sum of their concurrency, and {HEADROOM} for "
            f"deployments and people), and Aurora takes {allowed:,} at {context.aurora_max_acu:g} units: raise "
            "-c aurora_max_acu=…, or lower the concurrency in the job types' options."
        )
