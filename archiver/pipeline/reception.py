"""Reception: what happens when an answer has come, now, from a poll, or from a process that died.

`complete` is the one door by which temporary URLs enter the catalogue. An answer lies on disk before it is read here,
and stays there until its images are stored; one that nobody can read is set aside and never thrown away.
"""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from archiver.catalogue import Arrival, Catalogue, Submission
from archiver.core import policy, polling
from archiver.core.errors import AdapterError, Corrupt, Permanent, Unusable
from archiver.core.model import Accepted, Answer, Completed, Output, Ticket
from archiver.core.ports import Provider
from archiver.core.pricing import Tariff
from archiver.core.redaction import redact
from archiver.pipeline.inbox import Inbox
from archiver.pipeline.spool import Spool
from archiver.pipeline.transfer import describe
from archiver.transport import Body


@dataclass(frozen=True, slots=True, kw_only=True)
class Reception:
    """Takes answers in."""

    catalogue: Catalogue
    providers: Mapping[str, Provider]
    inbox: Inbox
    spool: Spool
    now: Callable[[], datetime]
    new_id: Callable[[], str]
    #: What providers charge, by name; of one that is not here, only its own promise is known.
    tariffs: Mapping[str, Tariff] = field(default_factory=dict)
    #: Names of providers whose unknown outcomes are asked for once more, because their settings say so.
    repeating: Collection[str] = ()

    def tariff(self, provider: Provider) -> Tariff:
        """What a provider charges."""
        return self.tariffs.get(provider.name) or Tariff(image_micro=provider.promise.price_micro)

    def complete(
        self, provider: Provider, generation_id: str, answer: Answer, result: Completed, *, is_late: bool = False
    ) -> bool:
        """Record every image of an answer, with its deadline. False when they were recorded before."""
        arrivals = [self.arrival(provider, output, answer.received_at) for output in result.outputs]
        order = self.catalogue.generations.order(generation_id)
        recorded = self.catalogue.generations.complete(
            generation_id,
            arrivals,
            answered_at=answer.received_at,
            now=self.now(),
            request_id=result.request_id,
            cost_micro=self.tariff(provider).cost(order, len(arrivals)) if order else None,
            reply=result.reply and redact(result.reply),
            facts=json.loads(redact(json.dumps(dict(result.facts), ensure_ascii=False))),
            is_late=is_late,
        )
        if not recorded:
            for arrival in arrivals:
                if arrival.spool is not None:
                    self.spool.discard(arrival.spool)
        return recorded

    def arrival(self, provider: Provider, output: Output, answered: datetime, image_id: str | None = None) -> Arrival:
        """An output on its way into the catalogue; bytes that came inline are in the spool then. It gets an id of its
        own unless it is told which."""
        image_id = image_id or self.new_id()
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
                role=output.role,
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
            role=output.role,
            info=describe(body),
            sha256=body.sha256,
            size=body.size,
            spool=self.spool.keep(image_id, body),
        )

    def ingest(self, provider: Provider, generation_id: str, owner: str) -> None:
        """Read the answer that lies in the inbox, and record what it says."""
        answer = self.inbox.read(generation_id)
        if answer is None:
            return
        generations = self.catalogue.generations
        try:
            result = provider.read(answer)
            if isinstance(result, Accepted):
                first = self.now() + polling.FIRST_POLL
                generations.accept(generation_id, owner, result.handle, first, self.now(), request_id=answer.request_id)
                self.inbox.discard(generation_id)
            else:
                self.complete(provider, generation_id, answer, result)
        except Permanent as error:
            self.inbox.set_aside(generation_id)
            reason = redact(f"paid, but without an image: {error}")
            generations.fail(generation_id, owner, reason, self.now(), answer=(answer.request_id, answer.received_at))
        except Corrupt as error:
            self.inbox.set_aside(generation_id)
            reason = redact(f"the answer cannot be read: {error}")
            if not self.doubt(provider.name, generation_id, owner, reason, answer.request_id):
                generations.complain(generation_id, reason, self.now())
        except AdapterError as error:
            # The answer stays in the inbox: the next process reads it.
            raise Unusable(f"{error}; the answer of generation {generation_id} is kept") from error

    def bring_home(self, provider: Provider, generation_id: str) -> None:
        """Take in the images of an answer that a rebuilt or restored catalogue knows too little of, if anything."""
        absent, answer = self.catalogue.reviving.absent(generation_id), self.inbox.read(generation_id)
        if absent is None or answer is None:
            return
        result = provider.read(answer)
        arrivals = [
            self.arrival(provider, output, answer.received_at, absent.stand_ins.get(output.index))
            for output in (result.outputs if isinstance(result, Completed) else ())
            if output.index not in absent.known
        ]
        taken = self.catalogue.reviving.bring_home(generation_id, arrivals, self.now())
        for arrival in arrivals:
            if arrival.spool is not None and arrival.id not in taken:
                self.spool.discard(arrival.spool)

    def restore(self, ticket: Ticket) -> bool:
        """Bring inline bytes back into the spool from the answer that they came in. False when it is not there."""
        generation_id, index = self.catalogue.images.origin(ticket.image_id)
        standing = self.catalogue.generations.standing(generation_id)
        provider = self.providers.get(standing.provider or "") if standing else None
        answer = self.inbox.read(generation_id)
        if provider is None or answer is None:
            return False
        result = provider.read(answer)
        for output in result.outputs if isinstance(result, Completed) else ():
            body = Body.of(output.data or b"")
            if output.index == index and body.sha256 == ticket.sha256:
                self.spool.keep(ticket.image_id, body)
                return True
        return False

    def salvage(self, provider: Provider, generation_id: str, *, is_free: bool = False) -> None:
        """Give an answer that is whole but for its name that name; set aside what is cut, or drop it where it `is_free`
        to ask again."""
        if self.inbox.has(generation_id):
            return
        try:
            if (left := self.inbox.salvage(generation_id)) is None:
                raise Corrupt("cut within its first line")
            provider.read(left)
            self.inbox.adopt(generation_id)
        except (Corrupt, Permanent):
            if is_free:
                self.inbox.drop(generation_id)
            else:
                self.inbox.set_aside(generation_id)

    def take_over(self, submission: Submission, owner: str) -> None:
        """Finish what an owner that is gone had begun: read its answer if it is whole, else the outcome is in doubt."""
        generation_id = submission.ask.generation_id
        provider = self.providers.get(submission.provider)
        if provider is None and self.inbox.holds_anything(generation_id):
            return  # its adapter is not configured here, and nobody else can read the answer
        if provider is not None:
            self.salvage(provider, generation_id)
        if provider is not None and self.inbox.has(generation_id):
            self.ingest(provider, generation_id, owner)
        else:
            self.inbox.set_aside(generation_id)
            reason = "the process that asked ended before an answer was on disk"
            self.doubt(submission.provider, generation_id, owner, reason)

    def doubt(
        self,
        provider: str,
        generation_id: str,
        owner: str,
        reason: str,
        request_id: str | None = None,
    ) -> bool:
        """Record that an outcome is unknown, and plan it once more where the provider's settings say so. A death in
        between leaves it unknown. `request_id`: what a provider that did reply calls the request. False when the
        generation has moved on."""
        now = self.now()
        answer = (request_id, now if request_id else None)
        moved = self.catalogue.generations.doubt(generation_id, owner, reason, now, answer=answer)
        # A whole answer that the disk would not take in order lies here still: it is read when it can be.
        if moved and provider in self.repeating and not self.inbox.holds_anything(generation_id):
            self.catalogue.outcomes.retry_once(generation_id, self.now())
        return moved
