"""Rows of users, organizations, members, sessions and invitations, as COPY reads them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from random import Random

from infra.seed.names import AGENTS, FAMILY, FIRST_OF_COMPANY, FORMS, GIVEN, SECOND_OF_COMPANY
from infra.seed.population import Population
from infra.seed.scale import DAY, MINUTE

_COMPANIES = len(FIRST_OF_COMPANY) * len(SECOND_OF_COMPANY)


def users(population: Population) -> Iterator[str]:
    """Who signed up."""
    random = Random("users")
    draw, moment, length = random.random, population.moment, population.length
    given, family = [(one, _plain(one)) for one in GIVEN], [(one, _plain(one)) for one in FAMILY]
    for user, (joined, home) in enumerate(zip(population.joined, population.home, strict=True), 1):
        first, last = given[int(draw() * len(given))], family[int(draw() * len(family))]
        land = population.land(home)
        status = "suspended" if draw() < 0.015 else "active"
        consent = "t" if draw() < 0.38 else "f"
        verified = joined + int(draw() * 90 * MINUTE)
        verified_at = moment(verified) if draw() < 0.94 and verified < length else r"\N"
        updated = joined + int(draw() * draw() * (length - joined))
        yield (
            f"{user}\t{first[1]}.{last[1]}{user}@{slug(home)}.example\t{first[0]} {last[0]}\t{status}\t{land.locale}\t"
            f"{land.time_zone}\t{consent}\t{verified_at}\t{moment(joined)}\t{moment(updated)}\n"
        )


def organizations(population: Population) -> Iterator[str]:
    """Which they founded."""
    random = Random("organizations")
    for organization in range(len(population.founder)):
        first, second = _words(organization)
        name = f"{first} {second} {FORMS[int(random.random() * len(FORMS))]}".strip()
        customer = f"cus_seed{organization + 1:08}" if population.tries(organization) else r"\N"
        founded = population.moment(population.founded(organization))
        country = population.land(organization).country
        yield (
            f"{organization + 1}\t{name}\t{slug(organization)}\tbilling@{slug(organization)}.example\t{country}\t"
            f"{customer}\t{founded}\t{founded}\n"
        )


def members(population: Population) -> Iterator[str]:
    """Who belongs to which; some to two."""
    random = Random("members")
    draw, moment, length = random.random, population.moment, population.length
    founded = 0
    for user, (joined, home) in enumerate(zip(population.joined, population.home, strict=True)):
        founds = founded < len(population.founder) and population.founder[founded] == user
        founded += founds
        role = "owner" if founds else "admin" if draw() < 0.12 else "member"
        yield f"{home + 1}\t{user + 1}\t{role}\t{moment(joined)}\n"
        other = int(draw() * founded)
        if draw() < 0.04 and other != home:
            later = joined + int(draw() * (length - joined))
            yield f"{other + 1}\t{user + 1}\tmember\t{moment(later)}\n"


def sessions(population: Population) -> Iterator[str]:
    """Of thirty days each, begun in the last hundred and twenty, so that most have expired."""
    random = Random("sessions")
    draw, moment, length = random.random, population.moment, population.length
    session = 0
    for user, joined in enumerate(population.joined, 1):
        for _ in range(int(draw() * 2.6)):
            session += 1
            began = max(joined, length - int(draw() * 120 * DAY) - 1)
            agent = AGENTS[int(draw() * len(AGENTS))]
            yield (
                f"{session}\t{user}\t\\\\x{random.getrandbits(256):064x}\t198.51.100.{user % 254 + 1}\t{agent}\t"
                f"{moment(began)}\t{moment(began + 30 * DAY)}\n"
            )


def invitations(population: Population) -> Iterator[str]:
    """Good for seven days; more than half are accepted, and some of the rest are still open."""
    random = Random("invitations")
    draw, moment, length = random.random, population.moment, population.length
    invitation = 0
    for organization, founder in enumerate(population.founder):
        since = population.founded(organization)
        for _ in range(int(draw() * 7)):
            invitation += 1
            began = (
                since + int(draw() * (length - since)) if draw() < 0.8 else max(since, length - int(draw() * 9 * DAY))
            )
            began = min(began, length - 1)
            answered, fate = began + int(draw() * 3 * DAY), draw()
            accepted = moment(answered) if fate < 0.6 and answered < length else r"\N"
            revoked = moment(answered) if 0.6 <= fate < 0.64 and answered < length else r"\N"
            role = "admin" if draw() < 0.15 else "member"
            yield (
                f"{invitation}\t{organization + 1}\t{founder + 1}\tguest{invitation}@{slug(organization)}.example\t{role}\t"
                f"\\\\x{random.getrandbits(256):064x}\t{moment(began)}\t{moment(began + 7 * DAY)}\t{accepted}\t{revoked}\n"
            )


def slug(organization: int) -> str:
    """Its name in an address; each has one of its own."""
    turn = organization // _COMPANIES
    return "-".join(_words(organization)).lower() + (f"-{turn + 1}" if turn else "")


def _words(organization: int) -> tuple[str, str]:
    first, second = divmod(
        organization * 367 % _COMPANIES, len(SECOND_OF_COMPANY)
    )  # 367 and their number have no divisor in common
    return FIRST_OF_COMPANY[first], SECOND_OF_COMPANY[second]


def _plain(name: str) -> str:
    """As it stands in an address."""
    letters = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z]", "", letters) or "user"
