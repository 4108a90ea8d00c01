"""What happened in one run, counted and told: one line per image that was settled.

The catalogue knows what stands; this only feeds progress and exit codes.
"""

from collections import Counter
from dataclasses import dataclass, field

import structlog

from archiver.catalogue import Settlement
from archiver.core.model import Outcome

MOST_TROUBLES_KEPT = 1000

log = structlog.get_logger("archiver")


@dataclass(slots=True)
class Tally:
    """What happened. `troubles` holds the last error of images that are still waiting, by id; `failures` counts the
    error words of what was postponed."""

    asked: int = 0
    stored: int = 0
    bytes: int = 0
    postponed: int = 0
    lost: int = 0
    troubles: dict[str, str] = field(default_factory=dict)
    failures: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Tally") -> None:
        """Count what happened elsewhere."""
        self.asked += other.asked
        self.stored += other.stored
        self.bytes += other.bytes
        self.postponed += other.postponed
        self.lost += other.lost
        self.failures.update(other.failures)
        for image_id, trouble in other.troubles.items():
            if len(self.troubles) < MOST_TROUBLES_KEPT:
                self.troubles[image_id] = trouble

    def take(self, outcome: Outcome, item: Settlement, *, is_stored: bool) -> None:
        """Count one settled outcome, and log it."""
        ticket, fetched = outcome.ticket, outcome.fetched
        if is_stored:
            self.stored += 1
            self.troubles.pop(ticket.image_id, None)
            self.bytes += fetched.size if fetched else 0
            keys = [receipt.key for receipt in outcome.receipts]
            log.info("stored", image=ticket.image_id, job=ticket.job, keys=keys, size=fetched and fetched.size)
            return
        self.postponed += 1
        self.failures.update(failure.word for failure in outcome.failures[-1:])
        if len(self.troubles) < MOST_TROUBLES_KEPT:
            is_kept = bool(item.spooled or (ticket.spooled and not item.unspool))
            self.troubles[ticket.image_id] = f"{'(safe on this disk) ' * is_kept}{item.error}"
        log.warning(
            "postponed",
            image=ticket.image_id,
            job=ticket.job,
            attempt=ticket.attempts + 1,
            error=item.error,
            rescued=item.spooled is not None,
            source=str(ticket.url) if ticket.url else None,
            again=item.not_before and item.not_before.isoformat(),
        )
