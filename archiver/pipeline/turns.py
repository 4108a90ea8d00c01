"""Whose turn it is: the nearest deadline, but past the gates that are closed, and past a host that has enough of the
copiers. It claims and looks ahead; it fetches nothing, and what it passes over keeps its place.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from archiver.catalogue import Catalogue, Resting
from archiver.core import policy
from archiver.core.model import Outcome, Ticket
from archiver.pipeline.preflight import Preflight
from archiver.pipeline.shelf import Purpose, Shelf, host_of
from archiver.resilience import Doors, Word

#: A transfer's total time limit stays below this: an owner that hangs longer loses its claim.
LEASE = timedelta(minutes=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turns:
    """Over one catalogue, with the gates of this process."""

    catalogue: Catalogue
    owner: str
    doors: Doors
    shelf: Shelf = field(default_factory=Shelf)

    def claim(
        self,
        now: datetime,
        luck: float,
        *,
        tried_before: datetime | None,
        generations: Sequence[str] | None,
        copiers: int | None,
    ) -> Ticket | None:
        """Claim the next image, and pass its host's gate. None when nothing is due; see `Pipeline.next_to_copy`."""
        hosts = self.doors.hosts
        purpose: Purpose = (tried_before, None if generations is None else tuple(generations))
        with hosts.choosing:
            resting = Resting() if tried_before else self._resting(now)
            # What was claimed before its host began to rest keeps its place in the catalogue.
            self._give_back(self.shelf.give_back(resting.hosts) if resting.hosts else [])
            claim = partial(self.catalogue.images.claim, self.owner, now, LEASE, generations=generations)
            # The first probe is the nearest deadline. After it any image: a hundred that never come would be the
            # nearest deadlines for hours, and keep the gate of a healthy host closed.
            for host in [] if tried_before else hosts.doubtful(now):
                if tickets := claim(probe=(host, luck)):
                    return self._enter(tickets[0], now)
            for crowded in self._crowded(copiers):
                ticket = self.shelf.take(purpose, crowded)
                if ticket is None and (
                    tickets := claim(
                        tried_before=tried_before,
                        except_hosts=crowded,
                        resting=resting,
                        limit=self.shelf.how_many(purpose),
                    )
                ):
                    ticket = tickets[0]
                    self.shelf.put(tickets[1:])
                if ticket is not None:
                    return self._enter(ticket, now)
        return None

    def give_back(self) -> None:
        """Release what was claimed and will not be copied: this process leaves."""
        with self.doors.hosts.choosing:
            self._give_back(self.shelf.give_back())

    def _give_back(self, tickets: list[Ticket]) -> None:
        if tickets:
            self.catalogue.images.release(tickets)

    def _enter(self, ticket: Ticket, now: datetime) -> Ticket:
        if host := host_of(ticket):
            self.doors.hosts.enter(host, now, urgent=True)
        return ticket

    def done(self, ticket: Ticket, outcome: Outcome | None, now: datetime, luck: float) -> None:
        """Say what a claimed image's host did. `outcome` is None when a fault of our own came between."""
        host = host_of(ticket)
        if host is None:
            return
        word = Word("refused")  # nobody was asked
        if outcome is not None and ticket.wants:
            at_source = next((failure for failure in outcome.failures if failure.stage == "fetch"), None)
            word = Word(at_source.word, at_source.retry_after) if at_source else Word()
        self.doors.hosts.leave(host, now, luck, word)

    def next_copy_due(self, now: datetime, generations: Sequence[str] | None) -> datetime | None:
        """When the next image (of the given generations) may be tried, None when there is none. What waits for a gate
        that opens within seconds counts as due."""
        images = self.catalogue.images
        free = images.next_due(generations, resting=self._resting(now))
        gates = (self.doors.hosts.next_opening(now), self.doors.stores.next_opening(now))
        opening = min((time for time in gates if time is not None), default=None)
        if opening is None or (held := images.next_due(generations)) is None:
            return free
        held = max(held, _soon(opening, now))
        return held if free is None else min(free, held)

    def next_ask_due(
        self,
        now: datetime,
        providers: Sequence[str],
        *,
        job: str | None,
        ids: Sequence[str] | None,
        preflight: Preflight | None,
    ) -> datetime | None:
        """When the next planned generation of these providers may be asked for, None when there is none. What waits for
        the pace of its provider counts as due: its turn comes."""
        times: list[datetime | None] = []
        for name in providers:
            pause = self.doors.providers.pause(name, now)
            opening = _soon(now + pause, now)
            if preflight is not None and preflight.refusals:
                fit = preflight.fit_stores
                due = self.catalogue.fitness.next_due("planned", providers=[name], job=job, ids=ids, fit=fit, now=now)
                times.append(due and max(due, opening))
                opening = max(opening, preflight.again_at())
            due = self.catalogue.fitness.next_due("planned", providers=[name], job=job, ids=ids, now=now)
            times.append(due and max(due, opening))
        return min((time for time in times if time is not None), default=None)

    def _resting(self, now: datetime) -> Resting:
        return Resting(
            hosts=self.doors.hosts.resting(now),
            stores=self.doors.stores.resting(now),
            urgent_from=now,
            urgent_until=now + policy.URGENT,
        )

    def _crowded(self, copiers: int | None) -> list[frozenset[str]]:
        """The hosts to pass over, and then those to pass over when nobody else has work."""
        if copiers is None:
            return [frozenset()]
        most = policy.most_at_one_host(copiers)
        crowded = self.doors.hosts.crowded(most, proven=True)
        unproven = self.doors.hosts.crowded(most, proven=False)
        if crowded == unproven or crowded.issuperset(self.shelf.hosts(self.catalogue.images.waiting_hosts)):
            return [unproven]
        return [crowded, unproven]


def _soon(opening: datetime, now: datetime) -> datetime:
    return now if opening - now <= policy.WORTH_WAITING else opening
