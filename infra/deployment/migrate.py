"""`Custom::Migration`: a part of the migrations as a step of the deployment, which stops the deployment when it fails.

The part before runs while the functions of the last release still do, the part after when all are of this one. Nothing is
ever taken back: what a rollback leaves behind, the functions of the version before go on with.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from infra.deployment.custom_resource import Answer, DeploymentStopped, Properties, Request, Time, handle, insist

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
    said = _way_back(properties, before) or _migrate(properties, time.less(ANSWERING))
    return Answer(f"migrations-{properties.part}", {"Said": said})


def _way_back(properties: MigrationProperties, before: MigrationProperties | None) -> str | None:
    """What is to be said if this is a rollback, in which CloudFormation asks for the older revisions: either still of
    the newer package, or already of the older one."""
    from infra import migrations

    known = migrations.known()
    older = properties.heads & known - set(migrations.heads())
    newer = before.heads - known if before is not None else set()
    if not older and not newer:
        return None
    asked = ", ".join(sorted(properties.heads)) or "nothing"
    return f"nothing was taken back to {asked}: the tables stay as they are, and the functions of before work with them"


def _migrate(properties: MigrationProperties, time: Time) -> str:
    from infra import migrations
    from infra.migrations.advance import MigrationBroken, MigrationFailed, advance
    from qstash_jobs.database import Database
    from qstash_jobs.settings import settings

    url = settings().secret("DATABASE_URL")
    reaching = time.within(REACHING)
    _reach(url, reaching)
    part = migrations.Part(properties.part)
    patient = Database(url, time.left)
    try:
        with patient.engine.connect() as connection:
            ahead = migrations.unknown(connection)
        if missing := sorted(properties.heads - migrations.known() - set(ahead)):
            raise DeploymentStopped(
                f"the template asks for {', '.join(missing)}, which this package does not have: build it again with "
                "`make build`, and deploy again."
            )
        ran = insist(lambda: advance(patient, part=part, saas=properties.starter, within=time.left), reaching)
    except (MigrationFailed, MigrationBroken) as error:
        raise DeploymentStopped(f"{error}. {_WHAT_STANDS[properties.part]} Mend it, and deploy again.") from error
    finally:
        patient.close()
    if ran:
        return f"{len(ran)} migration{'' if len(ran) == 1 else 's'} ran: {', '.join(ran)}"
    return f"up to date; the database is ahead, with {', '.join(ahead)}" if ahead else "up to date"


def _reach(url: str, until: Time) -> None:
    """Find out soon whether Postgres answers; a migration itself may take its time."""
    from qstash_jobs.database import Database

    quick = Database(url, CONNECTING)
    try:
        insist(lambda: quick.run("SELECT 1"), until)
    finally:
        quick.close()
