"""Turning outcomes into settlements: the lineage record first, then one transaction for the whole batch.

One thread does it for all copiers. A batch closes at 500 images, after a second, or as soon as nobody is copying: a
lone image waits for nobody. What a failure means is asked of `core.policy`; this file only gathers and writes.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from archiver.catalogue import Catalogue, Settlement, as_text
from archiver.core import policy
from archiver.core.errors import AdapterError, Permanent
from archiver.core.model import Outcome
from archiver.core.ports import Store
from archiver.pipeline import lineage
from archiver.pipeline.inbox import Inbox
from archiver.pipeline.spool import Spool

MOST_IN_A_BATCH = 500
LONGEST_WAIT_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settler:
    """Settles batches of outcomes."""

    catalogue: Catalogue
    stores: Mapping[str, Store]
    inbox: Inbox
    spool: Spool
    now: Callable[[], datetime]
    luck: Callable[[], float]
    new_id: Callable[[], str]

    def settle(self, outcomes: Sequence[Outcome]) -> list[tuple[Settlement, bool]]:
        """Write the lineage records of a batch, then the batch. Returns what was decided on each outcome, and whether
        its image is stored now."""
        now = self.now()
        keys, errors = self._record(outcomes, now)
        settlements = [self._decide(outcome, keys, errors, now) for outcome in outcomes]
        settled = self.catalogue.images.settle(settlements, now)
        for generation_id in settled.generations:
            self.inbox.discard(generation_id)
        results = [(item, (item.ticket.image_id, item.ticket.claim) in settled.images) for item in settlements]
        for item, is_stored in results:
            if is_stored and (names := {name for name in (item.ticket.spooled, item.spooled) if name}):
                for name in names:
                    self.spool.discard(name)
        return results

    def _record(
        self, outcomes: Sequence[Outcome], now: datetime
    ) -> tuple[dict[tuple[str, str], str], dict[str, AdapterError]]:
        """One file of records per store. Returns the record's key per (image, store), and the stores that failed."""
        ids = [outcome.ticket.image_id for outcome in outcomes]
        facts, archived_at = self.catalogue.records.of(ids), as_text(now)
        lines: dict[str, list[tuple[str, dict[str, object]]]] = {}
        for outcome in outcomes:
            image_id = outcome.ticket.image_id
            said = facts[image_id]
            image = said["image"] | {"claim": outcome.ticket.claim}
            if outcome.fetched is not None:
                info = outcome.fetched.info
                said = {**said, "content_type": info.content_type, "width": info.width, "height": info.height}
                image |= {"extension": info.extension, "verdict": info.verdict}
                image["fetched_at"] = image["fetched_at"] or as_text(outcome.fetched.at)
            said = {**said, "image": image}
            for receipt in outcome.receipts:
                copy = {name: getattr(receipt, name) for name in lineage.OF_A_COPY}
                lines.setdefault(receipt.store, []).append((image_id, lineage.record(said, copy, archived_at)))
            if not outcome.ticket.wants:
                for old in self.catalogue.images.unrecorded(image_id):
                    line = lineage.record(said, old, str(old["confirmed_at"]))
                    lines.setdefault(str(old["store"]), []).append((image_id, line))
        keys: dict[tuple[str, str], str] = {}
        errors: dict[str, AdapterError] = {}
        for name, entries in lines.items():
            store = self.stores.get(name)
            if store is None:
                errors[name] = Permanent(f"store {name!r} is not in the configuration any more")
                continue
            try:
                key = lineage.write(store, [line for _, line in entries], self.new_id(), now)
            except AdapterError as error:
                errors[name] = error
            else:
                keys |= {(image_id, name): key for image_id, _ in entries}
        return keys, errors

    def _decide(
        self,
        outcome: Outcome,
        keys: Mapping[tuple[str, str], str],
        errors: Mapping[str, AdapterError],
        now: datetime,
    ) -> Settlement:
        ticket = outcome.ticket
        words = [(failure.word, failure.message, failure.store, failure.retry_after) for failure in outcome.failures]
        words += [
            (error.word, f"lineage record: {error}", name, getattr(error, "retry_after", None))
            for name, error in errors.items()
            if any(receipt.store == name for receipt in outcome.receipts) or not ticket.wants
        ]
        deadline = ticket.deadline
        if outcome.evidence:
            deadline = min(deadline, policy.decide_deadline(outcome.evidence, now)[0])
        stores = {want.store for want in ticket.wants} | {copy.store for copy in ticket.copies}
        recorded = [(store, key) for store in sorted(stores) if (key := keys.get((ticket.image_id, store)))]
        not_before = min(
            (
                policy.next_attempt(
                    word,
                    now=now,
                    deadline=deadline,
                    attempts=ticket.attempts + 1,
                    luck=self.luck(),
                    retry_after=retry_after,
                    created=ticket.created_at,
                    at_source=store is None and ticket.spooled is None,
                )
                for word, _, store, retry_after in words
            ),
            default=None,
        )
        at_source = [item for item in outcome.failures if item.stage == "fetch" and item.store is None]
        return Settlement(
            ticket=ticket,
            fetched=outcome.fetched,
            receipts=tuple((receipt, keys.get((ticket.image_id, receipt.store))) for receipt in outcome.receipts),
            recorded=() if ticket.wants else tuple(recorded),
            spooled=outcome.spooled,
            unspool=ticket.spooled is not None
            and ticket.url is not None
            and any(failure.word == "corrupt" for failure in at_source),
            not_before=not_before,
            error="; ".join(f"{store}: {text}" if store else text for _, text, store, _ in words) or None,
            # A page in place of an image is as much a refusal as a 404: many hosts say "expired" that way.
            refused=any(failure.word in ("gone", "notanimage") for failure in at_source),
            evidence=outcome.evidence,
        )


@dataclass(slots=True)
class Batcher:
    """The queue in front of a `Settler`: who is copying now, and what has come back."""

    settle: Callable[[Sequence[Outcome]], None]
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _waiting: list[Outcome] = field(default_factory=list)
    _copying: int = 0
    _settling: int = 0
    _closing: bool = False

    def begin(self) -> None:
        """Somebody started to copy an image."""
        with self._changed:
            self._copying += 1

    def end(self, outcome: Outcome | None) -> None:
        """Somebody finished; None when there is nothing to settle."""
        with self._changed:
            self._copying -= 1
            if outcome is not None:
                self._waiting.append(outcome)
            # Only when the settler may have something to do: waking it for every image costs more than settling one.
            if len(self._waiting) in (1, MOST_IN_A_BATCH) or not self._copying:
                self._changed.notify_all()

    @property
    def is_idle(self) -> bool:
        """Nobody copies, and everything that came back is settled."""
        with self._changed:
            return not (self._copying or self._waiting or self._settling)

    def close(self) -> None:
        """Settle what is left, then let `step` return False."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def step(self) -> bool:
        """Wait for a batch and settle it. False when closed and nothing is left. For a thread of its own."""
        batch = self._next()
        if not batch:
            return False
        try:
            self.settle(batch)
        finally:
            with self._changed:
                self._settling = 0
        return True

    def _next(self) -> list[Outcome]:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or (self._closing and not self._copying))
            self._changed.wait_for(
                lambda: not self._copying or len(self._waiting) >= MOST_IN_A_BATCH, timeout=LONGEST_WAIT_S
            )
            batch, self._waiting = self._waiting[:MOST_IN_A_BATCH], self._waiting[MOST_IN_A_BATCH:]
            self._settling = len(batch)
            return batch
