"""When a provider is asked again for what it has accepted: how accepted work stands, and a fresh URL of its images.

Asking is free, so the only questions are how often, and when "no such task" is the truth. As in `policy`, nothing here
acts, and times are aware UTC datetimes.
"""

from datetime import datetime, timedelta

#: Accepted work is first asked for so long after it was accepted.
FIRST_POLL = timedelta(seconds=1)
#: Nobody else polls what somebody polls, for so long: more than two slow looks take.
POLL_LEASE = timedelta(minutes=3)
LONGEST_POLL_PAUSE = timedelta(minutes=1)
#: "No such task" is believed when nothing else was heard for so long: the task may be too new, or a gateway on the way
#: be replaced just now.
DENIED_FOR = timedelta(minutes=10)


def next_poll(interval: timedelta, *, began: datetime, now: datetime, retry_after: float | None = None) -> datetime:
    """When accepted work is asked for again, after a poll that began at `began` and did not end it: every `interval`,
    or when the provider wants it (`retry_after` seconds, at most a minute: what is ready may die meanwhile)."""
    if retry_after is not None:
        interval = max(interval, min(timedelta(seconds=retry_after), LONGEST_POLL_PAUSE))
        return now + interval
    return max(began + interval, now)


def has_vanished(denied: datetime | None, now: datetime) -> bool:
    """Whether "no such task" means that it is gone, having been said at `denied` first and ever since (None: for the
    first time now)."""
    return denied is not None and now - denied >= DENIED_FOR


#: A provider is asked for a fresh URL of one image at most so often, and less often each time.
RENEW_APART = timedelta(minutes=15)
LONGEST_RENEW_PAUSE = timedelta(hours=6)


def may_renew(
    *, now: datetime, deadline: datetime, refused: datetime | None, asked_at: datetime | None, asked: int
) -> bool:
    """Whether to ask for a fresh URL of a pending image: its own was refused or is past its deadline, and the last of
    so many (`asked`) questions is 15 minutes old, then 30, up to 6 hours."""
    if refused is None and now < deadline:
        return False
    pause = min(RENEW_APART * 2.0 ** min(max(asked - 1, 0), 10), LONGEST_RENEW_PAUSE)
    return asked_at is None or now - asked_at >= pause
