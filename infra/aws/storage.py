"""What outlives a deployment and is no database: the bucket of files, and the topic that tells people."""

from __future__ import annotations

import math

from aws_cdk import Aws, Duration, RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

from infra.aws.context import Context
from qstash_jobs.bucket import KEPT


def bucket(scope: Construct) -> s3.Bucket:
    """The files that jobs make. S3's own keys encrypt it: a key of KMS would cost a request for each file, and the links
    to files are made by a function that would need the key too."""
    rules = [
        s3.LifecycleRule(
            id=f"{prefix.rstrip('/')} end after {kept.days} days", prefix=prefix, expiration=Duration.days(kept.days)
        )
        for prefix, kept in KEPT.items()
    ]
    rules.append(
        s3.LifecycleRule(id="uploads that nobody ended", abort_incomplete_multipart_upload_after=Duration.days(1))
    )
    return s3.Bucket(
        scope,
        "Files",
        block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
        encryption=s3.BucketEncryption.S3_MANAGED,
        enforce_ssl=True,
        minimum_tls_version=1.2,
        lifecycle_rules=rules,
        object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
        removal_policy=RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE,
    )


def topic(scope: Construct, context: Context) -> sns.Topic:
    """Alarms and failures for good; unencrypted at rest, since CloudWatch cannot publish under SNS's own key, and neither
    carries data of anybody."""
    made = sns.Topic(scope, "Alerts", display_name=f"{context.names.prefix} alerts"[:100], enforce_ssl=True)
    # A policy of one's own, here the demand for TLS, takes the place of the one that lets the account's alarms publish.
    made.add_to_resource_policy(
        iam.PolicyStatement(
            sid="AlarmsOfThisAccount",
            principals=[iam.ServicePrincipal("cloudwatch.amazonaws.com")],
            actions=["sns:Publish"],
            resources=[made.topic_arn],
            conditions={"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}},
        )
    )
    if context.alarm_email is not None:
        made.add_subscription(subscriptions.EmailSubscription(context.alarm_email))
    return made


assert all(kept.days == math.ceil(kept.total_seconds() / 86_400) for kept in KEPT.values()), "S3 counts whole days"
