"""Pace and breaker: a gate in front of every source host, store and provider, so that a sick one starves nobody else.

A gate closes for a pause after failures in a row; when the pause is over it lets one probe through, whose success opens
it. Gates live in memory and outlive a tick. They refuse to decide how long a pause is (`core.policy`), and they lose
nothing: what a closed gate turns away is tried later, or goes to the spool.
"""

import math
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from archiver.core import pace, policy
from archiver.core.errors import AdapterError, Throttled
from archiver.core.model import ObjectHead, Receipt
from archiver.core.pace import Rate
from archiver.core.ports import Body, Store

#: What is told of a gate whose pause is over while its probe is still under way.
WHILE_PROBING = timedelta(seconds=1)
#: Threads read the clock before they get here: a word from so little ahead is no sign of a clock that was set back.
CLOCK_SLACK = timedelta(minutes=1)


class Word(NamedTuple):
    """What came of one passage: an error word (None: success), and the pause that the other side asked for, in s."""

    word: str | None = None
    retry_after: float | None = None

    @classmethod
    def of(cls, error: BaseException) -> "Word":
        """The word of an error; a fault of our own says nothing of the other side."""
        if not isinstance(error, AdapterError):
            return cls("refused")
        return cls(error.word, error.retry_after if isinstance(error, Throttled) else None)


@dataclass(slots=True)
class _Gate:
    failures: int = 0
    pauses: int = 0
    until: datetime | None = None
    probing: bool = False
    inside: int = 0
    has_served: bool = False
    last: str | None = "unknown"
    said_at: datetime | None = None


class Gates:
    """Gates by name. Threads share an instance; nothing here waits.

    With `doubts`, a pause that is asked for may be meant for one image: whoever has served before is tried earlier.
    """

    def __init__(self, *, doubts: bool = False) -> None:
        self._doubts = doubts
        self._lock = threading.Lock()
        self._gates: dict[str, _Gate] = {}
        #: Held by whoever looks which gates are open and then enters one of them.
        self.choosing = threading.RLock()

    def resting(self, now: datetime) -> frozenset[str]:
        """The names that admit nobody at this moment."""
        with self._lock:
            return frozenset(name for name, gate in self._gates.items() if _pause(gate, now))

    def pause(self, name: str, now: datetime) -> timedelta:
        """How long `name` admits nobody; zero when it is open."""
        with self._lock:
            gate = self._gates.get(name)
            return _pause(gate, now) if gate else timedelta(0)

    def next_opening(self, now: datetime) -> datetime | None:
        """When the first of the closed gates lets somebody through, None when all are open."""
        with self._lock:
            pauses = [pause for gate in self._gates.values() if (pause := _pause(gate, now))]
        return now + min(pauses) if pauses else None

    def crowded(self, most: int, *, proven: bool) -> frozenset[str]:
        """The names with `most` or more inside; without `proven`, those whose last passage succeeded do not count."""
        with self._lock:
            return frozenset(
                name for name, gate in self._gates.items() if gate.inside >= most and (proven or gate.last is not None)
            )

    def doubtful(self, now: datetime) -> list[str]:
        """The names whose pause is over and whose last probe failed."""
        with self._lock:
            return [
                name
                for name, gate in self._gates.items()
                if gate.until is not None and gate.pauses > 1 and not _pause(gate, now)
            ]

    def refused_at(self, name: str) -> datetime | None:
        """When `name` last said `permanent`, if that was its last word."""
        with self._lock:
            gate = self._gates.get(name)
            return gate.said_at if gate and gate.last == "permanent" else None

    def enter(self, name: str, now: datetime, *, urgent: bool = False) -> timedelta | None:
        """Pass through. Returns None, or how long `name` still rests: then nothing was entered. `urgent` passes through
        a closed gate too. Whoever entered must `leave`."""
        with self._lock:
            gate = self._gates.setdefault(name, _Gate())
            pause = _pause(gate, now)
            if pause and not urgent:
                return pause
            gate.probing = gate.until is not None
            gate.inside += 1
            return None

    def leave(self, name: str, now: datetime, luck: float, word: Word) -> None:
        """Say what came of a passage."""
        with self._lock:
            gate = self._gates.setdefault(name, _Gate())
            gate.inside = max(gate.inside - 1, 0)
            gate.probing = False
            if word.word == "refused":  # by ourselves: nobody was asked
                return
            pause = _pause(gate, now)
            gate.last, gate.said_at = word.word, now
            if word.word not in policy.FAILURES_OF_A_GATE:
                gate.failures, gate.pauses, gate.until = 0, 0, None
                gate.has_served = gate.has_served or word.word is None
                return
            is_doubted = self._doubts and gate.has_served
            if pause and (word.retry_after is None or is_doubted):
                return  # it was under way when the gate closed, and tells nothing new
            gate.failures += 1
            rest = policy.gate_pause(
                word.word, failures=gate.failures, luck=luck, retry_after=word.retry_after, is_doubted=is_doubted
            )
            if rest is not None:
                gate.pauses += 1
                gate.until = max(now + rest, gate.until or now)

    def give_back(self, name: str) -> None:
        """Leave without having done anything."""
        with self._lock:
            gate = self._gates[name]
            gate.inside -= 1
            gate.probing = False


class Paces:
    """How often each provider may be asked; one that has no rate, any time. In memory: every process has its own, and
    two that ask the same provider ask twice as often. Threads share an instance; nothing here waits."""

    def __init__(self, rates: Mapping[str, Rate] | None = None, elapsed: Callable[[], float] = lambda: 0.0) -> None:
        """`elapsed` counts seconds on a clock that nobody sets."""
        self._lock = threading.Lock()
        self._rates = dict(rates or {})
        self._elapsed = elapsed
        self._buckets: dict[str, pace.Bucket] = {}

    def pause(self, name: str) -> timedelta:
        """How long `name` must not be asked; zero when it may be."""
        if (rate := self._rates.get(name)) is None:
            return timedelta(0)
        with self._lock:
            # Rounded up: a pause that is over must not turn out to be a microsecond short.
            return timedelta(microseconds=math.ceil(1e6 * pace.pause_s(self._buckets.get(name), rate, self._elapsed())))

    def take(self, name: str) -> None:
        """One request is made."""
        if (rate := self._rates.get(name)) is not None:
            with self._lock:
                self._buckets[name] = pace.take(self._buckets.get(name), rate, self._elapsed())

    def next_opening(self) -> timedelta | None:
        """How long until the first provider that must wait may be asked; None when none must wait."""
        return min((pause for name in self._rates if (pause := self.pause(name))), default=None)


@dataclass(frozen=True, slots=True)
class Doors:
    """All gates of a process: by source host (with its port), by store, and by provider, and the providers' paces."""

    hosts: Gates = field(default_factory=lambda: Gates(doubts=True))
    stores: Gates = field(default_factory=Gates)
    providers: Gates = field(default_factory=Gates)
    paces: Paces = field(default_factory=Paces)


def _pause(gate: _Gate, now: datetime) -> timedelta:
    if gate.until is None:
        return timedelta(0)
    if gate.said_at is not None and now < gate.said_at - CLOCK_SLACK:
        gate.until = gate.said_at = now  # the clock was set back: how much of the pause is over, nobody knows
    left = gate.until - now
    if left > timedelta(0):
        return left
    return WHILE_PROBING if gate.probing else timedelta(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class GatedStore:
    """A store behind its gate: `core.ports.Store`. A put at a closed gate is not tried, and is `Throttled`."""

    inner: Store
    gates: Gates
    now: Callable[[], datetime]
    luck: Callable[[], float]

    @property
    def name(self) -> str:
        """The store's own."""
        return self.inner.name

    @property
    def prefix(self) -> str:
        """The store's own."""
        return self.inner.prefix

    def put_new(self, key: str, body: Body, content_type: str, metadata: Mapping[str, str]) -> Receipt:
        """As the store does it, or Throttled until the gate opens."""
        pause = self.gates.enter(self.name, self.now())
        if pause is not None:
            raise Throttled(f"{self.name}: not tried, it failed too often a moment ago", pause.total_seconds())
        word = Word()
        try:
            return self.inner.put_new(key, body, content_type, metadata)
        except BaseException as error:
            word = Word.of(error)
            raise
        finally:
            self.gates.leave(self.name, self.now(), self.luck(), word)

    def head(self, key: str) -> ObjectHead | None:
        """As the store does it."""
        return self.inner.head(key)

    def open(self, key: str) -> Iterator[bytes]:
        """As the store does it."""
        return self.inner.open(key)

    def list(self, prefix: str) -> Iterator[ObjectHead]:
        """As the store does it."""
        return self.inner.list(prefix)

    def delete(self, key: str) -> None:
        """As the store does it."""
        self.inner.delete(key)

    def presign(self, key: str, lifetime: timedelta) -> str:
        """As the store does it."""
        return self.inner.presign(key, lifetime)
