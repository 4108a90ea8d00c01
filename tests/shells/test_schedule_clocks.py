"""Cron on the days when clocks change, and against another implementation."""

import random
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim

from archiver.schedule import due, next_due, parse
from tests.shells.walking import local_ticks, ticks

ZONES = (
    "Asia/Shanghai",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/St_Johns",
    "Asia/Kathmandu",
    "Pacific/Apia",
    "UTC",
)


# --- days on which the clock changes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "day", "text", "expected"),
    [
        ("Europe/Berlin", "2026-10-25", "30 2 * * *", ["Sun 25 02:30+0200"]),
        ("Europe/Berlin", "2026-03-29", "30 2 * * *", ["Sun 29 03:00+0200"]),
        ("Europe/Berlin", "2026-03-29", "0,30 2 * * *", ["Sun 29 03:00+0200"]),
        ("Europe/Berlin", "2026-03-29", "0 2,3,4 * * *", ["Sun 29 03:00+0200", "Sun 29 04:00+0200"]),
        ("America/New_York", "2026-11-01", "30 1 * * *", ["Sun 01 01:30-0400"]),
        ("America/New_York", "2026-03-08", "15 2 * * *", ["Sun 08 03:00-0400"]),
        ("Australia/Lord_Howe", "2026-04-05", "45 1 * * *", ["Sun 05 01:45+1100"]),
        ("Australia/Lord_Howe", "2026-10-04", "15 2 * * *", ["Sun 04 02:30+1100"]),
        ("Asia/Shanghai", "2026-10-25", "30 2 * * *", ["Sun 25 02:30+0800"]),
        ("Pacific/Apia", "2011-12-29", "0 9 * * *", ["Thu 29 09:00-1000", "Sat 31 00:00+1400", "Sat 31 09:00+1400"]),
    ],
)
def test_a_repeated_local_time_fires_once_and_a_skipped_one_when_the_gap_ends(
    zone: str, day: str, text: str, expected: list[str]
) -> None:
    assert local_ticks(text, zone, day, days=2 if zone == "Pacific/Apia" else 1) == expected


def test_an_hourly_job_has_its_24_ticks_on_every_day() -> None:
    """Also on the day of 23 hours and on the day of 25: each local time is had exactly once."""
    for day, hours in (("2026-03-29", 23), ("2026-10-25", 25)):
        start = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo("Europe/Berlin")).astimezone(UTC)
        end = start + timedelta(hours=hours)
        assert len(ticks("30 * * * *", "Europe/Berlin", start, end)) == 24


def test_during_the_second_showing_the_last_tick_is_of_the_first() -> None:
    """At 02:10 shown again, 02:55 of the first showing was the last tick, and 03:00 is the next."""
    now = datetime(2026, 10, 25, 1, 10, tzinfo=UTC)
    seen = now - timedelta(days=1)
    schedule = parse("*/5 * * * *", "Europe/Berlin")
    before, after = datetime(2026, 10, 25, 0, 55, tzinfo=UTC), datetime(2026, 10, 25, 2, 0, tzinfo=UTC)
    assert due(schedule, first_seen=seen, last=None, now=now, catch_up="once") == (before,)
    assert due(schedule, first_seen=seen, last=before, now=now, catch_up="once") == ()
    assert next_due(schedule, first_seen=seen, last=before, now=now) == after


# --- against another implementation ---------------------------------------------------------------------------------


def random_field(rng: random.Random, low: int, high: int) -> str:
    def number() -> int:
        return rng.randint(low, high)

    def span() -> str:
        first, last = sorted(rng.sample(range(low, high + 1), 2))  # cronsim reads 0-0/5 as 0-7/5
        return f"{first}-{last}"

    kind = rng.randrange(7)
    match kind:
        case 0 | 1:
            return "*"
        case 2:
            return f"*/{rng.randint(1, high)}"
        case 3:
            return span()
        case 4:
            return f"{span()}/{rng.randint(1, 5)}"
        case 5:
            return ",".join(str(number()) for _ in range(rng.randint(2, 4)))
        case _:
            return str(number())


def random_cron(rng: random.Random) -> str:
    bounds = ((0, 59), (0, 23), (1, 28), (1, 12), (0, 7))
    return " ".join(random_field(rng, low, high) for low, high in bounds)


def reached(wall: datetime, zone: ZoneInfo) -> datetime:
    """The first minute in UTC when the clock shows `wall` or later, found by watching the clock."""
    moment = wall.replace(tzinfo=UTC) - timedelta(hours=27)
    for step in (timedelta(minutes=30), timedelta(minutes=1)):  # no clock here repeats less than half an hour
        while (moment + step).astimezone(zone).replace(tzinfo=None) < wall:
            moment += step
    return moment + timedelta(minutes=1)


def test_random_expressions_have_the_ticks_that_cronsim_finds() -> None:
    """cronsim says which wall times match; watching the clock says when each is first reached."""
    seed = random.SystemRandom().randrange(10**9)
    print("seed", seed)
    rng = random.Random(seed)
    for _ in range(150):
        text, zone = random_cron(rng), ZoneInfo(rng.choice(ZONES))
        begin = change_of_clock(rng, zone) - timedelta(hours=rng.randint(0, 60))
        wall = begin.astimezone(zone).replace(tzinfo=None)
        # Two days back, in wall time: Apia skipped a whole day, whose ticks come when that day is over.
        matching = CronSim(text, wall.replace(tzinfo=UTC) - timedelta(days=2))
        expected: list[datetime] = []
        while len(expected) < 40:
            moment = reached(next(matching).replace(tzinfo=None), zone)
            if moment > begin and moment not in expected:
                expected.append(moment)
        assert ticks(text, zone.key, begin, expected[-1]) == expected, (text, zone.key, begin)
        schedule = parse(text, zone.key)
        back = due(schedule, first_seen=begin, last=None, now=expected[-1], catch_up="all")
        assert list(back) == expected, (text, zone.key, begin)
        now = begin + rng.random() * (expected[-1] - begin)
        missed = [moment for moment in expected if moment <= now]
        once = due(schedule, first_seen=begin, last=None, now=now, catch_up="once")
        assert list(once) == missed[-1:], (text, zone.key, begin, now)


def test_fixed_times_fire_exactly_when_cronsim_says_on_changing_days() -> None:
    """Where minute and hour are fixed, cronsim has Debian's rule for clock changes, which is ours too."""
    seed = random.SystemRandom().randrange(10**9)
    print("seed", seed)
    rng = random.Random(seed)
    for _ in range(250):
        zone = ZoneInfo(rng.choice(ZONES))
        text = f"{rng.randrange(60)} {rng.randrange(5)},{rng.randrange(24)} * * {random_field(rng, 0, 7)}"
        begin = change_of_clock(rng, zone) - timedelta(hours=rng.randint(24, 60))
        theirs = CronSim(text, begin.astimezone(zone))
        expected: list[datetime] = []
        while len(expected) < 12:
            moment = next(theirs).astimezone(UTC)
            if moment > begin and moment not in expected:  # cronsim names a gap once for each time in it
                expected.append(moment)
        assert ticks(text, zone.key, begin, expected[-1]) == expected, (text, zone.key, begin)


def change_of_clock(rng: random.Random, zone: ZoneInfo) -> datetime:
    """A moment of a change of the zone's clock if it has one in a random year, else a random moment."""
    return rng.choice(changes_of_clock(zone, rng.choice((2011, 2024, 2026, 2027))))


@cache
def changes_of_clock(zone: ZoneInfo, year: int) -> list[datetime]:
    moment = datetime(year, 1, 1, tzinfo=UTC)
    offset = moment.astimezone(zone).utcoffset()
    hours = [moment + timedelta(hours=hour) for hour in range(366 * 24)]
    changes: list[datetime] = []
    for candidate in hours:
        if candidate.astimezone(zone).utcoffset() != offset:
            changes.append(candidate)
            offset = candidate.astimezone(zone).utcoffset()
    return changes or hours
