"""The three state machines, as tables: every transition that exists, and no other.

The catalogue's guarded updates take their `from` states here, its triggers refuse what is not here (a test compares
the two), and the diagram in the documentation is drawn from here. Decisions about *when* to move are in `policy`.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Move(NamedTuple):
    """One transition: the states it may start in, and the state it ends in."""

    sources: frozenset[str]
    target: str


def _table(**moves: tuple[str, str]) -> Mapping[str, Move]:
    return MappingProxyType({name: Move(frozenset(src.split("|")), dst) for name, (src, dst) in moves.items()})


GENERATION = _table(
    submit=("planned", "submitted"),
    # The provider was provably not asked, or charged nothing: the row waits for its next turn.
    withdraw=("submitted", "planned"),
    # Of an unknown one the answer, which names the work, lay on the disk all the same.
    accept=("submitted|unknown", "accepted"),
    # A late webhook or poll still brings the images of an unknown or failed generation home, also of one that an
    # operator has planned again: then it need not be paid for twice.
    complete=("planned|submitted|accepted|unknown|failed", "completed"),
    fail=("submitted|accepted", "failed"),
    # Sent, but no answer: it may have been charged.
    doubt=("submitted", "unknown"),
    cancel=("planned", "cancelled"),
    # The same request was answered a while ago, and its images are archived: nothing is asked.
    reuse=("planned", "reused"),
    # An operator's word, said or written into the settings, and nobody else's: it may pay again.
    retry=("unknown|failed", "planned"),
)

IMAGE = _table(
    # Fetched, but a store did not confirm: from here on the URL's expiry no longer matters.
    rescue=("pending", "spooled"),
    store=("pending|spooled|missing", "stored"),
    # The spool file failed its hash and the URL still lives.
    rot=("spooled", "pending"),
    lose=("pending", "lost"),
    # Only with a fresh URL.
    requeue=("lost|missing", "pending"),
    miss=("stored", "missing"),
    recover=("missing", "spooled"),
    # A person's word: what is left tells that there was an image, and nothing of it.
    forget=("pending|spooled|stored|missing|lost", "forgotten"),
)

COPY = _table(
    confirm=("wanted", "confirmed"),
    miss=("confirmed", "missing"),
    recover=("missing", "wanted"),
)

#: A batch of generations, which move with it.
BATCH = _table(
    # Its requests are handed over: from here on it may have been ordered.
    order=("gathered", "ordered"),
    # Provably not ordered: its generations wait for another one.
    withdraw=("gathered|ordered", "withdrawn"),
    accept=("ordered", "accepted"),
    doubt=("ordered", "unknown"),
    # The provider is done with it, whatever came of it.
    end=("accepted", "ended"),
    # Every line of its output was taken in.
    collect=("ended", "collected"),
)

#: The states in which a row may be born. A backfilled generation is born completed: it was paid elsewhere.
BIRTH: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "generation": frozenset({"planned", "completed"}),
        "image": frozenset({"pending", "spooled"}),
        "copy": frozenset({"wanted"}),
        "batch": frozenset({"gathered"}),
    }
)

MACHINES: Mapping[str, Mapping[str, Move]] = MappingProxyType(
    {"generation": GENERATION, "image": IMAGE, "copy": COPY, "batch": BATCH}
)


def states(machine: str) -> tuple[str, ...]:
    """Every state of a machine (`generation`, `image`, `copy` or `batch`), in alphabetical order."""
    names = set(BIRTH[machine])
    for move in MACHINES[machine].values():
        names |= move.sources | {move.target}
    return tuple(sorted(names))


def pairs(machine: str) -> frozenset[tuple[str, str]]:
    """Every (from, to) pair that a machine allows."""
    return frozenset((source, move.target) for move in MACHINES[machine].values() for source in move.sources)


def diagram(machine: str) -> str:
    """The machine as a Mermaid state diagram, for the documentation."""
    lines = ["stateDiagram-v2", *(f"    [*] --> {name}" for name in sorted(BIRTH[machine]))]
    for name, move in MACHINES[machine].items():
        lines += [f"    {source} --> {move.target}: {name}" for source in sorted(move.sources)]
    return "\n".join(lines)
