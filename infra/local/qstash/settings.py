"""What can be chosen when the server starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

DEVELOPMENT_TOKEN = "eyJVc2VySUQiOiJkZWZhdWx0VXNlciIsIlBhc3N3b3JkIjoiZGVmYXVsdFBhc3N3b3JkIn0="  # noqa: S105
"""The documented token of QStash's own development server, so that clients set up for that one work here."""

DEVELOPMENT_CURRENT_KEY = "sig_7kYjw48mhY7kAjqNGcy6cr29RJ6r"
DEVELOPMENT_NEXT_KEY = "sig_5ZB6DVzB1wjE8S6rZ7eenA8Pdnhs"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a plan of the service allows."""

    max_retries: int
    default_retries: int
    max_delay_seconds: int
    max_message_bytes: int
    max_response_seconds: int
    """The longest an attempt may take, whatever timeout its publisher asked for."""
    parallelism: int
    """Attempts on their way at once, over all destinations."""
    queue_parallelism: int
    queues: int
    schedules: int
    url_groups: int
    endpoints: int
    """In one URL group."""
    messages_per_day: int | None
    """Between one midnight (UTC) and the next; None for no end."""
    retention_seconds: int
    """How long settled messages, their events and the dead letters are kept."""


MEBIBYTE = 1024 * 1024
DAY_SECONDS = 86_400

LIMITS: Mapping[str, Limits] = MappingProxyType(
    {
        "free": Limits(
            max_retries=5,
            default_retries=3,
            max_delay_seconds=7 * DAY_SECONDS,
            max_message_bytes=MEBIBYTE,
            max_response_seconds=15 * 60,
            parallelism=10,
            queue_parallelism=2,
            queues=10,
            schedules=10,
            url_groups=1,
            endpoints=100,
            messages_per_day=1_000,
            retention_seconds=3 * DAY_SECONDS,
        ),
        "payg": Limits(
            max_retries=5,
            default_retries=3,
            max_delay_seconds=365 * DAY_SECONDS,
            max_message_bytes=10 * MEBIBYTE,
            max_response_seconds=2 * 3600,
            parallelism=100,
            queue_parallelism=100,
            queues=100,
            schedules=1_000,
            url_groups=100,
            endpoints=100,
            messages_per_day=None,
            retention_seconds=7 * DAY_SECONDS,
        ),
    }
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One server's configuration."""

    database: Path | None = None
    """The SQLite file that survives a restart; None keeps everything in memory."""
    token: str = DEVELOPMENT_TOKEN
    read_only_token: str | None = None
    """Another token, which may look and change nothing."""
    burst_limit: int | None = None
    """Management requests in a second, as the service limits them; None for no limit, since its figure is not known."""
    current_signing_key: str = DEVELOPMENT_CURRENT_KEY
    """The key of a new database; one that exists keeps its own, which may have been rotated."""
    next_signing_key: str = DEVELOPMENT_NEXT_KEY
    time_scale: float = 1.0
    """How many times faster than real time delays, backoff and cron run."""
    limits: Limits = field(default_factory=lambda: LIMITS["payg"])
    quota_status: int = 412
    """The status of an answer about a plan's limit; which one the service uses is not documented."""
    allow_remote: bool = False
    """Deliver to hosts other than this machine too."""
    host_map: Mapping[str, str] = field(default_factory=dict)
    """Published base address -> the address it is delivered to. Applied at delivery only."""
    region: str = "EU-CENTRAL-1"
    grace_seconds: float = 10.0
    """How long a settled message can still be read at /v2/messages, in real time."""

    def __post_init__(self) -> None:
        if not 0 < self.time_scale <= 1_000_000:
            raise ValueError(f"the time scale must be above 0 and at most 1000000, not {self.time_scale}")
        if not self.token or self.read_only_token in ("", self.token):
            raise ValueError("the token must not be empty, and the read-only token another one")
        if self.burst_limit is not None and self.burst_limit < 1:
            raise ValueError(f"the burst limit must be at least 1, not {self.burst_limit}")
