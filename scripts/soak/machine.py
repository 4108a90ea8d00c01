"""Let anything happen to a catalogue for minutes, and count: the state machine of tests/fault, and source outages.

    .venv/bin/python scripts/soak/machine.py [--minutes 10] [--steps 60] [--outages 100000]

Random runs of the machine until the time is over, then so many outages for each lifetime. Prints one line for a person
on stderr and one JSON object on stdout; the steps of a run that fails go to stderr. Exit code 0 when nothing was found,
1 when something was.
"""

import argparse
import json
import random
import sys
import time
import traceback
from collections import Counter
from contextlib import redirect_stdout
from pathlib import Path
from typing import ClassVar

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.fault.lives import LIFETIMES, WORDS, losses
from tests.fault.machine import Machine

BATCH = 200


class Counted(Machine):
    """The machine, counting what it lived through."""

    seen: ClassVar[Counter[str]] = Counter()

    def judge(self) -> None:
        """Judge, then count."""
        super().judge()
        self.seen["runs"] += 1
        self.seen["charges"] += sum(len(port.charges) for port in self.world.providers.values())
        for row in self.world.rows("select state, count(*) as n from images group by state"):
            self.seen[f"images {row['state']}"] += row["n"]
        for row in self.world.rows("select kind, count(*) as n from events group by kind"):
            self.seen[f"events {row['kind']}"] += row["n"]


def main() -> int:
    """Run for the time that was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--outages", type=int, default=100_000)
    given = parser.parse_args()
    batch = settings(
        max_examples=BATCH,
        stateful_step_count=given.steps,
        deadline=None,
        database=None,
        print_blob=True,
        report_multiple_bugs=False,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    end, failed = time.monotonic() + 60 * given.minutes, 0
    with redirect_stdout(sys.stderr):
        while time.monotonic() < end and not failed:
            try:
                run_state_machine_as_test(Counted, settings=batch)
            except Exception:  # noqa: BLE001 - whatever it is, it was found
                traceback.print_exc()
                failed += 1
        seed = random.SystemRandom().randrange(2**32)
        lost = {str(lifetime): len(losses(seed, lifetime, WORDS, given.outages)) for lifetime in LIFETIMES}
        print(
            f"state machine: {Counted.seen['runs']} runs, {failed} failed; {given.outages} outages for each of "
            f"{len(LIFETIMES)} lifetimes: {sum(lost.values())} images lost (seed {seed})"
        )
    print(json.dumps({"failed": failed, "seen": dict(sorted(Counted.seen.items())), "seed": seed, "lost": lost}))
    return 1 if failed or any(lost.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
