"""Schedule strings, and the one answer to "which ticks are due?" that the daemon and `run --once` share.

Pure functions: the caller passes `now` and what the catalogue remembers; aware datetimes come in, UTC goes out. It
wakes nobody, claims nothing and spends nothing: the unique tick row in the catalogue owns the spending.
"""

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from zoneinfo import ZoneInfo, available_timezones

from archiver.schedule.cron import Cron, first_showing, parse_cron

__all__ = ["MOST_MISSED_TICKS", "At", "Cron", "Every", "Schedule", "due", "find_zone", "next_due", "parse"]

MOST_MISSED_TICKS = 1000
"""At most so many ticks are due at once under catch_up "all", the latest ones: a bound for spending."""

_GRACE = timedelta(hours=1)
_INSTANT = timedelta(microseconds=1)
_LONGEST = timedelta(days=3660)
_UNIT = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_NAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_FORMS = 'write "0 9 * * *" (minute hour day month weekday), "@daily", "every 30m" or "at 2026-12-01T09:00"'


@dataclass(frozen=True, slots=True)
class Every:
    """A fixed period of elapsed time, at least one second, counted from the last tick."""

    period: timedelta


@dataclass(frozen=True, slots=True)
class At:
    """One moment, in UTC."""

    moment: datetime


Schedule = Cron | Every | At


def parse(text: str, zone: str) -> Schedule:
    """Understand a schedule; local times are meant in `zone` (IANA). Raises ValueError that says what to write."""
    where = find_zone(zone)
    words = text.lower().split()
    match words:
        case ["every", *rest]:
            return _every(" ".join(rest))
        case ["at", *rest]:
            return _at(" ".join(rest).upper(), where)
        case [name] if name in _NAMES:
            return parse_cron(_NAMES[name].split(), where)
        case ["@reboot"]:
            raise ValueError('"@reboot" is no time: a restart must not cost money; ' + _FORMS)
        case [_, _, _, _, _]:
            return parse_cron(words, where)
    raise ValueError(f'"{text}" is no schedule; {_FORMS}')


def find_zone(name: str) -> ZoneInfo:
    """The IANA time zone `name`. Raises ValueError with the nearest name that exists."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # OSError: a folder of the database, such as "Asia"
        known = {zone.lower(): zone for zone in available_timezones()}
        near = [known[match] for match in difflib.get_close_matches(name.lower(), known, n=1)]
        hint = f'did you mean "{near[0]}"?' if near else 'write an IANA name such as "Asia/Shanghai" or "UTC"'
        raise ValueError(f'"{name}" is no time zone; {hint}') from None


def due(
    schedule: Schedule, *, first_seen: datetime, last: datetime | None, now: datetime, catch_up: str
) -> tuple[datetime, ...]:
    """The ticks to run now, oldest first.

    `first_seen` is when this job was first seen with this schedule, `last` the latest tick of the job in the catalogue
    (None: it never ran). `catch_up` says what becomes of missed ticks:

    - `once`: only the latest one runs;
    - `all`: every one since `first_seen` runs (the latest 1,000 of them);
    - `skip`: the latest one runs if it is on time: late by at most one hour and at most half of the gap to the next.

    `every` keeps its phase, from `last` or, for a job that never ran, from `first_seen`: that first tick is due at once
    under every `catch_up`. `at` is due once, also when it had passed before the job was first seen; `skip` lets it go
    after one hour. A clock that went backwards yields nothing. Raises ValueError for a time without zone.
    """
    first_seen, last, now = _utc(first_seen), _utc(last) if last else None, _utc(now)
    missed = _backwards(schedule, first_seen, last, now)
    latest = next(missed, None)
    if latest is None:
        return ()
    if catch_up == "skip" and not _on_time(schedule, first_seen, last, latest, now):
        return ()
    if catch_up != "all":
        return (latest,)
    # What this schedule would have missed before it was first seen was never promised.
    more = islice(takewhile(lambda tick: tick >= first_seen, missed), MOST_MISSED_TICKS - 1)
    return (*reversed(list(more)), latest)


def next_due(schedule: Schedule, *, first_seen: datetime, last: datetime | None, now: datetime) -> datetime | None:
    """The first tick after `now`, None when there will be none. What is due already is the answer of `due`."""
    first_seen, last, now = _utc(first_seen), _utc(last) if last else None, _utc(now)
    after = max(now, last) if last else now
    match schedule:
        case At(moment):
            return moment if moment > after else None
        case Every(period):
            anchor = last or first_seen
            return anchor if after < anchor else anchor + ((after - anchor) // period + 1) * period
        case Cron():
            return schedule.after(max(after, first_seen))


def _on_time(schedule: Schedule, first_seen: datetime, last: datetime | None, tick: datetime, now: datetime) -> bool:
    if isinstance(schedule, Every) and last is None:
        return True
    following = next_due(schedule, first_seen=first_seen, last=last, now=tick)
    return now - tick <= (min(_GRACE, (following - tick) / 2) if following else _GRACE)


def _backwards(schedule: Schedule, first_seen: datetime, last: datetime | None, now: datetime) -> Iterator[datetime]:
    """The ticks that have not run, from the latest one until `now` back to the first."""
    match schedule:
        case At(moment):
            if moment <= now and (last is None or last < moment):
                yield moment
        case Every(period):
            anchor = last or first_seen
            for count in range((now - anchor) // period, 0 if last else -1, -1):
                yield anchor + count * period
        case Cron():
            tick = schedule.until(now)
            while tick is not None and tick > (max(first_seen, last) if last else first_seen):
                yield tick
                tick = schedule.until(tick - _INSTANT)


def _every(text: str) -> Every:
    match = re.fullmatch(r"([0-9]{1,9})\s*([smhd])", text)
    period = timedelta(**{_UNIT[match[2]]: int(match[1])}) if match else timedelta(0)
    if not timedelta(seconds=1) <= period <= _LONGEST:
        raise ValueError(
            f'"every {text}" is no period; write "every 30m": a whole number of s, m, h or d, from 1 s to ten years'
        )
    return Every(period)


def _at(text: str, zone: ZoneInfo) -> At:
    try:
        moment = datetime.fromisoformat(text)
        if not re.search(r"[T ][0-9]", text):
            raise ValueError("a date alone")
        return At(_utc(moment) if moment.tzinfo else first_showing(moment, zone))
    except (ValueError, OverflowError):
        raise ValueError(
            f'"at {text}" is no moment; write "at 2026-12-01T09:00", or with an offset "at 2026-12-01T09:00+08:00"'
        ) from None


def _utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone")
    return moment.astimezone(UTC)
