"""Five cron fields in a time zone: the next tick after a moment, and the last one until it.

Evaluated here and not by APScheduler, which only wakes the daemon: its trigger counts Monday as 0, demands day of month
AND weekday where cron says OR, fires a repeated local time twice, and cannot look backwards, so that finding the last
missed tick would cost a walk through all of them. It refuses what is not in every cron: seconds, `L`, `W` and `#`.

Daylight saving: every local time fires exactly once, at the first moment when the wall clock shows it or a later time.
So a local time that the clock repeats fires at its first showing only, and one that the clock skips fires when the gap
ends (several skipped ones together are one tick). That holds for `*/5 * * * *` too, which therefore pauses during a
repeated hour; `every 5m` does not look at the wall clock at all.
"""

import re
from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

_DAY = timedelta(days=1)
_MINUTE = timedelta(minutes=1)
_SEARCH_DAYS = 41 * 366  # a 29 February on a given weekday can be 40 years away, across 2100
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


@dataclass(frozen=True, slots=True)
class Cron:
    """Wall-clock minutes in a zone. `minutes` are minutes of the day, `weekdays` are ISO (1 Monday … 7 Sunday).

    `either` is cron's rule for two restricted day fields: one of them suffices. A field that starts with `*` does not
    count as restricted, also `*/2`, as in Vixie's and Debian's cron.
    """

    minutes: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either: bool
    zone: ZoneInfo

    def after(self, moment: datetime) -> datetime | None:
        """The first tick later than `moment`, in UTC. None: not within 40 years."""
        wall = self._wall_after(moment.astimezone(self.zone).replace(tzinfo=None))
        # In the second showing of a repeated hour, the next wall times have had their ticks already.
        while wall is not None and (tick := first_showing(wall, self.zone)) <= moment:
            wall = self._wall_after(wall)
        return tick if wall is not None else None

    def until(self, moment: datetime) -> datetime | None:
        """The last tick not later than `moment`, in UTC. None: not within 40 years."""
        local = moment.astimezone(self.zone)
        # In the second showing of a repeated hour, later wall times of the first one have had their ticks already.
        since_first_showing = moment - local.replace(fold=0).astimezone(UTC)
        wall = self._wall_until(local.replace(tzinfo=None) + since_first_showing)
        while wall is not None and (tick := first_showing(wall, self.zone)) > moment:
            wall = self._wall_until(wall - _MINUTE)
        return tick if wall is not None else None

    def _wall_after(self, wall: datetime) -> datetime | None:
        place = bisect_right(self.minutes, wall.hour * 60 + wall.minute)
        if place < len(self.minutes) and self._on(wall.date()):
            return _wall(wall.date(), self.minutes[place])
        day = self.day(wall.date() + _DAY, _DAY)
        return _wall(day, self.minutes[0]) if day else None

    def _wall_until(self, wall: datetime) -> datetime | None:
        place = bisect_right(self.minutes, wall.hour * 60 + wall.minute)
        if place > 0 and self._on(wall.date()):
            return _wall(wall.date(), self.minutes[place - 1])
        day = self.day(wall.date() - _DAY, -_DAY)
        return _wall(day, self.minutes[-1]) if day else None

    def day(self, day: date, step: timedelta) -> date | None:
        """The first day with ticks from `day` on, in steps of plus or minus one day."""
        for _ in range(_SEARCH_DAYS):
            if self._on(day):
                return day
            day += step
        return None

    def _on(self, day: date) -> bool:
        if day.month not in self.months:
            return False
        by_date, by_weekday = day.day in self.days, day.isoweekday() in self.weekdays
        return by_date or by_weekday if self.either else by_date and by_weekday


def parse_cron(words: list[str], zone: ZoneInfo) -> Cron:
    """Understand minute, hour, day of month, month and weekday, in lower case. Raises ValueError with what is wrong."""
    minute, hour, day, month, weekday = words
    hours, minutes = _field("hour", hour, 0, 23), _field("minute", minute, 0, 59)
    cron = Cron(
        minutes=tuple(sorted(h * 60 + m for h in hours for m in minutes)),
        days=_field("day of month", day, 1, 31),
        months=_field("month", month, 1, 12, _MONTHS),
        weekdays=frozenset(number or 7 for number in _field("weekday", weekday, 0, 7, _WEEKDAYS)),
        either=not day.startswith("*") and not weekday.startswith("*"),
        zone=zone,
    )
    if cron.day(date(2000, 1, 1), _DAY) is None:
        raise ValueError(f'"{" ".join(words)}" never comes: there is no such day in the months given')
    return cron


def first_showing(wall: datetime, zone: ZoneInfo) -> datetime:
    """The first moment, in UTC, when the clock of `zone` shows the naive time `wall` or a later one."""
    moment = wall.replace(tzinfo=zone).astimezone(UTC)
    if moment.astimezone(zone).replace(tzinfo=None) == wall:
        return moment
    # The clock skips `wall`. PEP 495: fold=1 reckons with the offset after the gap, fold=0 with the one before it, so
    # that the end of the gap lies between the two moments.
    early, late = wall.replace(tzinfo=zone, fold=1).astimezone(UTC), moment
    while late - early > timedelta(seconds=1):
        middle = early + (late - early) // 2
        if middle.astimezone(zone).replace(tzinfo=None) < wall:
            early = middle
        else:
            late = middle
    return late.replace(microsecond=0)


def _wall(day: date, minute: int) -> datetime:
    return datetime.combine(day, time(minute // 60, minute % 60))


def _field(what: str, text: str, low: int, high: int, names: tuple[str, ...] = ()) -> frozenset[int]:
    """The numbers that one cron field means: a list of `*`, `a` or `a-b`, each with an optional `/step`."""
    numbers: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"(?:\*|(\w+)(?:-(\w+))?)(?:/([0-9]{1,4}))?", part)
        if match is None:
            raise ValueError(f'{what} "{part}" is not understood; write *, 5, 1-5, */15 or a list of these')
        first, until, step = match.groups()
        start = low if first is None else _number(what, first, low, high, names)
        if until is not None:
            stop = _number(what, until, low, high, names)
            stop = 7 if until == "sun" and start > stop else stop  # fri-sun
        else:
            stop = high if first is None or step is not None else start  # 5/15 means 5-59/15
        if stop < start or (step is not None and int(step) == 0):
            raise ValueError(f'{what} "{part}" is empty; write the lower number first, and a step of at least 1')
        numbers.update(range(start, stop + 1, int(step or 1)))
    return frozenset(numbers)


def _number(what: str, text: str, low: int, high: int, names: tuple[str, ...]) -> int:
    number = low + names.index(text) if text in names else int(text) if re.fullmatch(r"[0-9]{1,4}", text) else -1
    if not low <= number <= high:
        example = f" or {names[0]} to {names[-1]}" if names else ""
        raise ValueError(f'{what} "{text}" is out of range; write {low} to {high}{example}')
    return number
