"""Damaged bodies are not taken for images: by their structure where that can tell, by the source's checksum always.

`scripts/soak/bodies.py` does the same with thousands.
"""

import os
import random
import time
from pathlib import Path

from tests.fault.damage import DAMAGES, NOTICED, Count, bodies, counter, whole, word

BODIES = 980
"""Fourteen of each damage to each format."""
SEED = int(os.environ.get("DAMAGE_SEED", time.time_ns() % 1_000_000))


def test_the_bodies_are_whole_before_they_are_damaged() -> None:
    """Else everything would be refused, whatever happened to it."""
    assert {kind: word(data) for kind, data in whole(random.Random(1)).items()} == dict.fromkeys(NOTICED, "accepted")


def test_f058_no_damage_that_structure_can_show_is_overlooked() -> None:
    """Cuts and pages in any format, wrong lengths where a format states them, and any damage at all to a PNG."""
    print(f"DAMAGE_SEED={SEED}")
    count = Count()
    for number, body in enumerate(bodies(SEED, BODIES)):
        count.add(number, body, None)
    assert count.wrong == []
    assert sum(count.by_word.values()) == BODIES
    # What no structure shows is named, and is no longer than what this says.
    assert {name.partition(", ")[0] for name in count.unseen} <= NOTICED.keys() - {"png"}


def test_f058_what_structure_cannot_show_is_refused_by_the_checksum_of_the_source(tmp_path: Path) -> None:
    """Content-MD5 and the CRC of OSS, however the body is framed: nothing comes through the real fetch."""
    print(f"DAMAGE_SEED={SEED}")
    count = Count()
    with counter(tmp_path) as is_fetched:
        for number, body in enumerate(bodies(SEED, len(NOTICED) * len(DAMAGES) * 5)):
            count.add(number, body, is_fetched)
    assert count.wrong == []
    assert count.unseen, "there was nothing that only a checksum could show"
