"""Walking through the ticks of a schedule, for the tests."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from archiver.schedule import next_due, parse


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def ticks(text: str, zone: str, start: datetime, end: datetime) -> list[datetime]:
    """All ticks in (start, end], asked for one by one."""
    found: list[datetime] = []
    schedule = parse(text, zone)
    moment = next_due(schedule, first_seen=start, last=None, now=start)
    while moment is not None and moment <= end:
        found.append(moment)
        moment = next_due(schedule, first_seen=start, last=None, now=moment)
    return found


def local_ticks(text: str, zone: str, day: str, days: int = 1) -> list[str]:
    start = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    found = ticks(text, zone, start - timedelta(seconds=1), start + timedelta(days=days, seconds=-2))
    return [moment.astimezone(ZoneInfo(zone)).strftime("%a %d %H:%M%z") for moment in found]
