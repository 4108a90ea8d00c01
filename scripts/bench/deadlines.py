"""Whether a backlog goes out nearest deadline first, and nothing of it is lost. `bootstrap.py bench` runs it.

    .venv/bin/python scripts/bench/deadlines.py [--images 2000] [--seed N] [--json FILE]

URLs state when they die, between a minute and 7 days from now, and stand in the list in random order. The source
answers 403 once a URL is dead, and keeps a log of what it was asked; the order of the log is held against the order of
the deadlines. All of it waits before the first image is fetched, as after an outage.
"""

import argparse
import bisect
import json
import math
import random
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.contestants import Failed, Task, archiver
from bench.pictures import fill
from bench.servers import Missing, pair
from bench.surroundings import line, places, surroundings
from bench.transfer import judge, objects

SIZE, DISTINCT, SLOTS = 100_000, 200, 16
SOONEST_S, LATEST_S = 60, 7 * 24 * 3600
#: An image is in order when it is asked for within this share of all places from its own.
NEAR = 0.05
_SOURCE = """
            access_log {log} turns;
            access_by_lua_block {{ if ngx.time() >= tonumber(ngx.var.arg_Expires) then return ngx.exit(403) end }}
"""
_ASKED = re.compile(r"([0-9.]+) ([0-9.]+) ([0-9]{3}) .*[?&]Expires=([0-9]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """What became of a backlog. `trouble` is what went wrong, and empty when all is stored as it was served. `late` is
    how many requests came for a URL that was dead; `drain_s` is from the first request at the source to the last,
    `wall_s` with the start and the intake."""

    images: int
    stored: int
    trouble: str
    late: int
    near_share: float
    furthest: int
    drain_s: float
    wall_s: float


def asked(log: str) -> Iterator[tuple[float, int, int]]:
    """When each request began, its status, and the expiry of its URL; in the order in which they began."""
    found = (_ASKED.match(text) for text in log.splitlines())
    yield from sorted(
        (float(match[1]) - float(match[2]), int(match[3]), int(match[4])) for match in found if match is not None
    )


def places_off(expiries: Sequence[int]) -> list[int]:
    """For each request, how many places it came before or after its turn. Whoever dies in the same second may come in
    any order."""
    turns = sorted(expiries)
    return [
        max(bisect.bisect_left(turns, expiry) - place, place - bisect.bisect_right(turns, expiry) + 1, 0)
        for place, expiry in enumerate(expiries)
    ]


def drain(images: int, choice: random.Random) -> Drained:
    """Take in the URLs, and carry all. Raises `Missing`."""
    trouble = ""
    with places(2 * SIZE * images) as (home, disk):
        pictures = fill(home / "images", images, SIZE, DISTINCT)
        log = home / "asked.txt"
        with pair(home, pictures.folder, source_rules=_SOURCE.format(log=log)) as servers:
            for folder in (home / "contestant", disk / "contestant"):
                folder.mkdir()
            began, now = time.perf_counter(), time.time()
            # Evenly over the orders of magnitude: about as many die within the hour as within the last days.
            lives = [math.exp(choice.uniform(math.log(SOONEST_S), math.log(LATEST_S))) for _ in range(images)]
            task = Task(
                home=home / "contestant",
                disk=disk / "contestant",
                servers=servers,
                scheme="http",
                names=pictures.names,
                slots=SLOTS,
                query=lambda number: f"?AWSAccessKeyId=bench&Expires={int(now + lives[number])}&Signature=n{number}",
            )
            try:
                archiver(task)
                judge(servers.sink, dict(pictures.digests), pictures.size)
            except Failed as failure:
                trouble = str(failure)
            wall_s, stored = time.perf_counter() - began, len(objects(servers.sink))
        turns = list(asked(log.read_text("ascii")))
    off = places_off([expiry for _, _, expiry in turns])
    return Drained(
        images=images,
        stored=stored,
        trouble=trouble,
        late=sum(1 for _, status, _ in turns if status == 403),
        near_share=sum(1 for distance in off if distance <= NEAR * images) / max(1, len(off)),
        furthest=max(off, default=0),
        drain_s=turns[-1][0] - turns[0][0] if turns else 0.0,
        wall_s=wall_s,
    )


def told(drained: Drained) -> str:
    """The same for people."""
    return (
        f"backlog of {drained.images:,} with deadlines between a minute and 7 days: {drained.stored:,} stored, "
        f"{drained.images - drained.stored} not; "
        f"{drained.late} requests came too late; {drained.near_share:.1%} of them within {NEAR:.0%} of the places from "
        f"their turn, the furthest {drained.furthest} places; drained in {drained.drain_s:.1f} s "
        f"({drained.wall_s:.1f} s with start and intake)"
    )


def main() -> int:
    """Measure, and print the line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    print(f"seed {given.seed}", file=sys.stderr)
    around = surroundings()
    try:
        drained = drain(given.images, random.Random(given.seed))  # noqa: S311 - no secret
    except Missing as missing:
        print(f"bench: {missing}", file=sys.stderr)
        return 1
    print(f"{told(drained)}\n{line(around)}.")
    if given.json:
        figures = {"surroundings": around, "seed": given.seed, **asdict(drained)}
        given.json.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    if drained.trouble:
        print(f"failed: {drained.trouble}", file=sys.stderr)
    return 1 if drained.trouble else 0


if __name__ == "__main__":
    sys.exit(main())
