"""Who there is, as numbers: when each came, and to which organization. A million of them take 20 MB."""

from __future__ import annotations

from array import array
from random import Random
from typing import NamedTuple

from infra.seed.names import LANDS
from infra.seed.scale import DAY, DAYS, Period, Scale, clock, moments, spread

_LANDS = [land for land in LANDS for _ in range(land[3])]


class Land(NamedTuple):
    """Where an organization is at home."""

    country: str
    locale: str
    time_zone: str


class Population:
    """Users and organizations, numbered from 0 in the order in which they came; in the tables each is one higher."""

    def __init__(self, scale: Scale, period: Period) -> None:
        self.scale = scale
        self.period = period
        self.joined = array("q")
        """Of each user: when, in milliseconds since the period began."""
        self.home = array("i")
        """Of each user: their organization."""
        self.founder = array("i")
        """Of each organization: who founded it, at the moment at which they joined."""
        self.known = array("i")
        """For each day: how many users there were when it began."""
        self._dates = [f"{period.day(day):%Y-%m-%d}" for day in range(DAYS + 400)]  # what ends, may do so a year later
        self._populate()

    def _populate(self) -> None:
        random = Random("population")
        draw = random.random
        users, organizations = self.scale.users, self.scale.organizations
        weights = [self.period.weight(day) for day in range(DAYS)]
        for day, arrivals in enumerate(spread(users, weights)):
            self.known.append(len(self.joined))
            for moment in moments(random, arrivals):
                user = len(self.joined)
                self.joined.append(day * DAY + moment)
                if user * organizations // users == len(self.founder):
                    self.home.append(len(self.founder))
                    self.founder.append(user)
                elif draw() < 0.5:  # those who have many get more
                    self.home.append(self.home[int(draw() * user)])
                else:
                    self.home.append(int(draw() * len(self.founder)))

    def founded(self, organization: int) -> int:
        """When, in milliseconds since the period began."""
        return self.joined[self.founder[organization]]

    def land(self, organization: int) -> Land:
        """Where it is at home."""
        return Land(*_LANDS[organization * 37 % len(_LANDS)][:3])

    def tries(self, organization: int) -> bool:
        """Whether it ever began a subscription."""
        return organization * 7 % 20 < 13

    def moment(self, milliseconds: int) -> str:
        """Milliseconds since the period began, as Postgres reads them."""
        day, rest = divmod(milliseconds, DAY)
        return f"{self._dates[day]} {clock(rest)}"

    @property
    def length(self) -> int:
        """Of the whole period, in milliseconds."""
        return DAYS * DAY
