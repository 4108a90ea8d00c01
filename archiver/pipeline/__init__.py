"""The story of every image, in six verbs.

    ask     plan      one transaction: the tick is claimed, one planned generation per prompt
            submit    committed as submitted, then the provider is asked; the answer is on disk, then read
            collect   accepted work is polled
            complete  the one door: every temporary URL enters the catalogue here, with its deadline
    keep    drain     claim -> transfer -> settle, nearest deadline first
            expire    give up on what the source has refused for good

Daemon, command line and backfill only call these. Nothing here decides (that is `core.policy`), speaks SQL, or knows
which providers and stores exist.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from archiver.catalogue import Arrival, Catalogue, Owner, Submission
from archiver.core import policy
from archiver.core.errors import (
    AdapterError,
    Ambiguous,
    ArchiverError,
    ConfigurationError,
    Corrupt,
    Permanent,
    Throttled,
    Unusable,
)
from archiver.core.model import Accepted, Answer, Completed, Failure, Outcome, Output
from archiver.core.ports import Provider
from archiver.core.pricing import cost_micro
from archiver.core.redaction import redact
from archiver.pipeline.planning import Job, plan_job
from archiver.pipeline.settler import Settler
from archiver.pipeline.spool import Inbox, Spool
from archiver.pipeline.transfer import Carrier, describe
from archiver.transport import Body

__all__ = ["Job", "Pipeline"]

#: A transfer's total time limit stays below this: an owner that hangs longer loses its claim.
LEASE = timedelta(minutes=30)
FIRST_POLL = timedelta(seconds=1)
POLL_INTERVAL = timedelta(seconds=5)

log = structlog.get_logger("archiver")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """The verbs, over one catalogue. Threads share an instance."""

    catalogue: Catalogue
    owner: Owner
    providers: Mapping[str, Provider]
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

    def submit(self, provider: Provider, *, job: str | None = None, ids: Sequence[str] | None = None) -> bool:
        """Take one planned generation of `provider` and ask for it, once. False when there is none to take."""
        submission = self.catalogue.generations.begin_submit(
            provider.name, self.owner.id, self.now(), job=job, ids=ids
        )
        if submission is None:
            return False
        generation_id = submission.ask.generation_id
        try:
            answer = self.inbox.open(generation_id, self.now())
        except AdapterError as error:  # nothing was sent
            self._unanswered(submission, error)
            return True
        try:
            provider.submit(submission.ask, answer)
            answer.finish()
        except AdapterError as error:
            answer.abandon()
            self._unanswered(submission, error)
        except Exception as error:
            # A fault of our own after the request may have left: it may have been charged.
            answer.abandon()
            self._unanswered(submission, Ambiguous(f"unexpected {type(error).__name__}"))
            raise
        else:
            self._ingest(provider, generation_id, self.owner.id)
        return True

    def collect(self, provider: Provider) -> bool:
        """Poll one accepted generation of `provider` that is due. False when there is none."""
        now = self.now()
        submission = self.catalogue.generations.next_poll(provider.name, self.owner.id, now, now + POLL_INTERVAL)
        if submission is None or submission.handle is None:
            return False
        generation_id = submission.ask.generation_id
        answer = self.inbox.open(generation_id, now)
        try:
            provider.poll(submission.handle, answer)
            answer.finish()
        except AdapterError as error:
            answer.abandon()
            if isinstance(error, Permanent):
                self.catalogue.generations.fail(generation_id, self.owner.id, str(error), self.now())
            return True
        except BaseException:
            answer.abandon()
            raise
        self._ingest(provider, generation_id, self.owner.id)
        return True

    def complete(self, provider: Provider, generation_id: str, answer: Answer, result: Completed) -> bool:
        """Record every image of an answer, with its deadline. False when they were recorded before."""
        arrivals = [self._arrival(provider, output, answer.received_at) for output in result.outputs]
        recorded = self.catalogue.generations.complete(
            generation_id,
            arrivals,
            answered_at=answer.received_at,
            now=self.now(),
            request_id=result.request_id,
            cost_micro=cost_micro(provider.promise.price_micro, len(arrivals)),
        )
        if not recorded:
            for arrival in arrivals:
                if arrival.spool is not None:
                    self.spool.discard(arrival.spool)
        return recorded

    def _arrival(self, provider: Provider, output: Output, answered: datetime) -> Arrival:
        image_id = self.new_id()
        if output.url is not None:
            evidence = policy.gather_evidence(output.url, provider.promise, answered)
            deadline, decided = policy.decide_deadline(evidence, answered)
            return Arrival(
                id=image_id,
                index=output.index,
                url=output.url,
                deadline=deadline,
                deadline_from=decided.source,
                give_up_at=policy.gives_up_at(evidence),
                evidence=evidence,
                revised_prompt=output.revised_prompt,
            )
        body = Body.of(output.data or b"")
        end = answered + policy.DEFAULT_LIFETIME
        return Arrival(
            id=image_id,
            index=output.index,
            deadline=end,
            deadline_from="inline",
            give_up_at=end,
            revised_prompt=output.revised_prompt,
            info=describe(body),
            sha256=body.sha256,
            size=body.size,
            spool=self.spool.keep(image_id, body),
        )

    def _ingest(self, provider: Provider, generation_id: str, owner: str) -> None:
        """Read the answer that lies in the inbox, and record what it says."""
        answer = self.inbox.read(generation_id)
        if answer is None:
            return
        generations = self.catalogue.generations
        try:
            result = provider.read(answer)
            if isinstance(result, Accepted):
                generations.accept(generation_id, owner, result.handle, self.now() + FIRST_POLL, self.now())
                self.inbox.discard(generation_id)
            else:
                self.complete(provider, generation_id, answer, result)
        except Permanent as error:
            self.inbox.set_aside(generation_id)
            generations.fail(generation_id, owner, f"paid, but without an image: {error}", self.now())
        except Corrupt as error:
            self.inbox.set_aside(generation_id)
            generations.doubt(generation_id, owner, f"the answer cannot be read: {error}", self.now())
        except AdapterError as error:
            # The answer stays in the inbox: the next process reads it.
            raise Unusable(f"{error}; the answer of generation {generation_id} is kept") from error

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

    def drain(
        self, *, tried_before: datetime | None = None, generations: Sequence[str] | None = None
    ) -> Outcome | None:
        """Claim the image with the nearest deadline and make one attempt to copy it. None when nothing is due.

        With `tried_before`, everything that was not tried since then is due, whatever its not-before time. The outcome
        is to be settled (`settler`), alone or in a batch with others.
        """
        tickets = self.catalogue.images.claim(
            self.owner.id, self.now(), LEASE, tried_before=tried_before, generations=generations
        )
        if not tickets:
            return None
        try:
            return self.carrier.transfer(tickets[0])
        except Exception as error:
            # A fault of our own must not stop the other images, and this one keeps its place.
            log.exception("unexpected", image=tickets[0].image_id)
            failure = Failure(stage="fetch", word="transient", message=f"unexpected {type(error).__name__}")
            return Outcome(ticket=tickets[0], fetched=None, failures=(failure,))

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

    def recover(self) -> None:
        """Take over from processes that are gone: their claims are free, their answers are read, the rest is in doubt."""
        for owner in self.catalogue.images.claimants():
            if not self.owner.is_alive(owner):
                self.catalogue.images.free(owner)
        for submission, owner in self.catalogue.generations.submitted():
            if owner != self.owner.id and not self.owner.is_alive(owner):
                self._take_over(submission, owner)

    def _take_over(self, submission: Submission, owner: str) -> None:
        generation_id = submission.ask.generation_id
        provider = self.providers.get(submission.provider)
        if provider is None:
            return  # its adapter is not configured here, and nobody else can read the answer
        if not self.inbox.has(generation_id) and (left := self.inbox.salvage(generation_id)) is not None:
            try:
                provider.read(left)
                self.inbox.adopt(generation_id)
            except (Corrupt, Permanent):
                self.inbox.set_aside(generation_id)
        if self.inbox.has(generation_id):
            self._ingest(provider, generation_id, owner)
        else:
            self.catalogue.generations.doubt(
                generation_id, owner, "the process that asked ended before an answer was on disk", self.now()
            )
