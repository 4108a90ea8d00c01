"""How fast images get from a source into a store, beside what others use: `bootstrap.py bench` runs it.

    .venv/bin/python scripts/bench/transfer.py [--quick] [--rounds 3] [--json FILE] [--only NAME ...]

The contestants take turns on the same servers. After each run the objects are counted, their bytes summed and ten of
them hashed; a contestant that brought anything else fails. Only ratios within one round, CPU seconds and memory mean
anything: servers and contestants share the processors.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.contestants import BUCKET, CONTESTANTS, Cost, Failed, Task
from bench.pictures import fill
from bench.servers import Missing, Pair, pair

LINEAGE = "_lineage"


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """One row of the table: so many images of a size, over a scheme, with a latency on each side."""

    name: str
    scheme: str
    size: int
    count: int
    slots: int = 16
    latency_ms: int = 0
    only: tuple[str, ...] = tuple(CONTESTANTS)


FAST = ("archiver", "rclone", "curl")
QUICK = (
    Course(name="100 KB TLS", scheme="https", size=100_000, count=2000),
    Course(name="100 KB plain", scheme="http", size=100_000, count=2000, only=FAST),
    Course(name="6 MB plain", scheme="http", size=6_000_000, count=100, slots=4, only=FAST),
    Course(name="6 MB TLS", scheme="https", size=6_000_000, count=100, slots=4, only=FAST),
)
FULL = (
    Course(name="100 KB TLS", scheme="https", size=100_000, count=4000),
    Course(name="100 KB plain", scheme="http", size=100_000, count=4000),
    Course(name="2 MB TLS", scheme="https", size=2_000_000, count=300),
    Course(name="2 MB plain", scheme="http", size=2_000_000, count=300),
    Course(name="6 MB TLS", scheme="https", size=6_000_000, count=150, slots=4),
    Course(name="6 MB plain", scheme="http", size=6_000_000, count=150, slots=4),
    Course(name="100 KB plain +50 ms", scheme="http", size=100_000, count=8000, slots=256, latency_ms=50, only=FAST),
    Course(name="100 KB TLS +50 ms", scheme="https", size=100_000, count=8000, slots=256, latency_ms=50, only=FAST),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One contestant, once. `requests` and `connections` are those of the source and of the sink."""

    course: str
    contestant: str
    round: int
    images: int
    megabytes: float
    cost: Cost
    requests: tuple[int, int]
    connections: tuple[int, int]

    @property
    def rate(self) -> float:
        """Images per second."""
        return self.images / self.cost.wall_s


def run_course(course: Course, rounds: int, home: Path, only: Sequence[str]) -> Iterator[Run]:
    """All contestants of a course, in turns; the order is drawn anew in every round."""
    images = home / "images"
    shutil.rmtree(images, ignore_errors=True)
    names = fill(images, course.count, course.size)
    with pair(home, images, latency_ms=course.latency_ms) as servers:
        for number in range(rounds):
            contestants = [name for name in course.only if not only or name in only]
            random.shuffle(contestants)
            for name in contestants:
                yield _run(course, (name, number), servers, home, names)


def _run(course: Course, turn: tuple[str, int], servers: Pair, home: Path, names: Sequence[str]) -> Run:
    name, number = turn
    folder = home / "contestant"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    servers.clear()
    task = Task(home=folder, servers=servers, scheme=course.scheme, names=tuple(names), slots=course.slots)
    before = (servers.source.counts(), servers.sink.counts())
    cost = CONTESTANTS[name](task)
    after = (servers.source.counts(), servers.sink.counts())
    megabytes = judge(servers, names)
    return Run(
        course=course.name,
        contestant=name,
        round=number,
        images=len(names),
        megabytes=megabytes,
        cost=cost,
        # Our own questions are not theirs: one before, one after.
        requests=(after[0][1] - before[0][1] - 1, after[1][1] - before[1][1] - 1),
        connections=(after[0][0] - before[0][0] - 1, after[1][0] - before[1][0] - 1),
    )


def judge(servers: Pair, names: Sequence[str]) -> float:
    """Hold what is stored against what was served. Returns its megabytes; raises `Failed`."""
    stored = [path for path in (servers.sink.root / BUCKET).rglob("*") if path.is_file() and LINEAGE not in path.parts]
    served = [servers.source.root / name for name in names]
    size, wanted = (sum(path.stat().st_size for path in paths) for paths in (stored, served))
    if len(stored) != len(served) or size != wanted:
        raise Failed(f"{len(stored)} objects of {size} bytes are stored; {len(served)} of {wanted} were served")
    digests = {_digest(path) for path in served}
    if wrong := [path.name for path in random.sample(stored, min(10, len(stored))) if _digest(path) not in digests]:
        raise Failed(f"stored objects hold other bytes than were served: {', '.join(wrong)}")
    return size / 1e6


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def table(runs: Sequence[Run]) -> str:
    """Medians per course and contestant, and how many times rclone each is."""
    lines = [
        "| course | contestant | images/s | MB/s | x rclone | CPU-s per 1000 | CPU-s per GB | peak MB | GET + PUT |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for course in dict.fromkeys(run.course for run in runs):
        for name in CONTESTANTS:
            mine = [run for run in runs if run.course == course and run.contestant == name]
            if not mine:
                continue
            rate = statistics.median(run.rate for run in mine)
            cpu = statistics.median(run.cost.cpu_s for run in mine)
            one = mine[0]
            each = [statistics.median(run.requests[side] for run in mine) / one.images for side in (0, 1)]
            lines.append(
                f"| {course} | {name} | {rate:,.0f} | {rate * one.megabytes / one.images:,.0f} | {_times(runs, one)} "
                f"| {cpu / one.images * 1000:.2f} | {cpu / one.megabytes * 1000:.2f} "
                f"| {statistics.median(run.cost.peak_mb for run in mine):,.0f} | {each[0]:.2f} + {each[1]:.2f} |"
            )
    return "\n".join(lines)


def ratio(runs: Sequence[Run], course: str, mine: str, theirs: str) -> float | None:
    """How many times as fast: the median of the ratios of each round."""
    rates = {(run.contestant, run.round): run.rate for run in runs if run.course == course}
    pairs = [rates[mine, at] / rate for (name, at), rate in rates.items() if name == theirs and (mine, at) in rates]
    return statistics.median(pairs) if pairs else None


def _times(runs: Sequence[Run], one: Run) -> str:
    times = ratio(runs, one.course, one.contestant, "rclone")
    return "" if times is None else f"{times:.2f}"


def headlines(runs: Sequence[Run]) -> dict[str, float]:
    """What may be claimed: how many times as fast as each of the others archiver is."""
    found = {}
    for course in dict.fromkeys(run.course for run in runs):
        for name in CONTESTANTS:
            times = None if name == "archiver" else ratio(runs, course, "archiver", name)
            if times is not None:
                found[f"{course} archiver/{name}"] = times
    return found


def main() -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=[], choices=[*CONTESTANTS, []])
    parser.add_argument("--course", nargs="*", default=[])
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    runs: list[Run] = []
    rounds = given.rounds or (1 if given.quick else 3)
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - the folder of the bench is its own
    with tempfile.TemporaryDirectory(prefix="archiver-bench-", dir=memory) as home:
        try:
            for course in QUICK if given.quick else FULL:
                if given.course and course.name not in given.course:
                    continue
                for run in run_course(course, rounds, Path(home), given.only):
                    runs.append(run)
                    print(f"{run.course}: {run.contestant} {run.rate:,.0f} images/s", file=sys.stderr, flush=True)
        except (Missing, Failed) as trouble:
            print(f"bench: {trouble}", file=sys.stderr)
            return 1
    print(table(runs))
    print()
    print("\n".join(f"{name} {times:.2f} x" for name, times in headlines(runs).items()))
    if given.json:
        said = {"runs": [asdict(run) for run in runs], "ratios": headlines(runs)}
        given.json.write_text(json.dumps(said, indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
