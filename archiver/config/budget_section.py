"""The two budget keys that `[archiver]`, every provider and every job may have."""

from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator, Field

from archiver.settings import Section


def _amount(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("is no amount; write US dollars, for example 5.00")
    return value


#: US dollars. The bounds are those of what the catalogue counts in: whole micro-dollars in 64 bits.
Budget = Annotated[Decimal, BeforeValidator(_amount), Field(ge=Decimal("0.000001"), le=Decimal(1_000_000_000))]


class Budgeted(Section):
    """What may be spent per day and per month, in US dollars; None is no limit."""

    budget_usd_per_day: Budget | None = None
    budget_usd_per_month: Budget | None = None
