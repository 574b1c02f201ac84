"""`Custom::Migration`: a part of the migrations as a step of the deployment, which stops the deployment when it fails.

The part before runs while the functions of the last release still do, the part after when all are of this one. Nothing is
ever taken back: what a rollback leaves behind, the functions of the version before go on with.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from infra.deployment.custom_resource import Answer, DeploymentStopped, Properties, Request, Time, handle, insist, log
from qstash_jobs.errors import JobsError

if TYPE_CHECKING:
    from qstash_jobs.request import LambdaContext

REACHING = timedelta(seconds=60)
"""How long it is tried to reach a database that does not answer: one that sleeps takes its time to wake."""

CONNECTING = timedelta(seconds=10)

ANSWERING = timedelta(seconds=10)
"""Kept back, so that Postgres ends what takes too long, and the reason can be told."""

_WHAT_STANDS = {
    "before": "The functions of the version before go on, and nothing of this migration stays unless it committed on its own.",
    "after": "The functions are the new ones already, and work with the tables as they are.",
}


class MigrationProperties(Properties):
    """What the template says of one part."""

    part: Literal["before", "after"] = "before"
    head: str = ""
    """The newest revisions of the package, with blanks or commas between them."""
    starter: bool = False
    """Whether the SaaS starter's tables come too."""

    @property
    def heads(self) -> set[str]:
        """The newest revisions, each by itself."""
        return set(re.findall(r"[^\s,]+", self.head))


def handler(event: Mapping[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Answer one request of CloudFormation's. Raises `DeploymentStopped`."""
    return handle(event, context, _answer)


def _answer(request: Request, time: Time) -> Answer:
    if request.request_type == "Delete":
        said = "the tables and all that is in them stay"
        return Answer(request.physical_resource_id or "migrations", {"Said": said})
    properties = request.properties(MigrationProperties)
    before = request.old_properties(MigrationProperties) if request.request_type == "Update" else None
    return Answer(f"migrations-{properties.part}", {"Said": _said(properties, before, time.less(ANSWERING))})


def _said(properties: MigrationProperties, before: MigrationProperties | None, time: Time) -> str:
    """What was done. A rollback asks for older revisions, either still of the newer package, whose own may be what failed,
    or already of the older one, which lacks nothing."""
    from infra import migrations
    from qstash_jobs.settings import settings

    asked = ", ".join(sorted(properties.heads)) or "nothing"
    kept = f"nothing was taken back to {asked}: the tables stay as they are, and the functions of before work with them"
    if properties.heads & migrations.known() - set(migrations.heads()):
        return kept
    back = before is not None and _is_older(properties.heads, before.heads)
    try:
        url = settings().secret("DATABASE_URL")
        ahead, missing = _look(url, properties, time.within(REACHING))
    except JobsError as error:
        if not back:
            raise
        log.warning("On the way back the database was not looked at: %s", error)
        return kept
    if back and not missing:
        return kept
    if wanting := sorted(properties.heads - migrations.known() - set(ahead)):
        raise DeploymentStopped(
            f"the template asks for {', '.join(wanting)}, which this package does not have: build it again with "
            "`make build`, and deploy again."
        )
    if ran := _migrate(url, properties, time):
        return f"{len(ran)} migration{'' if len(ran) == 1 else 's'} ran: {', '.join(ran)}"
    return f"up to date; the database is ahead, with {', '.join(ahead)}" if ahead else "up to date"


def _is_older(heads: set[str], than: set[str]) -> bool:
    """Whether a branch goes back, and none goes forward."""
    from infra.migrations import branch_of

    were = {branch_of(one): one for one in than}
    moved = {one for one in heads if one != were.get(branch_of(one), one)}
    return bool(moved) and all(one < were[branch_of(one)] for one in moved)


def _look(url: str, properties: MigrationProperties, until: Time) -> tuple[list[str], list[str]]:
    """What the database has and this package does not know, and what it lacks. Finds out soon whether Postgres answers; a
    migration itself may take its time."""
    from infra import migrations
    from infra.deployment.record import reading
    from qstash_jobs.database import Database

    quick = Database(url, CONNECTING)

    def look() -> tuple[list[str], list[str]]:
        with reading(quick) as connection:
            missing = migrations.pending(connection, saas=properties.starter, part=migrations.Part(properties.part))
            return migrations.unknown(connection), missing

    try:
        return insist(look, until)
    finally:
        quick.close()


def _migrate(url: str, properties: MigrationProperties, time: Time) -> list[str]:
    from infra.migrations import Part
    from infra.migrations.advance import MigrationBroken, MigrationFailed, advance
    from qstash_jobs.database import Database

    patient = Database(url, time.left)
    part, saas = Part(properties.part), properties.starter
    try:
        return insist(lambda: advance(patient, part=part, saas=saas, within=time.left), time.within(REACHING))
    except (MigrationFailed, MigrationBroken) as error:
        raise DeploymentStopped(f"{error}. {_WHAT_STANDS[properties.part]} Mend it, and deploy again.") from error
    finally:
        patient.close()
