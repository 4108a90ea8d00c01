"""The threads that do the work: askers per provider, a copier, and a settler.

There is no barrier between them: an image is copied while others are still being asked for. A gang grows while its
members find work and sleeps when they find none; one thread juggles all copies. The crew decides nothing about the
work; it only knows who is busy.
"""

import threading
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from archiver.catalogue import Submission
from archiver.core.model import Outcome, Ticket
from archiver.core.ports import BatchProvider, Provider
from archiver.pipeline import Pipeline
from archiver.pipeline.batching import Gathered
from archiver.pipeline.companion import Companion, bring
from archiver.pipeline.gang import Gang, Take, Task
from archiver.pipeline.juggler import Juggler
from archiver.pipeline.settler import Batcher
from archiver.pipeline.slots import Slots
from archiver.pipeline.tally import Tally

#: How often somebody looks whether postponed work has become due, or another process has left some.
LOOK_AGAIN_S = 1.0
PATIENCE_WITH_ACCEPTED = timedelta(minutes=10)
#: Threads per provider, made when they are needed, however much is accepted: a slow poll holds up none of the others,
#: and they do not wait for whoever asks.
POLLERS = 16
#: Outputs of one provider that are taken in side by side.
COLLECTORS = 2


class Crew:
    """A pipeline at work. Use as: `with Crew(...) as crew: for tally in crew.work(): ...`."""

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        copies: int,
        asks: bool = True,
        job: str | None = None,
        generations: Sequence[str] | None = None,
        opened: Sequence[str] = (),
        tries_all_since: datetime | None = None,
        patience: bool = True,
        companions: Sequence[Sequence[str]] = (),
    ) -> None:
        """`generations` restricts the work to these; of `opened`, the crew sees the end also in others' hands. All that
        was not tried since `tries_all_since` is due. Without `patience`, accepted work is polled when it is due, and
        not waited for. `companions` are the commands of processes that copy beside this one."""
        self.pipeline = pipeline
        self.tally = Tally()
        self._generations = generations
        self._opened = opened or generations or ()
        self._started = pipeline.now()
        self._patience = PATIENCE_WITH_ACCEPTED if patience else timedelta(0)
        self._tries_all_since = tries_all_since
        self._job = job
        self._copies = copies
        self._error: BaseException | None = None
        self._stopping = False
        self._news = threading.Event()
        self._counting = threading.Lock()
        self._batcher = Batcher(self._settle)
        self._settler = threading.Thread(target=self._run_settler, name="settler", daemon=True)
        self._slots = Slots(copies, pipeline.elapsed, pipeline.worked)
        self._copiers = Juggler(
            "copy", self._claim, limit=lambda: self._slots.limit, failed=self._fail, idle=self._news.set
        )
        self._askers = [
            Gang(f"{name}-{provider.name}", step, most, failed=self._fail, idle=self._news.set)
            for provider in (pipeline.providers.values() if asks else ())
            for name, step, most in self._steps(provider)
        ]

        self._commands, self._companions = companions, list[Companion]()

    def __enter__(self) -> "Crew":
        self._settler.start()
        self._companions = bring(self._commands, told=self._count, ended=self._companion_ended)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Take no more work, finish what is in flight, settle it. Raises what went wrong meanwhile."""
        self.stop()
        members: list[Gang | Juggler | Companion] = [*self._askers, self._copiers, *self._companions]
        for member in members:
            member.stop()
        for member in members:
            member.join()
        self._batcher.close()
        self._settler.join()
        if self._error is not None and kind is None:
            raise self._error
        self.pipeline.turns.give_back()  # after a failure of the catalogue, the next process frees them
        self.pipeline.catalogue.scrub()

    def stop(self) -> None:
        """End `work` within a second. Takes no lock, so that a signal handler may call it."""
        self._stopping = True

    def wake(self) -> None:
        """There may be new work."""
        for gang in self._askers:
            gang.wake()
        self._copiers.wake()

    def work(self, *, until: datetime | None = None, forever: bool = False) -> Iterator[Tally]:
        """Work, and report when something has changed or a second has passed. Ends when all that is due is settled or
        postponed.

        With `until`, postponed work is waited for until then; with `forever`, only `stop` ends it. Raises what a member
        could not handle: a catalogue that cannot be written, a full disk.
        """
        self.wake()
        looked, until_turn = self.pipeline.now(), LOOK_AGAIN_S
        while not self._stopping:
            has_news = self._news.wait(until_turn)
            self._news.clear()
            waited, until_turn = until_turn, self._until_next_turn()
            if self._error is not None:
                raise self._error
            yield self.tally
            if not forever and self._is_quiet() and self._is_over(until) and self._is_alone():
                return
            is_turn = until_turn > waited  # the pace of a provider has just let it go
            if not has_news or is_turn or self.pipeline.now() - looked >= timedelta(seconds=LOOK_AGAIN_S):
                # Somebody else may have left work, and a pause may be over, however busy the others are.
                self.wake()
                looked = self.pipeline.now()

    def _until_next_turn(self) -> float:
        """Seconds until somebody must look again: a provider's pace may allow the next request sooner."""
        opening = self.pipeline.doors.paces.next_opening()
        return LOOK_AGAIN_S if opening is None else min(LOOK_AGAIN_S, opening.total_seconds())

    def _is_quiet(self) -> bool:
        return self._batcher.is_idle and self._copiers.is_idle and all(gang.is_idle for gang in self._askers)

    def _is_alone(self) -> bool:
        """Whether no companion is at work any more. They are dismissed, and give back what they will not copy."""
        for companion in self._companions:
            companion.stop()
        return not any(companion.is_at_work for companion in self._companions)

    def _companion_ended(self) -> None:
        try:
            self.pipeline.recover()  # it may have died with images in its hands
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits for the crew
            self._fail(error)
        self.wake()
        self._news.set()

    def _count(self, tally: Tally) -> None:
        with self._counting:
            self.tally.add(tally)
        self._news.set()

    def take_tally(self) -> Tally:
        """What happened since the last call. Whoever calls it keeps the count."""
        with self._counting:
            taken, self.tally = self.tally, Tally()
        return taken

    def _is_over(self, until: datetime | None) -> bool:
        """Whether nothing more will become due in this crew's time: postponed work is waited for until `until`,
        accepted work for at least ten minutes."""
        now = self.pipeline.now()
        patience = until or self._started + self._patience
        next_try, next_poll = self._next_due(now)
        waits_for_try = next_try is not None and (next_try <= now or (until is not None and next_try <= until))
        waits_for_poll = next_poll is not None and next_poll <= max(patience, now) and now < patience
        # A batch takes hours: it is looked at when it is due, and waited for only when somebody said so.
        providers = list(self.pipeline.providers) if self._askers else []
        next_due = self.pipeline.catalogue.batch_reports.next_due
        next_look = next_due(providers, job=self._job, ids=self._generations)
        waits_for_look = next_look is not None and next_look <= (until or now)
        if waits_for_try or waits_for_poll or waits_for_look:
            return False
        if self._opened and self.pipeline.catalogue.reports.in_other_hands(self._opened):
            self.pipeline.recover()  # a daemon beside us may have died with it
            return False
        return True

    def _next_due(self, now: datetime) -> tuple[datetime | None, datetime | None]:
        """When the next image or planned generation of this crew may be tried (`now`: at once), and when the next poll
        is due."""
        turns = self.pipeline.turns
        times = [] if self._tries_all_since else [turns.next_copy_due(now, self._generations)]
        if not self._askers:
            return min((time for time in times if time is not None), default=None), None
        providers = list(self.pipeline.providers)
        job, ids = self._job, self._generations
        planned = turns.next_ask_due(now, providers, job=job, ids=ids, preflight=self.pipeline.preflight)
        accepted = self.pipeline.catalogue.fitness.next_due("accepted", providers=providers, job=job, ids=ids)
        return min((time for time in (*times, planned) if time is not None), default=None), accepted

    def _fail(self, error: BaseException) -> None:
        self._error = self._error or error
        self._news.set()

    def _run_settler(self) -> None:
        try:
            while self._batcher.step():
                self._news.set()
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits for the crew
            self._fail(error)

    def _steps(self, provider: Provider) -> tuple[tuple[str, Take, int], ...]:
        """What is done for a provider, and by how many at most."""
        if isinstance(provider, BatchProvider):
            return ("batch", self._ask_many(provider), 1), ("collect", self._collect(provider), COLLECTORS)
        return ("ask", self._ask(provider), provider.concurrency), ("poll", self._poll(provider), POLLERS)

    def _ask_many(self, provider: BatchProvider) -> Take:
        def take() -> Task | None:
            gathered = self.pipeline.batching.take(provider, job=self._job, ids=self._generations)
            return None if gathered is None else lambda: ask(gathered)

        def ask(gathered: Gathered) -> None:
            self.pipeline.batching.submit(provider, gathered)
            with self._counting:
                self.tally.asked += len(gathered.submissions)

        return take

    def _collect(self, provider: BatchProvider) -> Take:
        collecting = self.pipeline.collecting(lambda _: self._copiers.wake(), lambda: self._stopping)

        def take() -> Task | None:
            batch = collecting.take(provider)
            return None if batch is None else lambda: collecting.collect(provider, batch)

        return take

    def _ask(self, provider: Provider) -> Take:
        def take() -> Task | None:
            submission = self.pipeline.next_to_submit(provider, job=self._job, ids=self._generations)
            if submission is not None and self.pipeline.doors.paces.pause(provider.name):
                self._news.set()  # `work` must look at the time: nobody else will when the next turn comes
            return None if submission is None else lambda: ask(submission)

        def ask(submission: Submission) -> None:
            self.pipeline.submit(provider, submission)
            with self._counting:
                self.tally.asked += 1
            self._welcome(submission)

        return take

    def _poll(self, provider: Provider) -> Take:
        def take() -> Task | None:
            submission = self.pipeline.next_to_collect(provider)
            return None if submission is None else lambda: poll(submission)

        def poll(submission: Submission) -> None:
            self.pipeline.collect(provider, submission)
            self._welcome(submission)

        return take

    def _welcome(self, submission: Submission) -> None:
        """An answer has come: have its images copied at once. When the copiers are leaving, the asker does it
        itself."""
        self._copiers.wake()
        while self._stopping and (copy := self._claim([submission.ask.generation_id])) is not None:
            copy()

    def _claim(self, generations: Sequence[str] | None = None) -> Task | None:
        # Announced before the claim: the settler must not think that nobody copies while an image is being claimed.
        self._batcher.begin()
        ticket = None
        try:
            ticket = self.pipeline.next_to_copy(
                tried_before=self._tries_all_since,
                generations=generations or self._generations,
                # An asker that copies its own images while all are leaving waits for nobody.
                copiers=None if generations else self._copies,
            )
        finally:
            if ticket is None:
                self._batcher.end(None)
        return None if ticket is None else lambda: self._copy(ticket)

    def _copy(self, ticket: Ticket) -> None:
        outcome = None
        try:
            outcome = self.pipeline.copy(ticket)
        finally:
            self._batcher.end(outcome)
        size = outcome.fetched.size if outcome.fetched else 0
        self._slots.done(size, is_full=self._copiers.is_full)

    def _settle(self, outcomes: Sequence[Outcome]) -> None:
        settled = self.pipeline.settler.settle(outcomes)
        with self._counting:
            for outcome, (item, is_stored) in zip(outcomes, settled, strict=True):
                self.tally.take(outcome, item, is_stored=is_stored)
