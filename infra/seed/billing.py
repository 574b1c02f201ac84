"""Rows of subscriptions, their changes and invoices, as COPY reads them: trials, upgrades, failed payments, churn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from infra.seed.population import Population
from infra.seed.scale import DAY, HOUR

PLANS = {"starter": 1_900, "team": 1_200, "business": 2_500}
"""A month's price: of `starter` for all, of the others for each seat."""

TRIAL = 14 * DAY
MONTH = 30 * DAY
YEAR = 365 * DAY
MONTHS_FOR_A_YEAR = 10
UP = {"starter": "team", "team": "business", "business": "business"}
DOWN = {"starter": "starter", "team": "starter", "business": "team"}
CURRENCIES = {"GB": "gbp", "DE": "eur", "FR": "eur", "ES": "eur"}


class Terms(NamedTuple):
    """What somebody pays, and how."""

    status: str
    plan: str
    seats: int
    yearly: bool

    @property
    def amount(self) -> int:
        """For all seats and the whole interval."""
        monthly = PLANS[self.plan] * (1 if self.plan == "starter" else self.seats)
        return monthly * (MONTHS_FOR_A_YEAR if self.yearly else 1)


class Invoice(NamedTuple):
    """One period's."""

    status: str
    amount: int
    attempts: int
    issued: int
    paid: int | None
    failed: int | None
    period: int


@dataclass
class Life:
    """One subscription's, until the data was taken."""

    organization: int
    began: int
    changes: list[tuple[int, Terms]] = field(default_factory=list)
    invoices: list[Invoice] = field(default_factory=list)
    period: tuple[int, int] = (0, 0)

    @property
    def terms(self) -> Terms:
        """The present ones."""
        return self.changes[-1][1]

    def change(self, moment: int, terms: Terms) -> None:
        """From that moment on."""
        self.changes.append((moment, terms))


def lives(population: Population) -> Iterator[Life]:
    """Each that ever began, by the organization's number."""
    for organization in range(len(population.founder)):
        if population.tries(organization):
            random = Random(f"billing {organization}")
            began = population.founded(organization) + int(random.random() * 20 * DAY)
            if began < population.length:
                yield _live(Life(organization, began), random, population.length)


def _live(life: Life, random: Random, end: int) -> Life:
    draw = random.random
    terms = Terms("trialing", random.choice(("starter", "starter", "team", "team", "business")), 0, draw() < 0.18)
    terms = terms._replace(seats=3 if terms.plan == "starter" else 3 + int(draw() * draw() * 40))
    life.change(life.began, terms)
    now = life.began + TRIAL
    life.period = (life.began, now)
    if now >= end:
        return life
    if draw() < 0.2:
        life.change(now, terms._replace(status="canceled"))
        return life
    terms = terms._replace(status="active")
    life.change(now, terms)
    while now < end:
        life.period = (now, now + (YEAR if terms.yearly else MONTH))
        invoice = _collect(terms, now, random, end)
        life.invoices.append(invoice)
        if invoice.failed is not None:
            life.change(invoice.issued + HOUR, terms._replace(status="past_due"))
            if invoice.status == "open":
                return life
            if invoice.status == "uncollectible":
                life.change(invoice.failed, terms._replace(status="canceled"))
                return life
            assert invoice.paid is not None
            life.change(invoice.paid, terms)
        now = life.period[1]
        if now < end:
            changed = _reconsider(terms, random, 12 if terms.yearly else 1)
            if changed != terms:
                life.change(now, changed)
            if changed.status == "canceled":
                return life
            terms = changed
    return life


def _collect(terms: Terms, now: int, random: Random, end: int) -> Invoice:
    """Most pay at once, some after a while, a few never."""
    draw, period = random.random, YEAR if terms.yearly else MONTH
    fate, later = draw(), int((3 + draw() * 4) * DAY)
    if now + 2 * HOUR >= end:
        return Invoice("draft", terms.amount, 0, now, None, None, period)
    if fate < 0.005:
        return Invoice("void", terms.amount, 0, now, None, None, period)
    if fate > 0.09:
        return Invoice("paid", terms.amount, 1, now, now + HOUR, None, period)
    if fate < 0.07 and now + later < end:
        return Invoice("paid", terms.amount, 2, now, now + later, now + HOUR, period)
    if fate >= 0.07 and now + TRIAL < end:
        return Invoice("uncollectible", terms.amount, 4, now, None, now + TRIAL, period)
    return Invoice("open", terms.amount, 1, now, None, now + HOUR, period)


def _reconsider(terms: Terms, random: Random, months: int) -> Terms:
    """At the end of a period: churn, another plan, more seats or fewer, or, mostly, nothing."""
    fate, seats = random.random() / months, random.random()
    if fate < 0.022:
        return terms._replace(status="canceled")
    if fate < 0.055:
        return terms._replace(plan=UP[terms.plan])
    if fate < 0.066:
        return terms._replace(plan=DOWN[terms.plan])
    if fate < 0.16:
        return terms._replace(seats=terms.seats + 1 + int(seats * 4))
    if fate < 0.19:
        return terms._replace(seats=max(1, terms.seats - 1 - int(seats * 2)))
    return terms


def subscriptions(population: Population) -> Iterator[str]:
    """As they are when the data was taken."""
    moment = population.moment
    for number, life in enumerate(lives(population), 1):
        terms, (changed, _) = life.terms, life.changes[-1]
        ended = moment(changed) if terms.status == "canceled" else r"\N"
        yield (
            f"{number}\t{life.organization + 1}\t{_subscription(number)}\tcus_seed{life.organization + 1:08}\t"
            f"{terms.status}\t{_terms(population, life, terms)}\t{moment(life.began)}\t{moment(life.began + TRIAL)}\t"
            f"{moment(life.period[0])}\t{moment(life.period[1])}\tf\t{ended}\t{ended}\t{moment(changed)}\t"
            f"{moment(life.began)}\t{moment(changed)}\n"
        )


def subscription_changes(population: Population) -> Iterator[str]:
    """How they came to be so."""
    row = 0
    for number, life in enumerate(lives(population), 1):
        for changed, terms in life.changes:
            row += 1
            yield (
                f"{row}\t{number}\tevt_seed{row:08}\t{terms.status}\t{_terms(population, life, terms)}\t"
                f"{population.moment(changed)}\n"
            )


def invoices(population: Population) -> Iterator[str]:
    """What was asked for, and what of it was paid."""
    moment, row = population.moment, 0
    for number, life in enumerate(lives(population), 1):
        for one in life.invoices:
            row += 1
            paid = r"\N" if one.paid is None else moment(one.paid)
            failed = r"\N" if one.failed is None else moment(one.failed)
            reason = r"\N" if one.failed is None else ("card_declined", "insufficient_funds", "expired_card")[row % 3]
            last = moment(max(one.issued, one.paid or 0, one.failed or 0))
            yield (
                f"{row}\t{life.organization + 1}\tin_seed{row:08}\tcus_seed{life.organization + 1:08}\t"
                f"{_subscription(number)}\tSEED-{row:06}\t{one.status}\t{one.amount}\t"
                f"{one.amount if one.status == 'paid' else 0}\t{_currency(population, life)}\t{one.attempts}\t"
                f"{moment(one.issued)}\t{moment(one.issued + DAY)}\t{paid}\t{failed}\t{reason}\t{moment(one.issued)}\t"
                f"{moment(one.issued + one.period)}\t{last}\t{moment(one.issued)}\t{last}\n"
            )


def _subscription(number: int) -> str:
    return f"sub_seed{number:08}"


def _currency(population: Population, life: Life) -> str:
    return CURRENCIES.get(population.land(life.organization).country, "usd")


def _terms(population: Population, life: Life, terms: Terms) -> str:
    interval = "year" if terms.yearly else "month"
    return f"{terms.plan}\t{terms.seats}\t{terms.amount}\t{_currency(population, life)}\t{interval}"
