"""Cut the power at thousands of moments of recorded runs, then count: nothing lost, nothing paid twice.

    .venv/bin/python scripts/soak/power.py [--cuts 2000] [--seed S]

Runs of the real command line are recorded by strace with every byte that they write, and a model of a disk says what a
power loss may leave of it (tests/crash/loss.py). At each cut, what others had seen of us must be on that disk. Every
second cut is followed by a restart, and the oracle of tests/crash compares the provider's ledger, the bytes served, the
stores and the catalogue. In every third run a process dies before, at one of the named crash points (of work that is
answered at once: the recording does not know polls). Prints one line for a person on stderr and one JSON object on
stdout; exit code 0 when all agrees, 1 when not.
"""

import argparse
import json
import random
import sqlite3
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.crash.nursery import Nursery
from tests.crash.points import POINTS
from tests.crash.power import SETUPS, Losses, lose_power
from tests.crash.straced import why_not

CUTS_PER_RUN = 100
RESTART_EVERY = 2
AT_A_TIME = 2


@dataclass(frozen=True, slots=True)
class Run:
    """One recorded run, and how often it is cut."""

    setup: str
    cuts: int
    seed: int
    deaths: Sequence[str] = ()


def runs(cuts: int, seed: int) -> Iterator[Run]:
    """So many that their cuts add up."""
    chance = random.Random(seed)  # noqa: S311 - moments, no secrets
    for number in range(-(-cuts // CUTS_PER_RUN)):
        share, own = min(cuts - number * CUTS_PER_RUN, CUTS_PER_RUN), chance.randrange(10**6)
        if number % 3 == 2:
            point = chance.choice([one for one in POINTS if one.setup in SETUPS])
            yield Run(point.setup, share, own, [place for place in (point.at, point.then) if place is not None])
        else:
            yield Run(chance.choice(SETUPS), share, own)


def soak(cuts: int, seed: int) -> tuple[Losses, int]:
    """Run it. Returns what there was, and the number of recorded runs. Raises what `main` catches."""
    found = Losses()
    chosen = list(runs(cuts, seed))
    with Nursery(AT_A_TIME) as nursery, ThreadPoolExecutor(AT_A_TIME) as pool:

        def go(run: Run) -> Losses:
            return lose_power(
                run.setup, run.cuts, run.seed, nursery.run, restart_every=RESTART_EVERY, deaths=run.deaths
            )

        try:
            for number, losses in enumerate(pool.map(go, chosen), 1):
                found.add(losses)
                print(f"{number} of {len(chosen)} runs, {found.models.total()} cuts", file=sys.stderr, flush=True)
        finally:
            pool.shutdown(cancel_futures=True)
    return found, len(chosen)


def main() -> int:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cuts", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    chosen = parser.parse_args()
    print(f"seed {chosen.seed}", file=sys.stderr, flush=True)
    asked = {"soak": "power", "seed": chosen.seed, "cuts": chosen.cuts}
    began = time.monotonic()
    if (reason := why_not()) is not None:
        print(json.dumps({**asked, "ok": False, "error": reason}))
        print(f"FAILED: {reason}", file=sys.stderr)
        return 1
    try:
        losses, recorded = soak(chosen.cuts, chosen.seed)
    except (AssertionError, RuntimeError, ValueError, sqlite3.Error) as error:
        print(json.dumps({**asked, "ok": False, "error": str(error)}))
        print(f"FAILED after seed {chosen.seed}: {error}", file=sys.stderr)
        return 1
    seconds = time.monotonic() - began
    figures = {"runs": recorded, "restarts": losses.restarts, "models": dict(losses.models)}
    print(json.dumps({**asked, "ok": True, "seconds": round(seconds), **figures}))
    print(
        f"{losses.models.total()} power losses in {recorded} runs and {seconds:.0f} s: {losses.restarts} restarts found"
        " all that had been promised; 0 lost, 0 paid twice",
        file=sys.stderr,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
