"""Damage a tenth of ten thousand archived images, and see that one check finds every one and a repair mends it.

    .venv/bin/python scripts/soak/damaged.py [--images 10000] [--seed S]

Two folders are the stores, so that nothing but archiver is measured. Prints its seed and its figures; exit code 1 when
anything was missed, invented, or not brought back.
"""

import argparse
import random
import resource
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from archiver.core.auditing import Share
from archiver.pipeline.repairing import MENDED
from tests.pipeline.auditing import archive, check, damage_many, named, repair, two_folders
from tests.pipeline.test_rebuild import lineage

PER_REQUEST = 4


def main() -> int:
    """Run once, and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    chosen = parser.parse_args()
    images, seed, chance = chosen.images, chosen.seed, random.Random(chosen.seed)  # noqa: S311 - damage, no secret
    print(f"seed {seed}, {images} images in two stores", flush=True)
    with tempfile.TemporaryDirectory(prefix="archiver-damaged-") as name, two_folders(Path(name)) as (shop, _):
        began = time.monotonic()
        ids = archive(shop, images // PER_REQUEST, n=PER_REQUEST)
        print(f"archived in {time.monotonic() - began:.0f} s")
        expected = damage_many(Path(name), shop, sorted(chance.sample(ids, images // 10)), chance)
        began = time.monotonic()
        listed, _ = check(shop)
        print(f"check by listing alone: {listed}, {time.monotonic() - began:.1f} s")
        began = time.monotonic()
        counts, code = check(shop, share=Share())
        print(f"check --read-data: {counts}, exit {code}, {time.monotonic() - began:.1f} s")
        is_found = sorted(named(shop)) == expected
        began = time.monotonic()
        fates, mended = repair(shop, share=Share())
        print(f"repair --read-data: {fates}, exit {mended}, {time.monotonic() - began:.1f} s")
        left, _ = check(shop, share=Share())
        is_mended = mended == 0 and set(fates) == {("missing", MENDED), ("altered", MENDED)}
        is_whole = set(left) == {"foreign"} and len(lineage(shop)) == 2 * images
        print(f"afterwards: {left}; at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB of memory")
    print(f"all found: {is_found}, all mended: {is_mended}, whole again: {is_whole}")
    return 0 if is_found and is_mended and is_whole else 1


if __name__ == "__main__":
    sys.exit(main())
