"""Take both buckets away while images are being made, let every URL die, bring the buckets back, and count.

    .venv/bin/python scripts/soak/outage.py [--seconds 60] [--images 1000] [--seed S]

The outage of tests/crash/outage.py, made long: a real daemon, an S3 server (rclone) behind a plug, an OSS double that
refuses or answers 503 by turns, a source that stops serving each URL when it says so. In the end the oracle of
tests/crash compares ledger, bytes served, both stores and catalogue. Prints one line for a person on stderr and one
JSON object on stdout; exit code 0 when nothing was lost or paid twice, 1 when not.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.crash.outage import live_through

LEAST_LIFE_S, MOST_LIFE_S = 4.0, 10.0
"""How long a URL lives: a sixth of the outage, within these."""


def main() -> int:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    chosen = parser.parse_args()
    print(f"seed {chosen.seed}", file=sys.stderr, flush=True)
    lifetime = min(MOST_LIFE_S, max(LEAST_LIFE_S, chosen.seconds / 6))
    asked = {"soak": "outage", "seed": chosen.seed, "asked_seconds": chosen.seconds, "url_lifetime_s": lifetime}
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory() as folder:
            lived = live_through(
                seconds=chosen.seconds,
                images=chosen.images,
                lifetime=lifetime,
                seed=chosen.seed,
                folder=Path(folder),
            )
    except (AssertionError, RuntimeError) as error:
        print(json.dumps({**asked, "ok": False, "error": str(error)}))
        print(f"FAILED after seed {chosen.seed}: {error}", file=sys.stderr)
        return 1
    print(json.dumps({**asked, "ok": True, "seconds": round(time.monotonic() - began), **lived.figures()}))
    print(
        f"both buckets gone for {lived.outage_s:.0f} s, {lived.died} URLs died in it; {lived.recovery_s:.0f} s later"
        f" all {lived.verdict.images} images were stored in 2 stores with equal digests; 0 lost,"
        f" {lived.verdict.charges} charges, 0 twice",
        file=sys.stderr,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
