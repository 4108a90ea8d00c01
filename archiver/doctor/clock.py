"""Whether the clock of this machine agrees with those of the servers that answered.

Signatures are refused when clocks differ by 15 minutes, and deadlines are wrong by as much as the clock is.
"""

from collections.abc import Iterable, Iterator
from datetime import timedelta
from email.utils import parsedate_to_datetime

from archiver.doctor.findings import Finding, bad, ok, warn
from archiver.wiring.examining import Heard

SUBJECT = "clock"
TOLERABLE = timedelta(minutes=1)
BREAKING = timedelta(minutes=10)
_GRAIN = timedelta(seconds=2)  # a Date has whole seconds, and is written before the reply is
_SET_IT = "set the clock, for example with NTP (timedatectl set-ntp true)"


def ahead(heard: Heard) -> timedelta | None:
    """How far our clock is ahead of the server's (below zero: behind); None when the reply does not tell."""
    if "age" in heard.reply.headers:  # from a cache: the date is that of the original
        return None
    try:
        theirs = parsedate_to_datetime(heard.reply.headers.get("date", ""))
    except ValueError:
        return None
    if theirs.tzinfo is None:
        return None
    if theirs < heard.began - _GRAIN:
        return heard.began - theirs
    return heard.ended - theirs if theirs > heard.ended + _GRAIN else timedelta(0)


def clock(replies: Iterable[Heard]) -> Iterator[Finding]:
    """One line for each server that disagrees, or one for all."""
    found: dict[str, timedelta] = {}
    for heard in replies:
        if (difference := ahead(heard)) is not None:
            found[heard.host] = difference
    wrong = {host: by for host, by in found.items() if abs(by) > TOLERABLE}
    for host, by in wrong.items():
        how = "ahead of" if by > timedelta(0) else "behind"
        text = f"this machine is {_minutes(by)} {how} {host}"
        if abs(by) > BREAKING:
            yield bad(SUBJECT, "date", f"{text}: signed requests are refused", _SET_IT)
        else:
            yield warn(SUBJECT, "date", text, _SET_IT)
    if found and not wrong:
        yield ok(SUBJECT, "date", f"agrees with {', '.join(sorted(found))}")


def _minutes(by: timedelta) -> str:
    seconds = abs(by).total_seconds()
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"
