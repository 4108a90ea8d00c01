"""Damage images in every way by the thousand, and count: none is taken for a whole one.

    .venv/bin/python scripts/soak/bodies.py [--bodies 5000] [--seed S]

Each body is judged by its structure, and fetched over a socket from a host that states the checksum of the original.
What structure cannot show (a flipped bit in compressed data without a checksum) is counted apart, by format and damage;
with the source's checksum nothing may come through. Prints one line for a person on stderr and one JSON object on
stdout; exit code 0 when nothing was accepted wrongly, 1 when something was.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.fault.damage import Count, bodies, counter


def main() -> int:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bodies", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    chosen = parser.parse_args()
    print(f"seed {chosen.seed}", file=sys.stderr, flush=True)
    began, count = time.monotonic(), Count()
    with tempfile.TemporaryDirectory() as folder, counter(Path(folder)) as is_fetched:
        for number, body in enumerate(bodies(chosen.seed, chosen.bodies)):
            count.add(number, body, is_fetched)
    seconds = time.monotonic() - began
    print(
        json.dumps(
            {
                "soak": "bodies",
                "seed": chosen.seed,
                "bodies": chosen.bodies,
                "ok": not count.wrong,
                "seconds": round(seconds),
                "by_structure": dict(sorted(count.by_word.items())),
                "structure_cannot_show": dict(sorted(count.unseen.items())),
                "fetched_with_checksum": count.fetched,
                "accepted_wrongly": len(count.wrong),
                "wrong": count.wrong[:20],
            }
        )
    )
    print(
        f"{chosen.bodies} damaged bodies in {seconds:.0f} s: {len(count.wrong)} accepted wrongly;"
        f" {count.by_word['refused']} refused by structure, {count.by_word['marked']} marked,"
        f" {count.by_word['accepted']} that only the source's checksum shows, and it showed all",
        file=sys.stderr,
    )
    return 1 if count.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
