"""Budgets: in which day or month of which zone a cost counts, whose it is, and what a refusal says."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as some

from archiver.core.budget import Limit, Purse, applicable, period, purses, refusal

SHANGHAI = ZoneInfo("Asia/Shanghai")
NEW_YORK = ZoneInfo("America/New_York")
ZONES = ("Asia/Shanghai", "America/New_York", "America/Sao_Paulo", "Africa/Cairo", "Pacific/Apia", "America/Havana")


def utc(text: str) -> datetime:
    """An ISO time in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "per", "now", "name", "ends"),
    [
        (SHANGHAI, "day", "2026-11-20T15:59:59.999", "2026-11-20", "2026-11-20T16:00"),
        (SHANGHAI, "day", "2026-11-20T16:00", "2026-11-21", "2026-11-21T16:00"),
        (SHANGHAI, "month", "2026-11-30T15:59:59", "2026-11", "2026-11-30T16:00"),
        (SHANGHAI, "month", "2026-11-30T16:00", "2026-12", "2026-12-31T16:00"),
        (SHANGHAI, "month", "2026-12-31T16:00", "2027-01", "2027-01-31T16:00"),
        # The day on which New York's clocks go forward has 23 hours, the one on which they go back 25.
        (NEW_YORK, "day", "2026-03-08T05:00", "2026-03-08", "2026-03-09T04:00"),
        (NEW_YORK, "day", "2026-03-09T03:59:59", "2026-03-08", "2026-03-09T04:00"),
        (NEW_YORK, "day", "2026-11-01T04:00", "2026-11-01", "2026-11-02T05:00"),
        (NEW_YORK, "day", "2026-11-02T04:59:59", "2026-11-01", "2026-11-02T05:00"),
        (NEW_YORK, "month", "2026-11-01T03:59:59", "2026-10", "2026-11-01T04:00"),
        (NEW_YORK, "month", "2026-11-01T04:00", "2026-11", "2026-12-01T05:00"),
        # The clocks of Santiago skip this midnight.
        (ZoneInfo("America/Santiago"), "day", "2026-09-06T03:59:59", "2026-09-05", "2026-09-06T04:00"),
        (ZoneInfo("America/Santiago"), "day", "2026-09-06T04:00", "2026-09-06", "2026-09-07T03:00"),
        # Samoa left out 30 December 2011.
        (ZoneInfo("Pacific/Apia"), "month", "2011-12-31T09:00", "2011-12", "2011-12-31T10:00"),
    ],
)
def test_a_period_is_that_of_its_zone(zone: ZoneInfo, per: str, now: str, name: str, ends: str) -> None:
    assert period(per, utc(now), zone) == (name, utc(ends))  # type: ignore[arg-type]


@given(
    moment=some.integers(1_325_376_000, 2_114_380_800).map(lambda seconds: datetime.fromtimestamp(seconds, UTC)),
    zone=some.sampled_from(ZONES),
    per=some.sampled_from(("day", "month")),
)
def test_periods_follow_each_other_without_a_gap(moment: datetime, zone: str, per: str) -> None:
    """A moment before its end a period still has its name; at its end the next one begins, and names sort by time."""
    place = ZoneInfo(zone)
    name, ends = period(per, moment, place)  # type: ignore[arg-type]
    assert ends > moment
    assert period(per, ends - timedelta(milliseconds=1), place) == (name, ends)  # type: ignore[arg-type]
    assert period(per, ends, place)[0] > name  # type: ignore[arg-type]


def test_whose_cost_counts() -> None:
    """Everybody's, one provider's, one job's; a generation without a job is in no job's budget."""
    everything = Limit(scope="archiver", per="day", micro=1, zone=UTC)
    provider = Limit(scope="providers.a", per="day", micro=1, zone=UTC, provider="a")
    job = Limit(scope="jobs.cats", per="day", micro=1, zone=UTC, job="cats")
    limits = (everything, provider, job)
    assert applicable(limits, "a", "cats") == limits
    assert applicable(limits, "a", None) == (everything, provider)
    assert applicable(limits, "b", "cats") == (everything, job)
    assert applicable(limits, "b", "dogs") == (everything,)


def test_the_purse_that_is_closed_longest_comes_first() -> None:
    limits = (
        Limit(scope="archiver", per="day", micro=1, zone=UTC),
        Limit(scope="archiver", per="month", micro=2, zone=UTC),
        Limit(scope="jobs.cats", per="day", micro=3, zone=SHANGHAI, job="cats"),
    )
    found = purses(limits, utc("2026-11-20T16:00"))
    assert [(purse.scope, purse.period, purse.limit_micro) for purse in found] == [
        ("archiver", "2026-11", 2),
        ("jobs.cats", "2026-11-21", 3),
        ("archiver", "2026-11-20", 1),
    ]


def test_a_refusal_says_which_budget_and_until_when() -> None:
    purse = Purse(scope="jobs.cats", period="2026-11-20", limit_micro=5, ends=utc("2026-11-20T16:00"))
    assert refusal(purse, "a", 7) == "budget of jobs.cats for 2026-11-20 is used up until 2026-11-20T16:00Z"
    assert "price is unknown; set providers.a.price_usd" in refusal(purse, "a", None)
