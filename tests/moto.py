"""What moto's server keeps. Tests share one, each part of them in a region of its own; so it is never reset as a
whole, as `moto.mock_aws` would do it."""

from __future__ import annotations

from typing import Any

import boto3


def clear(url: str, region: str) -> None:
    """Take away the secrets, parameters, stacks and alarms of a region."""

    def client(service: str) -> Any:
        return boto3.client(
            service, endpoint_url=url, region_name=region, aws_access_key_id="test", aws_secret_access_key="test"
        )

    secrets, parameters, stacks, alarms = map(client, ("secretsmanager", "ssm", "cloudformation", "cloudwatch"))
    # Listed before anything is deleted: moto counts pages by place, and would pass over what moves up.
    held = secrets.get_paginator("list_secrets").paginate(IncludePlannedDeletion=True).build_full_result()
    for one in held["SecretList"]:
        secrets.delete_secret(SecretId=one["ARN"], ForceDeleteWithoutRecovery=True)
    named = parameters.get_paginator("describe_parameters").paginate().build_full_result()
    for one in named["Parameters"]:
        parameters.delete_parameter(Name=one["Name"])
    for one in stacks.describe_stacks()["Stacks"]:
        stacks.delete_stack(StackName=one["StackName"])
    if ringing := [one["AlarmName"] for one in alarms.describe_alarms()["MetricAlarms"]]:
        alarms.delete_alarms(AlarmNames=ringing)
