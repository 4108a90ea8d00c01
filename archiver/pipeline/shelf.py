"""Tickets that were claimed together and wait for a copier: one transaction for many, when copiers come quickly.

It holds no more than a moment's work, so that an image with a nearer deadline never waits behind it for long: how many
to claim at once doubles when the last ones were gone within a few hundredths of a second, and is halved when they were
not. What lies here is claimed, and goes back when nobody will take it.
"""

from collections.abc import Callable, Collection
from datetime import datetime

from archiver.core.model import Ticket

#: Seconds of work that may lie here.
MOMENT_S = 0.05
MOST = 50

Purpose = tuple[datetime | None, tuple[str, ...] | None]
"""What the tickets were claimed for: tried before then, and of these generations only."""


class Shelf:
    """Some tickets, in the order of their deadlines. Whoever uses it holds a lock."""

    def __init__(self, elapsed: Callable[[], float] | None = None) -> None:
        """`elapsed` counts seconds on a clock that nobody sets; without it, images are claimed one by one."""
        self._elapsed = elapsed
        self._tickets: list[Ticket] = []
        self._purpose: Purpose = (None, None)
        self._many = 1
        self._filled_at = 0.0
        self._hosts: Collection[str] = ()
        self._asked_at: float | None = None

    def how_many(self, purpose: Purpose) -> int:
        """How many to claim now. One where tickets lie here for another purpose, or of passed hosts."""
        if self._elapsed is None or self._tickets:
            return 1
        now = self._elapsed()
        self._many = min(self._many * 2, MOST) if now - self._filled_at < MOMENT_S else max(self._many // 2, 1)
        self._filled_at, self._purpose = now, purpose
        return self._many

    def hosts(self, ask: Callable[[], Collection[str]]) -> Collection[str]:
        """Every host of which something is still to be fetched, as it was a moment ago."""
        if self._elapsed is None:
            return ask()
        now = self._elapsed()
        if self._asked_at is None or now - self._asked_at >= MOMENT_S:
            self._hosts, self._asked_at = ask(), now
        return self._hosts

    def take(self, purpose: Purpose, except_hosts: Collection[str]) -> Ticket | None:
        """The first ticket for this purpose, but of none of these hosts."""
        if purpose != self._purpose:
            return None
        for place, ticket in enumerate(self._tickets):
            if host_of(ticket) not in except_hosts:
                return self._tickets.pop(place)
        return None

    def put(self, tickets: list[Ticket]) -> None:
        """Keep the rest of those that were claimed."""
        self._tickets += tickets

    def give_back(self, hosts: Collection[str] | None = None) -> list[Ticket]:
        """Remove the tickets of these hosts, or all."""
        gone = [ticket for ticket in self._tickets if hosts is None or host_of(ticket) in hosts]
        self._tickets = [ticket for ticket in self._tickets if ticket not in gone] if gone else self._tickets
        return gone


def host_of(ticket: Ticket) -> str | None:
    """Whom a ticket's bytes are asked of, None when they lie here."""
    return ticket.url.authority if ticket.url is not None and ticket.spooled is None else None
