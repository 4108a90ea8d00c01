"""The pool of a job's prompts, and which of them a tick asks for.

- `all`: every one, in order.
- `next`: the following ones at each tick, round and round. Its place is the tick's number among the job's ticks in the
  catalogue; nothing else is remembered.
- `random`: drawn by the SHA-256 of the job's name and the tick's due time. So the daemon, `run --once` and a dry run
  draw the same, and neither a restart nor another machine draws anew; while the prompts change, the draw may.

A tick takes nothing out of the pool twice, and all of it when it holds less than what is to be picked. A pool counts
its prompts without making them: a product of ten lists may be larger than any memory.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import accumulate
from typing import Literal
from zoneinfo import ZoneInfo

from archiver.core.model import Wish
from archiver.prompts.files import Entry, told
from archiver.prompts.templates import Template, parse, plain

Pick = Literal["all", "next", "random"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """All prompts that a job may ask for. `zone` is where its dates are."""

    templates: tuple[Template, ...]
    lists: Mapping[str, Sequence[str]] = field(default_factory=dict)
    zone: str = "UTC"

    @classmethod
    def of(
        cls, entries: Sequence[Entry], *, lists: Mapping[str, Sequence[str]], zone: str, is_template: bool
    ) -> "Pool":
        """A pool of entries. Raises ValueError that tells every template that cannot be understood, with its place (the
        first ten of them)."""
        templates: list[Template] = []
        wrong: list[str] = []
        for where, wish in entries:
            try:
                templates.append(parse(wish, lists) if is_template else plain(wish))
            except ValueError as error:
                wrong.append(f"{where}: {error}")
        if wrong:
            raise ValueError(told(wrong))
        return cls(templates=tuple(templates), lists=lists, zone=zone)

    @property
    def count(self) -> int:
        """How many prompts there are."""
        return sum(template.count for template in self.templates)

    def asked(self, pick: Pick, pick_count: int) -> int:
        """How many of them one tick asks for."""
        return self.count if pick == "all" else min(pick_count, self.count)

    def pick(self, pick: Pick, pick_count: int, *, job: str, tick: datetime, number: int) -> list[Wish]:
        """The wishes of one tick. `number` counts the job's ticks from 0."""
        places: Sequence[int] = range(self.count)
        if pick == "next":
            first = number * pick_count
            places = [(first + step) % self.count for step in range(self.asked(pick, pick_count))]
        elif pick == "random":
            places = _draw(self.count, self.asked(pick, pick_count), f"{job}\n{tick.astimezone(UTC).isoformat()}")
        return self.take(places, tick, number)

    def take(self, places: Iterable[int], tick: datetime, number: int) -> list[Wish]:
        """The wishes at these places of the pool, as a tick would ask for them."""
        ends = list(accumulate(template.count for template in self.templates))
        local = tick.astimezone(ZoneInfo(self.zone))
        wishes: list[Wish] = []
        for place in places:
            row = bisect_right(ends, place)
            template = self.templates[row]
            wishes.append(template.fill(place - ends[row] + template.count, self.lists, local, number))
        return wishes


def _draw(total: int, count: int, seed: str) -> list[int]:
    """`count` different numbers below `total`, in their order: Floyd's algorithm, with a hash in place of a die. 256
    bits make what the remainder prefers immeasurably small."""
    drawn: set[int] = set()
    for top in range(total - count, total):
        digest = hashlib.sha256(f"{seed}\n{top - total}".encode()).digest()
        place = int.from_bytes(digest) % (top + 1)
        drawn.add(top if place in drawn else place)
    return sorted(drawn)
