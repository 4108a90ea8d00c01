"""Batches: many requests handed over as one file, made later at a lower price, and fetched as one file.

The values that cross rooms, and the decisions: what may wait, when a batch is looked at again, and when its output is
about to die. Pure, as all of core.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from archiver.core.polling import LONGEST_POLL_PAUSE

#: How long a batch whose creation was not answered is looked for under its own name before it counts as unknown.
LOOKED_FOR = timedelta(minutes=10)
#: Nobody else works on a batch that somebody works on, for so long: it is renewed while its output is taken in.
LEASE = timedelta(minutes=10)
#: The output of a batch that is over is told of when it dies within this time.
DIES_SOON = timedelta(hours=6)
#: A batch that its provider does not know for so long is over: they take a day, two at most.
GONE_AFTER = timedelta(days=4)
#: What cannot go on for want of room is looked at again.
NO_ROOM_PAUSE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchState:
    """How a batch stands, in its provider's `word`. `files` are what its output is fetched by, when `is_over`; they die
    at `expires_at` (None: the provider does not say). `rest_is_free`: what has no line in them was not charged."""

    word: str
    is_over: bool = False
    files: tuple[str, ...] = ()
    expires_at: datetime | None = None
    rest_is_free: bool = False
    done: int | None = None
    failed: int | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLine:
    """One line of an output: the generation that it belongs to, and, when it holds no answer, why not. A line with an
    `error` was not charged."""

    generation_id: str
    error: str | None = None


def look_again(interval: timedelta, now: datetime, retry_after: float | None = None) -> datetime:
    """When a batch that still runs is asked for again."""
    wanted = timedelta(seconds=retry_after) if retry_after is not None else timedelta(0)
    return now + max(interval, min(wanted, max(interval, LONGEST_POLL_PAUSE)))


def is_given_up(submitted: datetime, now: datetime) -> bool:
    """Whether a batch that nobody found under its name is in doubt from now on. A clock that was set back a little
    says nothing; by more, and it would be looked for until the clock is there again."""
    return abs(now - submitted) >= LOOKED_FOR


def is_gone(submitted: datetime, now: datetime) -> bool:
    """Whether "no such batch" is the truth, and not a mishap of the provider: all of it is paid for."""
    return now - submitted > GONE_AFTER


def dies_soon(expires: datetime, now: datetime) -> bool:
    """Whether the output of a batch that is over has little time left to be fetched."""
    return expires - now <= DIES_SOON
