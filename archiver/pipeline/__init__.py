"""The story of every image, in six verbs.

    ask     plan      one transaction: the tick is claimed, one planned generation per prompt
            submit    committed as submitted, then the provider is asked; the answer is on disk, then read
            collect   accepted work is polled (`polling`); many at once: `batching`, `collecting`
            complete  the one door (`reception`): every temporary URL enters the catalogue here, with its deadline
    keep    drain     claim -> transfer -> settle, nearest deadline first
            expire    give up on what the source has refused for good (before that, `renew` asks for fresh URLs)

Daemon, command line and backfill only call these; `crew` gives them threads. What is taken (`next_...`) and what is
done with it are two calls, so that the next member of a gang can begin while this one waits for a provider. Nothing
here decides (that is `core.policy`), speaks SQL, or knows which providers and stores exist.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from archiver.catalogue import Catalogue, Owner, Submission
from archiver.core import policy
from archiver.core.budget import Limit
from archiver.core.errors import AdapterError, Ambiguous, ArchiverError, Throttled, UsageError
from archiver.core.model import Failure, Outcome, Ticket
from archiver.core.ports import Provider
from archiver.core.redaction import redact
from archiver.pipeline.batching import Batching
from archiver.pipeline.collecting import Collecting
from archiver.pipeline.gathering import Gathering
from archiver.pipeline.inbox import Inbox
from archiver.pipeline.planning import Job, plan_job
from archiver.pipeline.polling import Polling
from archiver.pipeline.preflight import Preflight
from archiver.pipeline.reception import Reception
from archiver.pipeline.recovery import Recovery
from archiver.pipeline.renewal import Renewal
from archiver.pipeline.settler import Settler
from archiver.pipeline.shelf import Shelf
from archiver.pipeline.spool import Spool
from archiver.pipeline.transfer import Carrier
from archiver.pipeline.turns import Turns
from archiver.resilience import Doors, Word

__all__ = ["Job", "Pipeline"]

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
    #: Seconds on a clock that nobody sets (one that stands still: copiers are not tuned), and those of processors.
    elapsed: Callable[[], float] = lambda: 0.0
    worked: Callable[[], float] = lambda: 0.0
    limits: tuple[Limit, ...] = ()
    #: None: this process does not ask whether it could keep the result.
    preflight: Preflight | None = None
    doors: Doors = field(default_factory=Doors)
    shelf: Shelf = field(default_factory=Shelf)

    @property
    def turns(self) -> Turns:
        """Who comes next, and when."""
        return Turns(catalogue=self.catalogue, owner=self.owner.id, doors=self.doors, shelf=self.shelf)

    @property
    def gathering(self) -> Gathering:
        """What goes into requests."""
        return Gathering(catalogue=self.catalogue, stores=self.carrier.stores, spool=self.spool)

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
            except UsageError as error:
                troubles[job.name] = error
        return planned, troubles

    def next_to_submit(
        self, provider: Provider, *, job: str | None = None, ids: Sequence[str] | None = None
    ) -> Submission | None:
        """Take one planned generation of `provider`, and commit that it is being asked for. None when there is none, or
        when we could not keep the result, or the provider wants a pause. Those for which the images of an equal one
        serve are settled first: they need neither."""
        now = self.now()
        cost = self.reception.tariff(provider).expected
        fit: Collection[str] | None = None
        self.catalogue.reusing.reuse(provider.name, now, job=job, ids=ids)
        if self.doors.providers.pause(provider.name, now) or self.doors.paces.pause(provider.name):
            return None
        wanted = self.catalogue.fitness.wanted(provider.name, now, job=job, ids=ids)
        if wanted is None or (self.preflight and not (fit := self.preflight.fit(wanted))):
            return None
        with self.doors.providers.choosing:
            if self.preflight and not self.preflight.has_room(provider, wanted.images, self.providers):
                return None
            if self.doors.paces.pause(provider.name) or self.doors.providers.enter(provider.name, now) is not None:
                return None
            submission = None
            try:
                submission = self.catalogue.generations.begin_submit(
                    provider.name, self.owner.id, now, job=job, ids=ids, fit=fit, cost=cost, limits=self.limits
                )
            finally:
                if submission is None:
                    self.doors.providers.give_back(provider.name)
                else:
                    self.doors.paces.take(provider.name)
            return submission

    def submit(self, provider: Provider, submission: Submission) -> None:
        """Ask for one generation, once, and record what comes of it."""
        word = Word("refused")
        try:
            word = self._ask(provider, submission)
        finally:
            self.doors.providers.leave(provider.name, self.now(), self.luck(), word)

    def _ask(self, provider: Provider, submission: Submission) -> Word:
        """The same. Returns the provider's word."""
        generation_id = submission.ask.generation_id
        try:
            ask = self.gathering.complete(submission)
            answer = self.inbox.open(generation_id, self.now)
        except AdapterError as error:  # nothing was sent
            self._unanswered(submission, error)
            return Word("refused")
        try:
            provider.submit(ask, answer)
            answer.finish()
        except AdapterError as error:
            answer.abandon()
            self._unanswered(submission, error)
            return Word.of(error)
        except Exception as error:
            # A fault of our own after the request may have left: it may have been charged.
            answer.abandon()
            log.exception("unexpected", generation=generation_id)
            self._unanswered(submission, Ambiguous(f"unexpected {type(error).__name__}"))
            return Word.of(error)
        self.reception.ingest(provider, generation_id, self.owner.id)
        return Word()

    @property
    def polling(self) -> Polling:
        """Asking how accepted work stands; its `notice` is for webhooks."""
        return Polling(
            catalogue=self.catalogue, reception=self.reception, inbox=self.inbox, owner=self.owner.id, now=self.now
        )

    def next_to_collect(self, provider: Provider) -> Submission | None:
        """Take one accepted generation of `provider` whose poll is due. None when there is none."""
        return self.polling.take(provider)

    def collect(self, provider: Provider, submission: Submission) -> None:
        """Poll accepted work once."""
        self.polling.collect(provider, submission)

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
            self.catalogue.generations.fail(*arguments, reason, now, is_free=True)
        else:
            self.reception.doubt(submission.provider, *arguments, reason, error.request_id)

    # --- keep --------------------------------------------------------------------------------------------------------

    def next_to_copy(
        self,
        *,
        tried_before: datetime | None = None,
        generations: Sequence[str] | None = None,
        copiers: int | None = None,
    ) -> Ticket | None:
        """Claim the image with the nearest deadline. None when nothing is due.

        With `tried_before`, everything that was not tried since then is due, whatever its not-before time, and at
        closed gates too. Of so many `copiers`, one host gets at most half while another has work.
        """
        return self.turns.claim(
            self.now(), self.luck(), tried_before=tried_before, generations=generations, copiers=copiers
        )

    def copy(self, ticket: Ticket) -> Outcome:
        """Make one attempt to copy a claimed image. The outcome is to be settled, alone or in a batch with others."""
        outcome = None
        try:
            outcome = self.carrier.transfer(ticket)
            is_rotten = outcome.fetched is None and any(item.word == "corrupt" for item in outcome.failures)
            if ticket.spooled and ticket.url is None and is_rotten:
                self.reception.restore(ticket)
        except Exception as error:
            # A fault of our own must not stop the other images, and this one keeps its place.
            log.exception("unexpected", image=ticket.image_id)
            failure = Failure(stage="fetch", word="transient", message=f"unexpected {type(error).__name__}")
            return Outcome(ticket=ticket, fetched=None, failures=(failure,))
        else:
            return outcome
        finally:
            self.turns.done(ticket, outcome, self.now(), self.luck())

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

    def renew(self) -> int:
        """Ask for fresh URLs of images whose own is dead, where the provider gives them. Returns how many got one."""
        return Renewal(
            catalogue=self.catalogue, providers=self.providers, reception=self.reception, now=self.now
        ).renew()

    @property
    def batching(self) -> Batching:
        """Asking for many at once."""
        return Batching(
            catalogue=self.catalogue,
            owner=self.owner,
            reception=self.reception,
            gathering=self.gathering,
            doors=self.doors,
            preflight=self.preflight,
            limits=self.limits,
            now=self.now,
            luck=self.luck,
            new_id=self.new_id,
        )

    def collecting(
        self, arrived: Callable[[str], None] = lambda _: None, is_stopping: Callable[[], bool] = lambda: False
    ) -> Collecting:
        """Taking in what batches brought."""
        return Collecting(
            catalogue=self.catalogue,
            reception=self.reception,
            inbox=self.inbox,
            preflight=self.preflight,
            owner=self.owner.id,
            now=self.now,
            arrived=arrived,
            is_stopping=is_stopping,
        )

    def recover(self, *, at_start: bool = False) -> None:
        """Take over from processes that are gone. `at_start`: this process has not begun to work."""
        self.inbox.flush()  # a file can be read before it is safe: its writer may have died in between
        self.spool.flush()
        self.batching.recover()
        Recovery(
            catalogue=self.catalogue,
            owner=self.owner,
            providers=self.providers,
            reception=self.reception,
            inbox=self.inbox,
            spool=self.spool,
        ).recover(self.now(), at_start=at_start)
