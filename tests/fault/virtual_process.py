"""One process of a virtual world: the verbs of the pipeline step by step, and folders in which it can die.

The inbox and the spool are the real ones; they only let the process pass by its fate where a crash would matter.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from archiver.core.model import Outcome, Ticket
from archiver.core.ports import Body
from archiver.pipeline import Pipeline
from archiver.pipeline.inbox import AnswerFile, Inbox
from archiver.pipeline.spool import Spool
from tests.fault.virtual_outside import Fate, VirtualProvider


class MortalInbox(Inbox):
    """The inbox, with places to die at."""

    fate: Fate
    last: AnswerFile | None = None

    def open(self, generation_id: str, now: Callable[[], datetime]) -> AnswerFile:
        self.fate.step()
        self.last = super().open(generation_id, now)
        return self.last

    def die(self) -> None:
        """The kernel closes the file; every byte of it had been handed to the kernel before."""
        if self.last is not None:
            self.last._file.close()

    def discard(self, generation_id: str) -> None:
        self.fate.step()
        super().discard(generation_id)


class MortalSpool(Spool):
    """The spool, with places to die at."""

    fate: Fate

    def keep(self, image_id: str, body: Body) -> str:
        name = super().keep(image_id, body)
        self.fate.step()
        return name

    def discard(self, name: str) -> None:
        self.fate.step()
        super().discard(name)


@dataclass(eq=False)
class Process:
    """One process, and what it holds in its hands: claimed tickets, and outcomes that are not settled yet."""

    pipeline: Pipeline
    inbox: MortalInbox
    tickets: list[Ticket] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)

    def claim(self) -> Ticket | None:
        """Take the next image."""
        ticket = self.pipeline.next_to_copy()
        if ticket is not None:
            self.tickets.append(ticket)
        return ticket

    def copy(self) -> None:
        """Copy what was claimed. Nothing is settled."""
        while self.tickets:
            self.outcomes.append(self.pipeline.copy(self.tickets.pop()))

    def drain(self) -> int:
        """Claim and copy all that is due, and settle it as one batch; how many attempts that were."""
        taken = set()
        while (ticket := self.claim()) is not None:
            assert ticket.image_id not in taken, "claimed twice at one moment"
            taken.add(ticket.image_id)
            self.copy()
        outcomes, self.outcomes = self.outcomes, []
        if outcomes:
            self.pipeline.settler.settle(outcomes)
        return len(outcomes)

    def ask(self, provider: VirtualProvider) -> bool:
        """Ask for one generation. False when none is due."""
        submission = self.pipeline.next_to_submit(provider)
        if submission is not None:
            self.pipeline.submit(provider, submission)
        return submission is not None

    def poll(self, provider: VirtualProvider) -> bool:
        """Poll one accepted generation. False when none is due."""
        submission = self.pipeline.next_to_collect(provider)
        if submission is not None:
            self.pipeline.collect(provider, submission)
        return submission is not None
