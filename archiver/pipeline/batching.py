"""Asking for many at once: what is planned is gathered into a batch, handed over, and ordered once.

All of a batch is committed as submitted before anything is sent, and as ordered before the order itself. Until then
nothing was bought, and all that goes wrong puts the generations back; after it, a batch whose order was not answered is
looked for by its own name, and in doubt when it is not found. `collecting` takes in what comes.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

from archiver.catalogue import Catalogue, Owner, Submission
from archiver.core import batching, policy
from archiver.core.budget import Limit
from archiver.core.errors import AdapterError, Ambiguous, Permanent, Throttled, Transient
from archiver.core.ports import BatchProvider, Provider
from archiver.core.redaction import redact
from archiver.pipeline.gathering import Gathering
from archiver.pipeline.preflight import Preflight
from archiver.pipeline.reception import Reception
from archiver.resilience import Doors, Word

log = structlog.get_logger("archiver")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """A new batch, committed as submitted."""

    batch_id: str
    submissions: Sequence[Submission]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batching:
    """Over one catalogue, by one process."""

    catalogue: Catalogue
    owner: Owner
    reception: Reception
    gathering: Gathering
    doors: Doors
    preflight: Preflight | None
    limits: tuple[Limit, ...]
    now: Callable[[], datetime]
    luck: Callable[[], float]
    new_id: Callable[[], str]

    def take(
        self, provider: BatchProvider, *, job: str | None = None, ids: Sequence[str] | None = None
    ) -> Gathered | None:
        """Gather what is planned, and commit that it is being asked for. None when there is nothing, or more may come
        soon, or we could not keep the result, or the provider wants a pause."""
        now, name = self.now(), provider.name
        fit: Collection[str] | None = None
        self.catalogue.reusing.reuse(name, now, job=job, ids=ids)
        if self.doors.providers.pause(name, now) or self.doors.paces.pause(name):
            return None
        wanted = self.catalogue.fitness.wanted(name, now, job=job, ids=ids)
        if wanted is None or (self.preflight and not (fit := self.preflight.fit(wanted))):
            return None
        if self.preflight and not self.preflight.has_room(provider, wanted.images, self.reception.providers):
            return None
        with self.doors.providers.choosing:
            if self.doors.paces.pause(name) or self.doors.providers.enter(name, now) is not None:
                return None
            batch_id = self.new_id()
            submissions: list[Submission] = []
            try:
                submissions = self.catalogue.batches.gather(
                    batch_id,
                    name,
                    self.owner.id,
                    now,
                    quiet_for=provider.gather,
                    most=provider.most_at_once,
                    until=now + batching.LEASE,
                    job=job,
                    ids=ids,
                    fit=fit,
                    cost=self.reception.tariff(provider).expected,
                    limits=self.limits,
                )
            finally:
                if submissions:
                    self.doors.paces.take(name)
                else:
                    self.doors.providers.give_back(name)
        return Gathered(batch_id=batch_id, submissions=submissions) if submissions else None

    def submit(self, provider: BatchProvider, gathered: Gathered) -> None:
        """Hand a batch over and order it, once, and record what comes of it."""
        word = Word("refused")
        try:
            word = self._submit(provider, gathered)
        finally:
            self.doors.providers.leave(provider.name, self.now(), self.luck(), word)

    def _submit(self, provider: BatchProvider, gathered: Gathered) -> Word:
        batch_id = gathered.batch_id
        attempts = max(submission.attempts for submission in gathered.submissions)
        is_ordered = False
        try:
            lines = self._lines(provider, gathered)
            if not lines:
                self.catalogue.batches.withdraw(
                    batch_id, self.owner.id, self.now(), "nothing is left of it", self.now()
                )
                return Word("refused")
            uploaded = provider.upload(batch_id, lines)
            del lines
            now = self.now()
            if not self.catalogue.batches.order(batch_id, self.owner.id, now, now + batching.LEASE):
                return Word("refused")
            is_ordered = True
            handle = provider.create(batch_id, uploaded)
        except AdapterError as error:
            self._unanswered(provider, batch_id, attempts, error)
            return Word.of(error)
        except Exception as error:
            log.exception("unexpected", batch=batch_id)
            reason = f"unexpected {type(error).__name__}"
            self._unanswered(provider, batch_id, attempts, Ambiguous(reason) if is_ordered else Transient(reason))
            return Word("refused")
        now = self.now()
        self.catalogue.batches.accept(batch_id, self.owner.id, handle, now + provider.promise.poll_interval, now)
        return Word()

    def _lines(self, provider: BatchProvider, gathered: Gathered) -> bytes:
        """The file. What cannot be asked for fails alone; what does not fit any more waits for the next batch."""
        lines = bytearray()
        for submission in gathered.submissions:
            arguments = (submission.ask.generation_id, self.owner.id)
            now = self.now()
            try:
                line = provider.line(self.gathering.complete(submission))
                if len(line) > provider.most_bytes:
                    raise Permanent(f"its line has {len(line)} bytes, and {provider.most_bytes} are taken")
            except Permanent as error:
                self.catalogue.generations.fail(*arguments, redact(str(error)), now, is_free=True)
            except AdapterError as error:
                verdict = policy.after_submit(error.word, now=now, attempts=submission.attempts, luck=self.luck())
                self.catalogue.generations.withdraw(*arguments, verdict.not_before or now, redact(str(error)), now)
            else:
                if len(lines) + len(line) > provider.most_bytes:
                    self.catalogue.generations.withdraw(*arguments, now, "the batch was full", now)
                else:
                    lines += line
        return bytes(lines)

    def _unanswered(self, provider: Provider, batch_id: str, attempts: int, error: AdapterError) -> None:
        now, batches = self.now(), self.catalogue.batches
        verdict = policy.after_submit(
            error.word,
            now=now,
            attempts=attempts,
            luck=self.luck(),
            retry_after=error.retry_after if isinstance(error, Throttled) else None,
        )
        reason = redact(str(error))
        if verdict.not_before is not None:
            batches.withdraw(batch_id, self.owner.id, verdict.not_before, reason, now)
        elif verdict.move == "fail":
            batches.refuse(batch_id, self.owner.id, reason, now)
        else:  # it stays ordered, and is looked for
            batches.put_back(batch_id, self.owner.id, now + provider.promise.poll_interval, now, error=reason)

    def recover(self) -> None:
        """Take over from processes that are gone: what they gathered and did not order was not bought; all else is due
        now."""
        now = self.now()
        for owner in self.catalogue.batch_reports.owners():
            if self.owner.is_alive(owner):
                continue
            for batch_id in self.catalogue.batch_reports.gathered(owner):
                reason = "the process that gathered it ended before it was ordered"
                self.catalogue.batches.withdraw(batch_id, owner, now, reason, now)
            self.catalogue.batches.free(owner, now)
        outputs = self.reception.inbox.outputs
        if left := outputs.names():
            over = self.catalogue.batch_reports.over(left)
            for batch_id in left:
                if batch_id in over:  # one that is not known at all may be a lost catalogue's: it was paid for
                    outputs.discard(batch_id)
