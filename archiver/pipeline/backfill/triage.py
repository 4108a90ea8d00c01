"""What a source is worth before anything is copied: what can be saved, what is dying, dead, or here already.

It counts; whether a dead URL is tried is not decided here. Every one is: caches often still serve, and only the
source's own word counts.
"""

from array import array
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from archiver.catalogue import Standing
from archiver.core.model import Evidence

SOON = timedelta(hours=1)

#: The classes, in the order of haste, and how they are told.
CLASSES = {
    "dying": "dying within the hour",
    "rescuable": "rescuable",
    "unknown": "of unknown life (taken as due within the hour)",
    "dead": "dead by evidence (tried all the same)",
    "waiting": "on their way already",
    "archived": "archived already",
    "lost": "known as lost",
    "repeated": "repeated",
    "older": "older than --since",
    "elsewhere": "on other hosts",
    "no image": "no image URLs",
    "broken": "broken lines",
}
TO_COPY = ("dying", "rescuable", "unknown", "dead")


@dataclass(slots=True)
class Triage:
    """How many there are of every class."""

    counts: "Counter[str]" = field(default_factory=Counter)

    @property
    def to_copy(self) -> int:
        """How many there are to be copied, but for what was on its way before."""
        return sum(self.counts[name] for name in TO_COPY)

    def told(self) -> str:
        """All classes that hold something, in one line."""
        found = [f"{self.counts[name]} {words}" for name, words in CLASSES.items() if self.counts[name]]
        return ", ".join(found) or "nothing"


def judge(deadline: datetime, decided: Evidence, now: datetime) -> str:
    """The class of a URL by its evidence alone."""
    if decided.source == "default":
        return "unknown"
    if decided.at <= now and not decided.lower_bound:
        return "dead"
    return "dying" if deadline <= now + SOON else "rescuable"


def judge_known(known: Standing) -> str:
    """The class of a URL whose image the catalogue has."""
    return {"pending": "waiting", "spooled": "waiting", "lost": "lost"}.get(known.state, "archived")


class Seen:
    """Which identities came before in this run, in 8 bytes each: for counting, never for deciding."""

    def __init__(self) -> None:
        self._slots = array("Q", bytes(8 * 4096))
        self._used = 0

    def add(self, identity: str) -> bool:
        """Remember 64 hexadecimal digits. False when they came before."""
        if self._used * 2 >= len(self._slots):
            kept, self._slots = self._slots, array("Q", bytes(16 * len(self._slots)))
            for mark in kept:
                if mark:
                    self._slots[self._place(mark)] = mark
        mark = int(identity[:16], 16) or 1
        place = self._place(mark)
        if self._slots[place] == mark:
            return False
        self._slots[place] = mark
        self._used += 1
        return True

    def _place(self, mark: int) -> int:
        slots, last = self._slots, len(self._slots) - 1
        place = mark & last
        while slots[place] not in (0, mark):
            place = (place + 1) & last
        return place
