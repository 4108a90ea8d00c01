"""What will be spent, drawn as a straight line from what was: no season, no trend, and it says what it is based on.

It refuses to draw a line through less than a day: one busy hour says nothing of a month.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo

from archiver.core.budget import period

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """Micro-USD a day, in the next 30 days, and of this month as a whole; drawn from `based_on_micro`, which was spent
    in `based_on_days`."""

    based_on_micro: int
    based_on_days: float
    per_day_micro: int
    next_30_days_micro: int
    month: str
    month_so_far_micro: int
    month_micro: int


def forecast(*, spent_micro: int, since: datetime, now: datetime, month_micro: int, zone: tzinfo) -> Forecast:
    """From what was spent since `since`, and what was spent in this month of `zone`."""
    days = max((now - since) / DAY, 1.0)
    rate = spent_micro / days
    month, ends = period("month", now, zone)
    return Forecast(
        based_on_micro=spent_micro,
        based_on_days=days,
        per_day_micro=round(rate),
        next_30_days_micro=round(rate * 30),
        month=month,
        month_so_far_micro=month_micro,
        month_micro=month_micro + round(rate * ((ends - now) / DAY)),
    )


def begins(per_month: bool, moment: datetime, zone: tzinfo) -> datetime:
    """The first moment (UTC) of the month, else of the day, of `zone` that `moment` lies in."""
    day = moment.astimezone(zone).date()
    return datetime.combine(day.replace(day=1) if per_month else day, time(), zone).astimezone(UTC)
