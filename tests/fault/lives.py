"""The life of one image as the policy alone decides it, in virtual time: attempts, pauses, and how it ends.

No catalogue, no threads, no clock: `archiver.core.policy` is asked what the settler would ask it, with the same
arguments. The source serves in one window and fails all the rest of the time, in one of several ways.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum

from archiver.core import policy
from archiver.core.model import Evidence, Promise
from archiver.core.tempurl import TemporaryURL

SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
LIFETIMES = (10 * MINUTE, HOUR, DAY, 7 * DAY, 30 * DAY)
WORDS = ("transient", "throttled", "throttled without a pause", "gone", "corrupt", "mixed")
_MIXED = ("transient", "throttled", "gone", "corrupt")
#: An attempt that finds a wall costs up to this: the engine gives a silent connection 30 s.
LONGEST_ATTEMPT_S = 30.0
#: An outage before the deadline is not played out: this much of its end is, from a random phase. All that an attempt
#: leaves behind is the number of attempts, which no longer matters after a dozen.
PLAYED = HOUR


class End(Enum):
    """How a life ended."""

    SAVED = "saved"
    LATE = "alive when its window closed"
    LOST = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """What happens to one image. The source serves from `opens` until `closes`; the clock is ahead by `skew`."""

    issued: datetime
    evidence: tuple[Evidence, ...]
    word: str
    opens: datetime
    closes: datetime
    retry_after: float | None = None
    skew: timedelta = timedelta(0)


def least_window(lifetime: timedelta) -> timedelta:
    """What the promise asks of the source: max(10 min, 5 % of the lifetime). A URL of ten minutes has no window of ten
    minutes before its deadline, so two are asked of it."""
    return max(10 * MINUTE, lifetime * 0.05) if lifetime > 10 * MINUTE else 2 * MINUTE


def evidence_of(issued: datetime, lifetime: timedelta) -> tuple[Evidence, ...]:
    """What is known of a URL that says when it dies."""
    expires = int((issued + lifetime).timestamp())
    url = TemporaryURL(f"https://made.example/i.png?OSSAccessKeyId=k&Expires={expires}&Signature=s")
    return policy.gather_evidence(url, Promise(), issued)


def a_life(chance: random.Random, lifetime: timedelta, word: str, *, at_once_after_a_failure: bool) -> Life:
    """A random life whose window is just long enough, somewhere before the deadline. The cruellest window opens the
    moment after an attempt has begun in vain: `at_once_after_a_failure` looks for that moment."""
    issued = datetime.fromisoformat("2026-01-01T00:00:00+00:00") + timedelta(seconds=chance.uniform(0, 3e7))
    evidence = evidence_of(issued, lifetime)
    deadline, _ = policy.decide_deadline(evidence, issued)
    window = least_window(lifetime)
    latest = deadline - window
    opens = issued + (latest - issued) * chance.random()
    retry_after = chance.choice((1.0, 5.0, 30.0, 120.0, 600.0, 3600.0))
    if word == "throttled without a pause":
        word, retry_after = "throttled", -1.0
    life = Life(
        issued=issued,
        evidence=evidence,
        word=word,
        opens=opens,
        closes=opens + window,
        retry_after=None if retry_after < 0 else retry_after,
    )
    if not at_once_after_a_failure:
        return life
    attempts: list[datetime] = []
    live(life, random.Random(chance.random()), attempts)
    before = [moment for moment in attempts if moment < opens]
    opens = min(max(before, default=issued), latest) + timedelta(microseconds=1)
    return replace(life, opens=opens, closes=opens + window)


def live(life: Life, chance: random.Random, attempts_at: list[datetime] | None = None) -> End:
    """Play a life until it is saved, lost, or its window has closed. `attempts_at` receives the true times."""
    deadline, _ = policy.decide_deadline(life.evidence, life.issued + life.skew)
    give_up = policy.gives_up_at(life.evidence)
    now, attempts = life.issued, 0
    if (skipped := min(life.opens, deadline) - now - PLAYED * (0.5 + 0.5 * chance.random())) > 0 * SECOND:
        now, attempts = now + skipped, 12
    refused: datetime | None = None
    refused_before: datetime | None = None
    while now < life.closes:
        if attempts_at is not None:
            attempts_at.append(now)
        if now >= life.opens:
            return End.SAVED
        attempts += 1
        word = chance.choice(_MIXED) if life.word == "mixed" else life.word
        now += timedelta(seconds=chance.uniform(0, LONGEST_ATTEMPT_S if word == "transient" else 1.0))
        clock = now + life.skew
        refused, refused_before = (clock, refused) if word == "gone" else (None, None)
        if policy.is_lost(
            now=clock, give_up=give_up, attempts=attempts, refused=refused, refused_before=refused_before
        ):
            return End.LOST
        again = policy.next_attempt(
            word,
            now=clock,
            deadline=deadline,
            attempts=attempts,
            luck=chance.random(),
            retry_after=life.retry_after if word == "throttled" else None,
        )
        now = again - life.skew
    return End.LATE


def losses(seed: int, lifetime: timedelta, words: Sequence[str], count: int) -> list[tuple[int, Life, End]]:
    """Play `count` lives. Returns those that did not end well, each with its number."""
    chance = random.Random(seed)
    bad: list[tuple[int, Life, End]] = []
    for number in range(count):
        life = a_life(chance, lifetime, words[number % len(words)], at_once_after_a_failure=number % 4 == 0)
        if (end := live(life, random.Random(chance.random()))) is not End.SAVED:
            bad.append((number, life, end))
    return bad
