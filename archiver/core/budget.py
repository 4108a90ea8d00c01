"""Budgets: which limits hold for a generation, and in which day or month of which zone its cost counts.

Money is integer micro-USD. A scope is the dotted path of the section that sets the limit (`archiver`,
`providers.apiyi`, `jobs.daily-cats`), so that whoever reads it knows where to change it. Nothing here remembers what
was spent: the catalogue does, in the transaction that commits `submitted`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import Literal

EVERYTHING = "archiver"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """What may be spent per day or month of `zone`. `provider` and `job` say whose cost counts; None is everybody's."""

    scope: str
    per: Literal["day", "month"]
    micro: int
    zone: tzinfo
    provider: str | None = None
    job: str | None = None

    def holds_for(self, provider: str, job: str | None) -> bool:
        """Whether a generation of this provider and job counts."""
        return self.provider in (None, provider) and self.job in (None, job)


@dataclass(frozen=True, slots=True, kw_only=True)
class Purse:
    """A limit in one of its periods: what the catalogue keeps a balance of. `ends` is when the next period begins."""

    scope: str
    period: str
    limit_micro: int
    ends: datetime


def period(per: Literal["day", "month"], now: datetime, zone: tzinfo) -> tuple[str, datetime]:
    """The day (`2026-11-20`) or month (`2026-11`) of `zone` that `now` lies in, and the first moment of the next one.

    The moment is UTC. Where the clocks skip midnight, the next day begins at the skip.
    """
    today = now.astimezone(zone).date()
    if per == "day":
        name, following = f"{today:%Y-%m-%d}", today + timedelta(days=1)
    else:
        name, following = f"{today:%Y-%m}", (today.replace(day=1) + timedelta(days=32)).replace(day=1)
    return name, datetime.combine(following, time(), zone).astimezone(UTC)


def purses(limits: Iterable[Limit], now: datetime) -> tuple[Purse, ...]:
    """The present period of every limit. The one that ends last comes first: it says how long there is no room."""
    found = []
    for limit in limits:
        name, ends = period(limit.per, now, limit.zone)
        found.append(Purse(scope=limit.scope, period=name, limit_micro=limit.micro, ends=ends))
    return tuple(sorted(found, key=lambda purse: purse.ends, reverse=True))


def applicable(limits: Iterable[Limit], provider: str, job: str | None) -> tuple[Limit, ...]:
    """The limits that hold for a generation."""
    return tuple(limit for limit in limits if limit.holds_for(provider, job))


def refusal(purse: Purse, provider: str, cost_micro: int | None) -> str:
    """Why a generation has to wait, in words that are the same until the period ends."""
    until = f"{purse.ends:%Y-%m-%dT%H:%MZ}"
    if cost_micro is None:
        return (
            f"budget of {purse.scope} cannot be kept until {until}: the price is unknown;"
            f" set providers.{provider}.price_usd, or write a row into archiver.prices_file"
        )
    return f"budget of {purse.scope} for {purse.period} is used up until {until}"
