"""Taking in what batches brought: asked for until they are over, fetched as files, and read line by line.

Each line becomes an answer in the inbox and goes through the same door as any other, in its own transaction; so a death
in the middle costs nothing but reading again. An output is never in memory as a whole. When the disk or the spool is
full, nothing is lost: the file stays, and the batch is gone on with later.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from archiver.catalogue import BatchRow, Catalogue
from archiver.core import batching
from archiver.core.batching import BatchState
from archiver.core.errors import AdapterError, Permanent, Throttled, Transient, Unusable
from archiver.core.ports import BatchProvider
from archiver.core.redaction import redact
from archiver.pipeline.inbox import Inbox, Outputs
from archiver.pipeline.preflight import Preflight
from archiver.pipeline.reception import Reception

#: A lease is renewed when so much of it is over.
RENEW_AFTER = timedelta(minutes=1)

log = structlog.get_logger("archiver")


class _Stopped(Exception):
    """Nothing went wrong: this process is to stop, or somebody else goes on."""


@dataclass(slots=True)
class _Hold:
    """The lease of one batch while somebody works on it."""

    batch: BatchRow
    renewed: datetime
    unread: int = 0
    #: A line that belongs to nobody we know of: it may be all that is left of an image that was paid for.
    has_odd_line: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Collecting:
    """Over one catalogue, by one process. `arrived` is called for every generation that was completed."""

    catalogue: Catalogue
    reception: Reception
    inbox: Inbox
    preflight: Preflight | None
    owner: str
    now: Callable[[], datetime]
    arrived: Callable[[str], None] = lambda _: None
    is_stopping: Callable[[], bool] = field(default=lambda: False)

    def take(self, provider: BatchProvider) -> BatchRow | None:
        """One batch of `provider` that is to be looked at. None when there is none."""
        now = self.now()
        longest = max(provider.promise.poll_interval, batching.LEASE)
        return self.catalogue.batches.take(provider.name, self.owner, now, now + batching.LEASE, longest=longest)

    def collect(self, provider: BatchProvider, batch: BatchRow) -> None:
        """Look at a batch once; when it is over, take in all that it brought."""
        try:
            if batch.state == "ordered":
                self._resolve(provider, batch)
            elif batch.state == "accepted":
                self._look(provider, batch)
            else:
                self._take_in(provider, batch)
        except _Stopped:
            self._put_back(batch, self.now(), None)
        except (AdapterError, Unusable) as error:
            wait = error.retry_after if isinstance(error, Throttled) else None
            again = batching.look_again(provider.promise.poll_interval, self.now(), wait)
            self._put_back(batch, again, redact(str(error)))
        except Exception as error:
            log.exception("unexpected", batch=batch.id)
            again = batching.look_again(provider.promise.poll_interval, self.now())
            self._put_back(batch, again, f"unexpected {type(error).__name__}")

    def _resolve(self, provider: BatchProvider, batch: BatchRow) -> None:
        """It was ordered, and no answer came: is it among those that the provider lists?"""
        handle, now = provider.find(batch.id), self.now()
        if handle is not None:
            self.catalogue.batches.accept(batch.id, self.owner, handle, now, now)
        elif batching.is_given_up(batch.submitted_at or batch.created_at, now):
            reason = "it was ordered, no answer came, and the provider does not list it"
            moved = self.catalogue.batches.doubt(batch.id, self.owner, reason, now)
            if moved and provider.name in self.reception.repeating:
                for generation_id in self.catalogue.batch_reports.members(batch.id, "unknown"):
                    self.catalogue.outcomes.retry_once(generation_id, self.now())
        else:
            raise Transient("it was ordered, no answer came, and the provider does not list it yet")

    def _look(self, provider: BatchProvider, batch: BatchRow) -> None:
        try:
            state = provider.look(batch.handle or "")
        except Permanent as error:
            if not self._is_gone(batch):
                raise
            state = BatchState(word="gone", is_over=True, error=str(error))
        now = self.now()
        if state.is_over and state.done and not (state.files or state.rest_is_free or self._is_gone(batch)):
            raise Transient(f"it is over with {state.done} answers, and names no file that they are in")
        if not state.is_over:
            again = batching.look_again(provider.promise.poll_interval, now)
            self.catalogue.batches.put_back(batch.id, self.owner, again, now, state=state)
        elif self.catalogue.batches.end(batch.id, self.owner, state, now):
            log.info("batch over", batch=batch.id, provider=provider.name, said=state.word)
            self._take_in(provider, _ended(batch, state))

    def _is_gone(self, batch: BatchRow) -> bool:
        return batching.is_gone(batch.submitted_at or batch.created_at, self.now())

    def _take_in(self, provider: BatchProvider, batch: BatchRow) -> None:
        hold = _Hold(batch, self.now())
        outputs = self.inbox.outputs
        for number, file in enumerate(batch.files):
            if not outputs.has(batch.id, number):
                self._fetch(provider, hold, file, number)
        for number in range(len(batch.files)):
            self._read(provider, hold, outputs, number)
        lacking = self._finish(hold)
        if lacking and hold.has_odd_line:
            outputs.set_aside(batch.id)
        outputs.discard(batch.id)

    def _fetch(self, provider: BatchProvider, hold: _Hold, file: str, number: int) -> None:
        self._check_room(writes_only=True)
        with self.inbox.outputs.open(hold.batch.id, number) as write:

            def keep(piece: bytes) -> None:
                write(piece)
                if self._keep(hold):
                    self._check_room(writes_only=True)

            try:
                provider.fetch(file, keep)
            except Permanent:
                if hold.batch.expires_at is None or self.now() < hold.batch.expires_at:
                    raise
                hold.unread += 1  # it is past its end: nobody will have it again

    def _read(self, provider: BatchProvider, hold: _Hold, outputs: Outputs, number: int) -> None:
        with outputs.lines(hold.batch.id, number) as following:
            while (generation_id := self._put_into_inbox(provider, hold, following)) is not None:
                if not generation_id:
                    continue
                self.reception.ingest(provider, generation_id, self.owner)
                if self.catalogue.batch_reports.waits(hold.batch.id, generation_id):
                    hold.unread += 1  # nobody could read it, and it lies aside
                else:
                    self.arrived(generation_id)

    def _put_into_inbox(self, provider: BatchProvider, hold: _Hold, following: Callable[[], bytes]) -> str | None:
        """The next line as an answer: whose it is, empty when there is nothing to read in it, None after the last one.
        Nobody holds the line while the answer is read: it may have 25 MB."""
        self._keep(hold)
        self._check_room()
        line = following()
        if not line:
            return None
        if line.isspace():
            return ""
        try:
            told = provider.tell(line)
        except AdapterError:
            hold.unread += 1
            hold.has_odd_line = True
            return ""
        if not self.catalogue.batch_reports.waits(hold.batch.id, told.generation_id):
            return ""  # taken in before, or not ours
        if told.error is not None:
            reason = redact(f"the batch did not make it: {told.error}")
            self.catalogue.generations.fail(told.generation_id, self.owner, reason, self.now(), is_free=True)
            return ""
        answer = self.inbox.open(told.generation_id, self.now)
        try:
            answer.begin(200, "application/json")
            answer.write(line)
            answer.finish()
        except AdapterError as error:
            answer.discard()
            raise Transient(str(error)) from error
        return told.generation_id

    def _finish(self, hold: _Hold) -> int:
        """What has no line was not made; whether it was charged depends on how the batch ended. Returns how many."""
        batch, lacking = hold.batch, 0
        is_free = batch.rest_is_free and not hold.unread
        for generation_id in self.catalogue.batch_reports.members(batch.id, "accepted"):
            reason = "the batch ended without a line for it that can be read"
            reason += "; not charged" if is_free else "; it may have been charged"
            lacking += self.catalogue.generations.fail(generation_id, self.owner, reason, self.now(), is_free=is_free)
        self.catalogue.batches.collect(batch.id, self.owner, self.now())
        return lacking

    def _keep(self, hold: _Hold) -> bool:
        """Whether the lease was renewed just now. Raises _Stopped when it is somebody else's, or we are to stop."""
        if self.is_stopping():
            raise _Stopped
        now = self.now()
        if timedelta(0) <= now - hold.renewed < RENEW_AFTER:
            return False
        if not self.catalogue.batches.hold(hold.batch.id, self.owner, now + batching.LEASE):
            raise _Stopped
        hold.renewed = now
        return True

    def _check_room(self, *, writes_only: bool = False) -> None:
        if self.preflight is None:
            return
        if not (self.preflight.may_write() if writes_only else self.preflight.may_take_in()):
            raise Throttled("no room: the spool or the disk is full", batching.NO_ROOM_PAUSE.total_seconds())

    def _put_back(self, batch: BatchRow, again: datetime, error: str | None) -> None:
        self.catalogue.batches.put_back(batch.id, self.owner, again, self.now(), error=error)


def _ended(batch: BatchRow, state: BatchState) -> BatchRow:
    return BatchRow(
        id=batch.id,
        provider=batch.provider,
        state="ended",
        created_at=batch.created_at,
        submitted_at=batch.submitted_at,
        handle=batch.handle,
        files=state.files,
        rest_is_free=state.rest_is_free,
        expires_at=state.expires_at,
    )
