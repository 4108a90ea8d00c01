"""Schedules: what the strings mean, and which ticks are due."""

import random
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from archiver.schedule import MOST_MISSED_TICKS, At, Every, due, next_due, parse
from tests.shells.walking import local_ticks, utc

# --- what is written ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "days"),
    [
        ("1", "Mon"),
        ("0", "Sun"),
        ("7", "Sun"),
        ("1-5", "Mon Tue Wed Thu Fri"),
        ("5-7", "Fri Sat Sun"),
        ("0-6/2", "Sun Tue Thu Sat"),
        ("*/2", "Sun Tue Thu Sat"),
        ("6,7", "Sat Sun"),
        ("MON-FRI", "Mon Tue Wed Thu Fri"),
        ("fri-sun", "Fri Sat Sun"),
        ("sun-tue", "Sun Mon Tue"),
        ("3/2", "Wed Fri Sun"),
    ],
)
def test_weekdays_are_those_of_cron_and_not_of_apscheduler(field: str, days: str) -> None:
    fired = {entry.split()[0] for entry in local_ticks(f"0 9 * * {field}", "Asia/Shanghai", "2026-11-22", days=7)}
    assert fired == set(days.split())


def test_two_restricted_day_fields_mean_or_as_in_cron() -> None:
    """The 13th OR a Friday; with a star in front, the fields mean AND, as in Debian's cron."""
    assert local_ticks("0 0 13 * 5", "UTC", "2026-05-08", days=8) == [
        "Fri 08 00:00+0000",
        "Wed 13 00:00+0000",
        "Fri 15 00:00+0000",
    ]
    assert local_ticks("0 0 */2 * 5", "UTC", "2026-05-08", days=15) == ["Fri 15 00:00+0000"]


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("@hourly", "0 * * * *"),
        ("@daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@weekly", "0 0 * * 0"),
        ("@monthly", "0 0 1 * *"),
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 JAN *"),
    ],
)
def test_names_stand_for_cron_lines(name: str, same: str) -> None:
    assert parse(name, "UTC") == parse(same, "UTC")


@pytest.mark.parametrize(
    ("text", "seconds"), [("every 1s", 1), ("every 30m", 1800), ("EVERY 2 h", 7200), ("every 7d", 604800)]
)
def test_a_period_has_a_unit(text: str, seconds: int) -> None:
    assert parse(text, "UTC") == Every(timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("text", "zone", "moment"),
    [
        ("at 2026-12-01T09:00", "Asia/Shanghai", "2026-12-01T01:00"),
        ("at 2026-12-01 09:00:30", "UTC", "2026-12-01T09:00:30"),
        ("at 2026-12-01T09:00+08:00", "America/New_York", "2026-12-01T01:00"),
        ("at 2026-12-01t09:00z", "Asia/Shanghai", "2026-12-01T09:00"),
        ("at 2026-03-29T02:30", "Europe/Berlin", "2026-03-29T01:00"),
        ("at 2026-10-25T02:30", "Europe/Berlin", "2026-10-25T00:30"),
    ],
)
def test_a_moment_is_local_unless_it_has_an_offset(text: str, zone: str, moment: str) -> None:
    """Skipped by the clock: when the gap ends. Shown twice: the first time."""
    assert parse(text, zone) == At(utc(moment))


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", "every 30m"),
        ("tomorrow", "every 30m"),
        ("0 9 * *", "minute hour day month weekday"),
        ("0 0 9 * * *", "minute hour day month weekday"),
        ("@reboot", "restart"),
        ("60 9 * * *", "0 to 59"),
        ("0 24 * * *", "0 to 23"),
        ("0 9 0 * *", "1 to 31"),
        ("0 9 * 13 *", "jan to dec"),
        ("0 9 * * 8", "sun to sat"),
        ("0 9 * * -1", "not understood"),
        ("0 9 L * *", "1 to 31"),
        ("0 9 * * 5#3", "not understood"),
        ("0 9 * * 5-1", "lower number first"),
        ("*/0 9 * * *", "at least 1"),
        ("0 9 31 2,4 *", "never comes"),
        ("1,,2 9 * * *", "not understood"),
        ("every 30", "every 30m"),
        ("every 0s", "at least|from 1 s"),
        ("every 1.5h", "whole number"),
        ("every 999999999d", "ten years"),
        ("every", "every 30m"),
        ("at 9:00", "at 2026-12-01T09:00"),
        ("at 2026-12-01", "at 2026-12-01T09:00"),
        ("at 2026-02-30T09:00", "at 2026-12-01T09:00"),
        ("at 9999-12-31T23:59", "at 2026-12-01T09:00"),
    ],
)
def test_what_is_no_schedule_is_refused_with_what_to_write(text: str, hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        parse(text, "America/New_York")


@pytest.mark.parametrize(
    ("zone", "hint"), [("asia/shanghai", "Asia/Shanghai"), ("Asia", "IANA|did you"), ("../etc", "IANA"), ("", "IANA")]
)
def test_an_unknown_zone_is_refused_with_the_nearest_one(zone: str, hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        parse("@daily", zone)


# --- which ticks are due --------------------------------------------------------------------------------------------

SEEN = utc("2026-11-20T08:00")


def days_due(text: str, last: str | None, now: str, catch_up: str = "once") -> list[str]:
    before = utc(last) if last else None
    found = due(parse(text, "UTC"), first_seen=SEEN, last=before, now=utc(now), catch_up=catch_up)
    assert all(tick.tzinfo is UTC for tick in found)
    return [tick.strftime("%dT%H:%M:%S") for tick in found]


@pytest.mark.parametrize(
    ("last", "now", "catch_up", "expected"),
    [
        (None, "2026-11-20T08:59:59", "all", []),
        ("2020-01-01T09:00", "2026-11-20T08:59:59", "once", []),
        (None, "2026-11-20T09:00", "once", ["20T09:00:00"]),
        ("2026-11-20T09:00", "2026-11-20T09:00:01", "once", []),
        (None, "2026-11-23T08:00", "once", ["22T09:00:00"]),
        (None, "2026-11-23T08:00", "all", ["20T09:00:00", "21T09:00:00", "22T09:00:00"]),
        ("2026-11-20T09:00", "2026-11-23T08:00", "all", ["21T09:00:00", "22T09:00:00"]),
        ("2026-11-20T09:00", "2026-11-23T08:00", "skip", []),
        ("2026-11-20T09:00", "2026-11-23T10:00", "skip", ["23T09:00:00"]),
        ("2026-11-20T09:00", "2026-11-23T10:00:01", "skip", []),
        ("2026-11-20T09:00", "2026-11-01T09:00", "all", []),
        ("2020-01-01T09:00", "2026-11-21T09:00", "all", ["20T09:00:00", "21T09:00:00"]),
    ],
)
def test_missed_cron_ticks_follow_catch_up(last: str | None, now: str, catch_up: str, expected: list[str]) -> None:
    """Nothing before the first sight of the schedule is due, and nothing when the clock went backwards."""
    assert days_due("0 9 * * *", last, now, catch_up) == expected


@pytest.mark.parametrize(
    ("last", "now", "catch_up", "expected"),
    [
        (None, "2026-11-20T08:00", "skip", ["20T08:00:00"]),
        (None, "2026-11-20T08:00:07", "once", ["20T08:00:00"]),
        (None, "2026-11-20T07:59:59", "all", []),
        (None, "2026-11-20T08:01:10", "once", ["20T08:01:00"]),
        (None, "2026-11-20T08:01:20", "skip", ["20T08:01:00"]),
        (None, "2026-11-20T08:01:10", "all", ["20T08:00:00", "20T08:00:30", "20T08:01:00"]),
        ("2026-11-20T08:00", "2026-11-20T08:00:29", "once", []),
        ("2026-11-20T08:00", "2026-11-20T08:00:30", "once", ["20T08:00:30"]),
        ("2026-11-20T08:00", "2026-11-20T08:01:44", "once", ["20T08:01:30"]),
        ("2026-11-20T08:00", "2026-11-20T08:01:45", "skip", ["20T08:01:30"]),
        ("2026-11-20T08:00", "2026-11-20T08:01:46", "skip", []),
        ("2026-11-20T08:00", "2026-11-20T07:00", "all", []),
        ("2026-11-20T07:59", "2026-11-20T08:00:59", "all", ["20T08:00:00", "20T08:00:30"]),
        ("2026-11-20T07:30", "2026-11-20T08:00:00", "all", ["20T08:00:00"]),
    ],
)
def test_missed_periods_follow_catch_up_and_keep_their_phase(
    last: str | None, now: str, catch_up: str, expected: list[str]
) -> None:
    """A job that never ran is due at once; periods before the first sight of the schedule are not made up for."""
    assert days_due("every 30s", last, now, catch_up) == expected


def test_a_period_that_began_before_the_schedule_was_seen_still_counts_from_the_last_tick() -> None:
    """A job changed from daily to hourly at 08:00 runs at once if its last tick is more than an hour old, also under
    catch_up "all", and once only."""
    assert days_due("every 1h", "2026-11-19T08:30", "2026-11-20T08:10", "all") == ["20T07:30:00"]
    assert days_due("every 1h", "2026-11-19T08:30", "2026-11-20T08:10", "once") == ["20T07:30:00"]


@pytest.mark.parametrize(
    ("text", "last", "now", "catch_up", "expected"),
    [
        ("at 2026-11-21T09:00", None, "2026-11-21T08:59", "all", []),
        ("at 2026-11-21T09:00", None, "2026-11-21T09:00", "skip", ["21T09:00:00"]),
        ("at 2026-11-21T09:00", "2026-11-21T09:00", "2026-11-21T09:01", "once", []),
        ("at 2026-11-19T09:00", None, "2026-11-20T08:00", "once", ["19T09:00:00"]),
        ("at 2026-11-19T09:00", None, "2026-11-20T08:00", "all", ["19T09:00:00"]),
        ("at 2026-11-19T09:00", None, "2026-11-20T08:00", "skip", []),
        ("at 2026-11-20T07:00", None, "2026-11-20T08:00", "skip", ["20T07:00:00"]),
        ("at 2026-11-21T09:00", "2026-11-10T09:00", "2026-11-21T09:01", "once", ["21T09:00:00"]),
    ],
)
def test_a_moment_is_due_once(text: str, last: str | None, now: str, catch_up: str, expected: list[str]) -> None:
    """Also when it had passed at first sight, unless `skip`; a moved moment is due again."""
    assert days_due(text, last, now, catch_up) == expected


def test_the_number_of_ticks_made_up_for_is_bounded() -> None:
    """Years of absence cost at most 1,000 ticks, the latest ones, and no walk through the others."""
    now = utc("2126-11-20T08:00:00")
    for text, period in (("every 1s", timedelta(seconds=1)), ("* * * * *", timedelta(minutes=1))):
        found = due(parse(text, "Europe/Berlin"), first_seen=SEEN, last=SEEN, now=now, catch_up="all")
        assert list(found) == [now - period * back for back in range(MOST_MISSED_TICKS - 1, -1, -1)]
        assert due(parse(text, "UTC"), first_seen=SEEN, last=SEEN, now=now, catch_up="once") == (now,)


def test_a_restarted_process_gets_the_same_answer() -> None:
    """Whenever the process asks, each period is run once, with the phase of the first tick."""
    seed = random.SystemRandom().randrange(10**9)
    print("seed", seed)
    rng = random.Random(seed)
    schedule, now, last = parse("every 30s", "UTC"), SEEN, None
    ran: list[datetime] = []
    while now < SEEN + timedelta(hours=1):
        for tick in due(schedule, first_seen=SEEN, last=last, now=now, catch_up="once"):
            ran.append(tick)
            last = tick
        now += timedelta(seconds=rng.uniform(0.1, 9))
    assert ran == [SEEN + timedelta(seconds=30) * count for count in range(len(ran))]
    assert len(ran) == 120


def test_the_next_tick_is_after_now_and_after_the_last() -> None:
    """The daemon sleeps until then."""

    def following(text: str, last: str | None, now: str) -> datetime | None:
        return next_due(parse(text, "UTC"), first_seen=SEEN, last=utc(last) if last else None, now=utc(now))

    assert following("0 9 * * *", None, "2026-11-20T08:00") == utc("2026-11-20T09:00")
    assert following("0 9 * * *", None, "2026-11-20T09:00") == utc("2026-11-21T09:00")
    assert following("0 9 * * *", "2026-11-25T09:00", "2026-11-20T08:00") == utc("2026-11-26T09:00")
    assert following("0 9 * * *", None, "2026-11-01T08:00") == utc("2026-11-20T09:00")
    assert following("0 0 29 2 *", None, "2026-11-20T08:00") == utc("2028-02-29T00:00")
    assert following("every 30s", None, "2026-11-20T07:00") == SEEN
    assert following("every 30s", None, "2026-11-20T08:00") == utc("2026-11-20T08:00:30")
    assert following("every 30s", "2026-11-20T08:00:10", "2026-11-20T09:00") == utc("2026-11-20T09:00:10")
    assert following("every 30s", "2026-11-25T08:00", "2026-11-20T09:00") == utc("2026-11-25T08:00:30")
    assert following("at 2026-11-21T09:00", None, "2026-11-20T08:00") == utc("2026-11-21T09:00")
    assert following("at 2026-11-21T09:00", None, "2026-11-21T09:00") is None


def test_times_may_come_in_any_zone_but_not_without_one() -> None:
    """Two showings of one local hour are told apart even when all times carry the same zone object."""
    berlin = ZoneInfo("Europe/Berlin")
    first = datetime(2026, 10, 25, 2, 10, tzinfo=berlin)
    second = datetime(2026, 10, 25, 2, 5, fold=1, tzinfo=berlin)
    assert due(parse("every 55m", "UTC"), first_seen=first, last=first, now=second, catch_up="once") == (
        utc("2026-10-25T01:05"),
    )
    with pytest.raises(ValueError, match="no time zone"):
        due(parse("@daily", "UTC"), first_seen=SEEN, last=None, now=SEEN.replace(tzinfo=None), catch_up="once")
