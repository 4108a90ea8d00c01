"""Taking over from processes that are gone: their claims are free, their answers are read, the rest is in doubt.

Run when a process begins, and now and then while it works. What cannot be taken over keeps its place and stops nobody.
It asks no provider and fetches nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import structlog

from archiver.catalogue import Catalogue, Owner
from archiver.core.ports import Provider
from archiver.pipeline.inbox import Inbox
from archiver.pipeline.leftovers import look_through
from archiver.pipeline.reception import Reception
from archiver.pipeline.spool import Spool

#: A spool file that no row names may belong to a transfer under way; after a day it does not.
LEFTOVER_AGE = timedelta(days=1)

log = structlog.get_logger("archiver")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """What may have been left, and where."""

    catalogue: Catalogue
    owner: Owner
    providers: Mapping[str, Provider]
    reception: Reception
    inbox: Inbox
    spool: Spool

    def recover(self, now: datetime, *, at_start: bool = False) -> None:
        """Take over from processes that are gone: their claims are free, their answers are read, the rest is in doubt.

        What cannot be taken over keeps its place and stops nobody. `at_start`: this process has not begun to work.
        """
        for owner in self.catalogue.images.claimants():
            if not self.owner.is_alive(owner):
                self.catalogue.images.free(owner)
        for owner in self.catalogue.awaiting.pollers():
            if not self.owner.is_alive(owner):
                self.catalogue.awaiting.free(owner, now)
        for submission, owner in self.catalogue.generations.submitted():
            if owner != self.owner.id and not self.owner.is_alive(owner):
                take_over = partial(self.reception.take_over, submission, owner)
                self._carefully(take_over, submission.ask.generation_id)
        for generation_id in self.inbox.begun():
            self._carefully(partial(self._salvage, generation_id), generation_id)
        for generation_id in self.inbox.answered():
            self._carefully(partial(self._look_at, generation_id), generation_id)
        self.owner.bury()
        look_through(self.spool, self.catalogue, now, is_alone=lambda: at_start and self.owner.is_alone())
        self.spool.sweep(self.catalogue.images.spool_names(), now - LEFTOVER_AGE, since=self.catalogue.born)
        self.catalogue.scrub()

    def _salvage(self, generation_id: str) -> None:
        """Somebody died polling: the next poll would write over what had come, and may bring nothing any more."""
        standing = self.catalogue.generations.standing(generation_id)
        if standing is None or (provider := self.providers.get(standing.provider or "")) is None:
            return
        is_over = standing.state in ("unknown", "failed")  # nobody writes it any more
        is_left = standing.owner is None or not self.owner.is_alive(standing.owner)
        if is_over or (standing.state != "submitted" and is_left):
            self.reception.salvage(provider, generation_id, is_free=standing.state == "accepted")

    def _look_at(self, generation_id: str) -> None:
        """A whole answer lies in the inbox: it may have done its duty, or nobody may have read it yet."""
        if self.catalogue.images.is_whole(generation_id):
            self.inbox.discard(generation_id)
            return
        standing = self.catalogue.generations.standing(generation_id)
        if standing is None or (provider := self.providers.get(standing.provider or "")) is None:
            return
        is_left = standing.owner is None or not self.owner.is_alive(standing.owner)
        if standing.state in ("planned", "unknown", "failed") or (standing.state == "accepted" and is_left):
            self.reception.ingest(provider, generation_id, standing.owner or "")
        elif standing.state == "completed":
            self.reception.bring_home(provider, generation_id)

    def _carefully(self, step: Callable[[], None], generation_id: str) -> None:
        try:
            step()
        except Exception:
            log.exception("not taken over", generation=generation_id)
