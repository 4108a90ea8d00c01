"""Reception: what happens when an answer has come, now, from a poll, or from a process that died.

`complete` is the one door by which temporary URLs enter the catalogue. An answer lies on disk before it is read here,
and stays there until its images are stored; one that nobody can read is set aside and never thrown away.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from archiver.catalogue import Arrival, Catalogue, Submission
from archiver.core import policy
from archiver.core.errors import AdapterError, Corrupt, Permanent, Unusable
from archiver.core.model import Accepted, Answer, Completed, Output, Ticket
from archiver.core.ports import Provider
from archiver.core.pricing import cost_micro
from archiver.core.redaction import redact
from archiver.pipeline.spool import Inbox, Spool
from archiver.pipeline.transfer import describe
from archiver.transport import Body

FIRST_POLL = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reception:
    """Takes answers in."""

    catalogue: Catalogue
    providers: Mapping[str, Provider]
    inbox: Inbox
    spool: Spool
    now: Callable[[], datetime]
    new_id: Callable[[], str]

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

    def ingest(self, provider: Provider, generation_id: str, owner: str) -> None:
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
            generations.fail(generation_id, owner, redact(f"paid, but without an image: {error}"), self.now())
        except Corrupt as error:
            self.inbox.set_aside(generation_id)
            reason = redact(f"the answer cannot be read: {error}")
            if not generations.doubt(generation_id, owner, reason, self.now()):
                generations.complain(generation_id, reason, self.now())
        except AdapterError as error:
            # The answer stays in the inbox: the next process reads it.
            raise Unusable(f"{error}; the answer of generation {generation_id} is kept") from error

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

    def salvage(self, provider: Provider, generation_id: str) -> None:
        """Give an answer that is whole but for its name that name; set aside what is cut."""
        if self.inbox.has(generation_id):
            return
        try:
            if (left := self.inbox.salvage(generation_id)) is None:
                raise Corrupt("cut within its first line")
            provider.read(left)
            self.inbox.adopt(generation_id)
        except (Corrupt, Permanent):
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
            self.catalogue.generations.doubt(
                generation_id, owner, "the process that asked ended before an answer was on disk", self.now()
            )
