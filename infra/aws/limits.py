"""What AWS and QStash allow, as far as a deployment can run into it, each with its source."""

from __future__ import annotations

from itertools import pairwise

WITHOUT_FUNCTION_URLS = frozenset(
    {
        "ap-south-2", "ap-southeast-4", "ap-southeast-5", "ca-west-1", "eu-central-2", "eu-south-2", "il-central-1",
        "me-central-1",
    }
)  # fmt: skip
"""Regions in which a Lambda function has no address of its own.
Source: https://docs.aws.amazon.com/lambda/latest/dg/urls-configuration.html"""

OTHER_PARTITIONS = ("cn-", "us-gov-", "us-iso", "eu-isoe-", "eusc-")
"""How regions begin whose ARNs, endpoints and services are others.
Source: https://docs.aws.amazon.com/whitepapers/latest/aws-fault-isolation-boundaries/partitions.html"""

MOST_TAGS = 50
"""Of one resource. Source: https://docs.aws.amazon.com/tag-editor/latest/userguide/best-practices-and-strats.html"""

MOST_SETTINGS = 1500
"""Bytes for plain settings. A function's variables may be 4 KB in all, and so may a parameter; names and ARNs take the rest.
Sources: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html,
https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html"""

LOG_RETENTION = (
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653,
)  # fmt: skip
"""The days for which CloudWatch can keep logs.
Source: https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html"""

SCHEDULES = {"free": 10}
"""The most active schedules of a QStash plan; the others charge for those beyond a thousand, and refuse none.
Source: https://upstash.com/pricing/qstash"""

LONGEST_FUNCTION_NAME = 64
"""Characters. Source: https://docs.aws.amazon.com/lambda/latest/api/API_CreateFunction.html"""

MOST_ACU = 256
"""Aurora capacity units of one instance.
Source: https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/aurora-serverless-v2.how-it-works.html"""

_CONNECTIONS = ((1, 189), (4, 823), (8, 1669), (16, 3360), (32, 5000))
"""`max_connections` of Aurora Serverless v2 for PostgreSQL, by the most capacity units that an instance may have."""

_CONNECTIONS_OF_A_SMALL_MINIMUM = 2000
"""The most there are when the least capacity is 0 or 0.5 units."""

_RESERVED_BY_POSTGRES = 13
"""`superuser_reserved_connections` (3), and what RDS keeps for itself and its monitoring."""


def connections(least: float, most: float) -> int:
    """How many connections of ours an Aurora Serverless v2 instance of so many capacity units takes, at the least.

    Between two rows of AWS's table the value is interpolated and rounded down, for the table is not linear at its end.
    Source: https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/aurora-serverless-v2.setting-capacity.html
    """
    allowed = _CONNECTIONS[-1][1]
    for (fewer, few), (more, many) in pairwise(_CONNECTIONS):
        if most <= more:
            allowed = int(few + (many - few) * (max(most, fewer) - fewer) / (more - fewer))
            break
    if least <= 0.5:
        allowed = min(allowed, _CONNECTIONS_OF_A_SMALL_MINIMUM)
    return allowed - _RESERVED_BY_POSTGRES
