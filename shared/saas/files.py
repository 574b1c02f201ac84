"""The rows of `files`: what jobs have put into the bucket, for the app to show."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, func, select
from sqlalchemy.dialects.postgresql import insert

from saas.tables import files, organizations, users


def note_file(
    connection: Connection,
    *,
    key: str,
    kind: str,
    content_type: str,
    size: int,
    expires_at: datetime,
    job_id: UUID,
    user_id: int | None,
    organization_id: int | None,
) -> None:
    """Note a file of `size` bytes; a job that writes it again notes the same one. Whoever it is for may have been deleted
    since the job was enqueued, and is then left out."""
    noted = insert(files).values(
        organization_id=select(organizations.c.id).where(organizations.c.id == organization_id).scalar_subquery(),
        user_id=select(users.c.id).where(users.c.id == user_id).scalar_subquery(),
        s3_key=key,
        kind=kind,
        content_type=content_type,
        bytes=size,
        job_id=job_id,
        created_at=func.clock_timestamp(),
        expires_at=expires_at,
    )
    again = {name: noted.excluded[name] for name in ("content_type", "bytes", "created_at", "expires_at")}
    connection.execute(noted.on_conflict_do_update(index_elements=[files.c.s3_key], set_=again))
