"""A straight line from what was spent, which says what it is based on."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from archiver.core.forecast import begins, forecast

NOW = datetime(2026, 11, 20, 16, 0, tzinfo=UTC)
SHANGHAI = ZoneInfo("Asia/Shanghai")
DAY = timedelta(days=1)


def test_a_line_through_ten_days() -> None:
    """A dollar in ten days; Shanghai's November, where it is the 21st already, has ten more."""
    found = forecast(spent_micro=1_000_000, since=NOW - 10 * DAY, now=NOW, month_micro=700_000, zone=SHANGHAI)
    assert (found.per_day_micro, found.next_30_days_micro) == (100_000, 3_000_000)
    assert (found.month, found.month_so_far_micro, found.month_micro) == ("2026-11", 700_000, 1_700_000)
    assert (found.based_on_micro, found.based_on_days) == (1_000_000, 10)


def test_a_busy_hour_is_not_taken_for_every_hour() -> None:
    """Less than a day counts as one."""
    found = forecast(spent_micro=240_000, since=NOW - DAY / 24, now=NOW, month_micro=240_000, zone=UTC)
    assert (found.per_day_micro, found.based_on_days) == (240_000, 1)


def test_nothing_spent_is_nothing_expected() -> None:
    found = forecast(spent_micro=0, since=NOW, now=NOW, month_micro=0, zone=UTC)
    assert (found.next_30_days_micro, found.month_micro) == (0, 0)


def test_days_and_months_begin_in_their_zone() -> None:
    assert begins(per_month=False, moment=NOW, zone=SHANGHAI) == NOW
    assert begins(per_month=False, moment=NOW - timedelta(seconds=1), zone=SHANGHAI) == NOW - DAY
    assert begins(per_month=True, moment=NOW, zone=SHANGHAI) == datetime(2026, 10, 31, 16, 0, tzinfo=UTC)
