"""Rows of the activity log, as COPY reads them: in the order in which it happened."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from infra.seed.population import Population
from infra.seed.scale import clock, moments, spread

_ACTIONS = (  # what, to what, with which details, how many of a hundred
    ("document.viewed", "document", "{}", 34),
    ("document.edited", "document", "{}", 19),
    ("document.created", "document", "{}", 7),
    ("comment.created", "document", "{}", 11),
    ("user.signed_in", r"\N", '{"method": "password"}', 12),
    ("user.signed_in", r"\N", '{"method": "sso"}', 5),
    ("project.created", "project", "{}", 3),
    ("project.archived", "project", "{}", 1),
    ("member.invited", "invitation", '{"role": "member"}', 2),
    ("export.requested", "export", '{"format": "csv"}', 2),
    ("export.requested", "export", '{"format": "xlsx"}', 1),
    ("settings.changed", "organization", '{"field": "time_zone"}', 2),
    ("api_key.created", "api_key", "{}", 1),
)


def activity_logs(population: Population) -> Iterator[str]:
    """As many things on a day as there are people by then, less at weekends; who has been there for long does most."""
    random = Random("activity")
    draw, home, known, period = random.random, population.home, population.known, population.period
    actions = [(f"{what}\t{on}", on, details) for what, on, details, share in _ACTIONS for _ in range(share)]
    count = len(actions)
    weights = [users * period.weight(day) if users else 0.0 for day, users in enumerate(known)]
    row = 0
    for day, (users, happenings) in enumerate(zip(known, spread(population.scale.activity_logs, weights), strict=True)):
        date = f"{period.day(day):%Y-%m-%d}"
        for moment in moments(random, happenings):
            row += 1
            user = int(users * draw() * draw())
            organization = home[user]
            what, on, details = actions[int(draw() * count)]
            target = r"\N" if on == r"\N" else organization * 1000 + int(draw() * 1000)
            yield (
                f"{row}\t{organization + 1}\t{user + 1}\t{what}\t{target}\t203.0.113.{organization % 254 + 1}\t{details}\t"
                f"{date} {clock(moment)}\n"
            )
