"""The story of every image, in six verbs.

    ask     plan      one transaction: the tick is claimed, one planned generation per prompt
            submit    committed as submitted, then the provider is asked; the answer is on disk, then read
            collect   accepted work is polled
            complete  the one door (`reception`): every temporary URL enters the catalogue here, with its deadline
    keep    drain     claim -> transfer -> settle, nearest deadline first
            expire    give up on what the source has refused for good

Daemon, command line and backfill only call these; `crew` gives them threads. What is taken (`next_...`) and what is
done with it are two calls, so that the next member of a gang can begin while this one waits for a provider. Nothing
here decides (that is `core.policy`), speaks SQL, or knows which providers and stores exist.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import structlog

from archiver.catalogue import Catalogue, Owner, Submission
from archiver.core import policy
from archiver.core.errors import AdapterError, Ambiguous, ArchiverError, ConfigurationError, Permanent, Throttled
from archiver.core.model import Failure, Outcome, Ticket
from archiver.core.ports import Provider
from archiver.core.redaction import redact
from archiver.pipeline.leftovers import look_through
from archiver.pipeline.planning import Job, plan_job
from archiver.pipeline.reception import Reception
from archiver.pipeline.settler import Settler
from archiver.pipeline.spool import Inbox, Spool
from archiver.pipeline.transfer import Carrier

__all__ = ["Job", "Pipeline"]

#: A transfer's total time limit stays below this: an owner that hangs longer loses its claim.
LEASE = timedelta(minutes=30)
#: A spool file that no row names may belong to a transfer under way; after a day it does not.
LEFTOVER_AGE = timedelta(days=1)
POLL_INTERVAL = timedelta(seconds=5)

log = structlog.get_logger("archiver")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """The verbs, over one catalogue. Threads share an instance."""

    catalogue: Catalogue
    owner: Owner
    providers: Mapping[str, Provider]
    reception: Reception
    carrier: Carrier
    settler: Settler
    inbox: Inbox
    spool: Spool
    now: Callable[[], datetime]
    luck: Callable[[], float]
    new_id: Callable[[], str]

    # --- ask ---------------------------------------------------------------------------------------------------------

    def plan(self, jobs: Sequence[Job]) -> tuple[list[str], dict[str, ArchiverError]]:
        """Plan every tick that is due now; a tick that somebody claimed before plans nothing.

        Returns the ids of the generations planned, and per job why it could not be planned (its prompts file is gone):
        its tick is not claimed, and the other jobs go on.
        """
        now = self.now()
        planned: list[str] = []
        troubles: dict[str, ArchiverError] = {}
        for job in jobs:
            try:
                planned += plan_job(self.catalogue, job, now, self.new_id)
            except ConfigurationError as error:
                troubles[job.name] = error
        return planned, troubles

    def next_to_submit(
        self, provider: Provider, *, job: str | None = None, ids: Sequence[str] | None = None
    ) -> Submission | None:
        """Take one planned generation of `provider`, and commit that it is being asked for. None when there is none."""
        return self.catalogue.generations.begin_submit(provider.name, self.owner.id, self.now(), job=job, ids=ids)

    def submit(self, provider: Provider, submission: Submission) -> None:
        """Ask for one generation, once, and record what comes of it."""
        generation_id = submission.ask.generation_id
        try:
            answer = self.inbox.open(generation_id, self.now)
        except AdapterError as error:  # nothing was sent
            self._unanswered(submission, error)
            return
        try:
            provider.submit(submission.ask, answer)
            answer.finish()
        except AdapterError as error:
            answer.abandon()
            self._unanswered(submission, error)
        except Exception as error:
            # A fault of our own after the request may have left: it may have been charged.
            answer.abandon()
            log.exception("unexpected", generation=generation_id)
            self._unanswered(submission, Ambiguous(f"unexpected {type(error).__name__}"))
        else:
            self.reception.ingest(provider, generation_id, self.owner.id)

    def next_to_collect(self, provider: Provider) -> Submission | None:
        """Take one accepted generation of `provider` whose poll is due. None when there is none."""
        now = self.now()
        return self.catalogue.generations.next_poll(provider.name, self.owner.id, now, now + POLL_INTERVAL)

    def collect(self, provider: Provider, submission: Submission) -> None:
        """Poll accepted work once."""
        generation_id = submission.ask.generation_id
        generations = self.catalogue.generations
        answer = None
        try:
            answer = self.inbox.open(generation_id, self.now)
            provider.poll(submission.handle or "", answer)
            answer.finish()
        except Exception as error:  # noqa: BLE001 - a poll is free, and is repeated
            if answer is not None:
                answer.abandon()
            if isinstance(error, Permanent):
                generations.fail(generation_id, self.owner.id, redact(str(error)), self.now())
            else:
                generations.complain(generation_id, redact(str(error)), self.now())
        else:
            self.reception.ingest(provider, generation_id, self.owner.id)

    def _unanswered(self, submission: Submission, error: AdapterError) -> None:
        now = self.now()
        verdict = policy.after_submit(
            error.word,
            now=now,
            attempts=submission.attempts,
            luck=self.luck(),
            retry_after=error.retry_after if isinstance(error, Throttled) else None,
        )
        arguments = (submission.ask.generation_id, self.owner.id)
        reason = redact(str(error))
        if verdict.not_before is not None:
            self.catalogue.generations.withdraw(*arguments, verdict.not_before, reason, now)
        elif verdict.move == "fail":
            self.catalogue.generations.fail(*arguments, reason, now)
        else:
            self.catalogue.generations.doubt(*arguments, reason, now)

    # --- keep --------------------------------------------------------------------------------------------------------

    def next_to_copy(
        self, *, tried_before: datetime | None = None, generations: Sequence[str] | None = None
    ) -> Ticket | None:
        """Claim the image with the nearest deadline. None when nothing is due.

        With `tried_before`, everything that was not tried since then is due, whatever its not-before time.
        """
        tickets = self.catalogue.images.claim(
            self.owner.id, self.now(), LEASE, tried_before=tried_before, generations=generations
        )
        return tickets[0] if tickets else None

    def copy(self, ticket: Ticket) -> Outcome:
        """Make one attempt to copy a claimed image. The outcome is to be settled, alone or in a batch with others."""
        try:
            outcome = self.carrier.transfer(ticket)
            if ticket.spooled and ticket.url is None and any(item.word == "corrupt" for item in outcome.failures):
                self.reception.restore(ticket)
        except Exception as error:
            # A fault of our own must not stop the other images, and this one keeps its place.
            log.exception("unexpected", image=ticket.image_id)
            failure = Failure(stage="fetch", word="transient", message=f"unexpected {type(error).__name__}")
            return Outcome(ticket=ticket, fetched=None, failures=(failure,))
        else:
            return outcome

    def expire(self) -> int:
        """Give up on images that the source has refused for good. Returns how many were lost."""
        now = self.now()
        lost = 0
        for image in self.catalogue.images.hopeless(now):
            if policy.is_lost(
                now=now,
                give_up=image.give_up_at,
                attempts=image.attempts,
                refused=image.refused_at,
                refused_before=image.refused_before_at,
            ):
                lost += self.catalogue.images.lose(image.image_id, now)
        return lost

    def recover(self, *, at_start: bool = False) -> None:
        """Take over from processes that are gone: their claims are free, their answers are read, the rest is in doubt.

        What cannot be taken over keeps its place and stops nobody. `at_start`: this process has not begun to work.
        """
        for owner in self.catalogue.images.claimants():
            if not self.owner.is_alive(owner):
                self.catalogue.images.free(owner)
        for submission, owner in self.catalogue.generations.submitted():
            if owner != self.owner.id and not self.owner.is_alive(owner):
                take_over = partial(self.reception.take_over, submission, owner)
                self._carefully(take_over, submission.ask.generation_id)
        for generation_id in self.inbox.answered():
            self._carefully(partial(self._look_at, generation_id), generation_id)
        self.owner.bury()
        look_through(self.spool, self.catalogue, self.now(), is_alone=lambda: at_start and self.owner.is_alone())
        self.spool.sweep(self.catalogue.images.spool_names(), self.now() - LEFTOVER_AGE)
        self.catalogue.scrub()

    def _look_at(self, generation_id: str) -> None:
        """A whole answer lies in the inbox: it may have done its duty, or nobody may have read it yet."""
        if self.catalogue.images.is_whole(generation_id):
            self.inbox.discard(generation_id)
            return
        standing = self.catalogue.generations.standing(generation_id)
        if standing is None or (provider := self.providers.get(standing.provider or "")) is None:
            return
        is_left = standing.owner is None or not self.owner.is_alive(standing.owner)
        if standing.state in ("unknown", "failed") or (standing.state == "accepted" and is_left):
            self.reception.ingest(provider, generation_id, standing.owner or "")

    def _carefully(self, step: Callable[[], None], generation_id: str) -> None:
        try:
            step()
        except Exception:
            log.exception("not taken over", generation=generation_id)
