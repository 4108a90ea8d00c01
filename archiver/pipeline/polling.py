"""Polling: accepted work is asked for until it is done, by whoever is free, one at a time.

Free and repeatable, so nothing that goes wrong here costs anything but time: only a task that the provider no longer
knows fails its generation. A notice by webhook makes a poll due at once; what a notice says besides is not believed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from archiver.catalogue import Catalogue, Submission
from archiver.core import polling
from archiver.core.errors import AdapterError, Permanent, Throttled
from archiver.core.model import Accepted, Completed
from archiver.core.ports import Provider
from archiver.core.redaction import redact
from archiver.pipeline.inbox import AnswerFile, Inbox
from archiver.pipeline.reception import Reception
from archiver.pipeline.renewal import ask_again


@dataclass(frozen=True, slots=True, kw_only=True)
class Polling:
    """Over one catalogue, by one process."""

    catalogue: Catalogue
    reception: Reception
    inbox: Inbox
    owner: str
    now: Callable[[], datetime]

    def take(self, provider: Provider) -> Submission | None:
        """One accepted generation of `provider` whose poll is due. None when there is none."""
        now = self.now()
        longest = max(provider.promise.poll_interval, polling.LONGEST_POLL_PAUSE)
        return self.catalogue.awaiting.next_poll(
            provider.name, self.owner, now, now + polling.POLL_LEASE, longest=longest
        )

    def collect(self, provider: Provider, submission: Submission) -> None:
        """Poll once, and record what comes of it."""
        generation_id, began = submission.ask.generation_id, self.now()
        error: Exception | None = None
        answer: AnswerFile | None = None
        is_over = False
        try:
            answer = self.inbox.open(generation_id, self.now)
            provider.poll(submission.handle or "", answer)
            is_over = not self._is_running(provider, generation_id)
            if is_over:
                answer.finish()
        except Exception as trouble:  # noqa: BLE001 - a poll is free, and is repeated
            error, is_over = trouble, False
        if is_over:
            self.reception.ingest(provider, generation_id, self.owner)
        elif answer is not None:
            answer.discard()
        self._record(provider, submission, began, error)

    def _is_running(self, provider: Provider, generation_id: str) -> bool:
        """Whether what has come says that the work still runs: then there is nothing to keep."""
        come = self.inbox.salvage(generation_id)
        try:
            return come is not None and isinstance(provider.read(come), Accepted)
        except AdapterError:
            return False

    def _record(self, provider: Provider, submission: Submission, began: datetime, error: Exception | None) -> None:
        """When it is asked for again, unless it is over: then nothing is accepted any more and this changes nothing."""
        generation_id, now = submission.ask.generation_id, self.now()
        if isinstance(error, Permanent) and polling.has_vanished(submission.denied_at, now):
            reason = redact(f"paid, but without an image: {error}")
            self.catalogue.generations.fail(generation_id, self.owner, reason, now)
            return
        again = polling.next_poll(
            provider.promise.poll_interval,
            began=began,
            now=now,
            retry_after=error.retry_after if isinstance(error, Throttled) else None,
        )
        words = None if error is None else redact(str(error)) or type(error).__name__
        self.catalogue.awaiting.polled(
            generation_id, self.owner, again, now, error=words, is_denied=isinstance(error, Permanent)
        )

    def notice(self, provider: Provider, handle: str) -> str | None:
        """Somebody says that the work `handle` is done: a poll is due now. The generation's id, None for an unknown
        handle.

        What failed, is unknown or was planned again is asked for here: should its images be there after all, they come
        home, and it is not paid for again. Raises an AdapterError when that cannot be had.
        """
        found = self.catalogue.awaiting.find(provider.name, handle)
        if found is None:
            return None
        if found.state in ("planned", "unknown", "failed"):
            answer = ask_again(provider, handle, self.now)
            result = provider.read(answer)
            if isinstance(result, Completed):
                self.reception.complete(provider, found.generation_id, answer, result, is_late=True)
        else:
            self.catalogue.awaiting.hurry(found.generation_id, self.now())
        return found.generation_id
