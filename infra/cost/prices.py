"""Prices, as data: what each costs, where that is written, and when it was read there.

They are list prices in US dollars, of AWS in us-east-1 and before tax; other regions are up to a quarter dearer. They were
read in stored copies of the pages that are named, without access to the live ones: check before relying on them. Those
that are marked `from_memory` were not found in such a copy at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

READ = date(2026, 11, 25)

_LAMBDA = "https://aws.amazon.com/lambda/pricing/"
_CLOUDWATCH = "https://aws.amazon.com/cloudwatch/pricing/"
_SECRETS = "https://aws.amazon.com/secrets-manager/pricing/"
_S3 = "https://aws.amazon.com/s3/pricing/"
_AURORA = "https://aws.amazon.com/rds/aurora/pricing/"
_VPC = "https://aws.amazon.com/vpc/pricing/"
_PROXY = "https://aws.amazon.com/rds/proxy/pricing/"
_QSTASH = "https://upstash.com/pricing/qstash"


@dataclass(frozen=True, kw_only=True)
class Price:
    """What `per` units of something cost."""

    usd: float
    per: float = 1.0
    unit: str
    source: str
    """Where the seller writes it."""
    copy: str = ""
    """The stored page in which it was read, where that is another."""
    free: float = 0.0
    """Units that cost nothing each month, in an account that uses them for nothing else."""
    from_memory: bool = False
    read: date = READ

    def list_usd(self, quantity: float) -> float:
        """Without what is free."""
        return quantity / self.per * self.usd

    def due_usd(self, quantity: float) -> float:
        """With it."""
        return self.list_usd(max(0.0, quantity - self.free))


_CLOUDBURN = "https://cloudburn.io/blog/amazon-cloudwatch-pricing"
_CHIPR = "https://cloudchipr.com/blog/aws-lambda-pricing"
_NAT = "https://cloudburn.io/blog/aws-nat-gateway-pricing"
_DEVNOTES = "https://devnotes.tech/understanding-aws-s3-pricing-a-complete-cost-breakdown-with-examples"
_ACU = "https://c3x.dev/blog/aws-aurora-serverless-v2-cost/"
_EVANGELIST = "https://raw.githubusercontent.com/api-evangelist/qstash/refs/heads/main/plans/qstash-plans-pricing.yml"

QSTASH_MESSAGE = Price(usd=1.00, per=100_000, unit="message", source=_QSTASH, copy=_EVANGELIST)
"""Pay as you go. Each attempt at a delivery is a message, a callback too:
https://upstash.com/docs/qstash/features/callbacks"""

QSTASH_FREE_PER_DAY = 1_000
"""Messages of the free plan: https://upstash.com/pricing/qstash"""

LAMBDA_REQUEST = Price(usd=0.20, per=1_000_000, unit="request", source=_LAMBDA, copy=_CHIPR, free=1_000_000)
LAMBDA_ARM64 = Price(usd=13.3334, per=1_000_000, unit="GB-second", source=_LAMBDA, copy=_CHIPR, free=400_000)
LAMBDA_X86_64 = Price(usd=16.6667, per=1_000_000, unit="GB-second", source=_LAMBDA, copy=_CHIPR, free=400_000)
"""Both: of the first 6 thousand million GB-seconds in a month. The time in which an environment starts is billed too:
https://aws.amazon.com/blogs/compute/aws-lambda-standardizes-billing-for-init-phase"""
LAMBDA_STORAGE = Price(usd=0.0309, per=1_000_000, unit="storage GB-second", source=_LAMBDA, from_memory=True)
"""Of what is configured beyond LAMBDA_FREE_STORAGE_MB. The copies of AWS's page have everything but the figure."""
LAMBDA_FREE_STORAGE_MB = 512

LOGS_INGESTED = Price(usd=0.50, unit="GB", source=_CLOUDWATCH, copy=_CLOUDBURN, free=5)
METRIC = Price(usd=0.30, unit="metric", source=_CLOUDWATCH, copy="https://signoz.io/guides/cloudwatch-pricing", free=10)
ALARM = Price(usd=0.10, unit="alarm metric", source=_CLOUDWATCH, copy=_CLOUDWATCH, free=10, from_memory=True)
"""The copy of AWS's page has the ten that are free, and not what the others cost."""
DASHBOARD = Price(
    usd=3.00,
    unit="dashboard",
    source=_CLOUDWATCH,
    copy="https://www.factualminds.com/blog/amazon-cloudwatch-pricing-metrics-logs-alarms-dashboards/",
    free=3,
)

_HIVEBOOK = "https://hivebook.wiki/wiki/aws-secrets-manager-rotated-secrets-dynamic-db-credentials-kms"
SECRET = Price(usd=0.40, unit="secret", source=_SECRETS, copy=_HIVEBOOK)
SECRET_CALL = Price(usd=0.05, per=10_000, unit="call", source=_SECRETS, copy=_HIVEBOOK)

S3_STORED = Price(usd=0.023, unit="GB-month", source=_S3, copy=_DEVNOTES)
S3_PUT = Price(usd=0.005, per=1_000, unit="PUT", source=_S3, copy=_DEVNOTES)
S3_GET = Price(usd=0.0004, per=1_000, unit="GET", source=_S3, copy=_DEVNOTES)

AURORA_CAPACITY = Price(usd=0.12, unit="ACU-hour", source=_AURORA, copy=_ACU)
AURORA_STORED = Price(
    usd=0.10, unit="GB-month", source=_AURORA, copy="https://awsnegotiations.com/blog/aurora-serverless-v2-pricing.html"
)
AURORA_IO = Price(
    usd=0.20,
    per=1_000_000,
    unit="I/O request",
    source=_AURORA,
    copy="https://www.jusdb.com/blog/aws-rds-vs-aurora-vs-serverless-cost-comparison",
)
AURORA_BACKUP = Price(
    usd=0.021, unit="GB-month of backups", source=_AURORA, copy="https://www.cloudexmachina.io/blog/aws-aurora-pricing"
)
"""Both are named and not counted: they depend on what else is in the database. A day's worth of backups is free."""
PROXY = Price(usd=0.015, unit="ACU-hour", source=_PROXY, from_memory=True)
"""Of at least eight capacity units, whatever the database has."""
PROXY_LEAST_ACU = 8
NAT_HOUR = Price(usd=0.045, unit="hour", source=_VPC, copy=_NAT)
NAT_PROCESSED = Price(usd=0.045, unit="GB", source=_VPC, copy=_NAT)
PUBLIC_IPV4_HOUR = Price(usd=0.005, unit="hour", source=_VPC, copy=_NAT)
