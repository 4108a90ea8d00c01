"""How fast images get from a source into a store, beside what others use: `bootstrap.py bench` runs it.

    .venv/bin/python scripts/bench/transfer.py [--quick] [--rounds 3] [--share 1.0] [--json FILE] [--only NAME ...]

The contestants take turns, each with servers that have just been started. After each run everything that was stored is
counted and hashed; a contestant that brought anything else fails. Only ratios within one round, CPU seconds and memory
mean anything: servers and contestants share the processors.
"""

import argparse
import hashlib
import json
import random
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.contestants import CONTESTANTS, Failed, Task
from bench.courses import FULL, QUICK, Course
from bench.pictures import Pictures, fill
from bench.ranking import Run, headlines, loads, table
from bench.servers import BUCKET, Missing, Pair, Server, pair
from bench.surroundings import filesystem, line, load, places, surroundings

LINEAGE = "_lineage"


def run_course(
    course: Course, pictures: Pictures, rounds: int, folders: tuple[Path, Path], only: Sequence[str] = ()
) -> Iterator[Run | Failed]:
    """All contestants of a course, in turns; the order is drawn anew in every round. `folders` are one in RAM and one
    on a disk. Who fails spoils nothing for the others."""
    home, disk = folders
    before = load()
    for number in range(rounds):
        contestants = [name for name in course.only if not only or name in only]
        random.shuffle(contestants)
        for name in contestants:
            with pair(home, pictures.folder, latency_ms=course.latency_ms, sink=course.sink) as servers:
                try:
                    run = _run(course, name, servers, pictures, (home / "contestant", disk / "contestant"))
                except Failed as failure:
                    yield Failed(f"{course.name}: {name}: {failure}")
                    continue
            yield replace(run, round=number, load=before)


def _run(course: Course, name: str, servers: Pair, pictures: Pictures, folders: tuple[Path, Path]) -> Run:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    names = pictures.names[: course.carried(name)]
    task = Task(
        home=folders[0], disk=folders[1], servers=servers, scheme=course.scheme, names=names, slots=course.slots
    )
    sides = (servers.source, servers.sink)
    before = [side.counts() for side in sides]
    cost = CONTESTANTS[name](task)
    after = [side.counts() for side in sides]
    # What we asked ourselves is not theirs: one connection and one request each time, of which one is counted after.
    connections, requests = (
        tuple(
            None if was is None or now is None else now[kind] - was[kind] - 1
            for was, now in zip(before, after, strict=True)
        )
        for kind in (0, 1)
    )
    megabytes = judge(servers.sink, {name: pictures.digests[name] for name in names}, pictures.size)
    return Run(
        course=course.name,
        contestant=name,
        round=0,
        images=len(names),
        megabytes=megabytes,
        cost=cost,
        requests=(requests[0], requests[1]),
        connections=(connections[0], connections[1]),
        load=0.0,
    )


def judge(sink: Server, served: dict[str, str], size: int) -> float:
    """Hold all that is stored against what was served: digests by name, and the size of each. Returns the megabytes;
    raises `Failed`. Names are not compared: every contestant has its own way to name an object."""
    stored = objects(sink)
    held, wanted = sum(path.stat().st_size for path in stored), size * len(served)
    if len(stored) != len(served) or held != wanted:
        raise Failed(f"{len(stored)} objects of {held} bytes are stored; {len(served)} of {wanted} were served")
    with ThreadPoolExecutor() as pool:
        wrong = Counter(pool.map(_digest, stored)) - Counter(served.values())
    if wrong:
        raise Failed(f"{wrong.total()} of {len(stored)} stored objects hold other bytes than were served")
    return wanted / 1e6


def objects(sink: Server) -> list[Path]:
    """The images that are stored: all but the lineage records."""
    return [path for path in (sink.root / BUCKET).rglob("*") if path.is_file() and LINEAGE not in path.parts]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def measure(courses: Sequence[Course], rounds: int, only: Sequence[str]) -> Iterator[Run | Failed]:
    """Every course, telling of each run on standard error. Raises `Missing`."""
    with places(max(course.room for course in courses)) as (home, disk):
        print(f"images on {filesystem(home)}, catalogues on {filesystem(disk)}", file=sys.stderr)
        shape, pictures = None, None
        for course in courses:
            if pictures is None or shape != (course.count, course.size):  # courses of one size share their images
                shape = (course.count, course.size)
                for name in ("images", "stored", "contestant"):
                    shutil.rmtree(home / name, ignore_errors=True)
                pictures = fill(home / "images", course.count, course.size, course.distinct)
            for run in run_course(course, pictures, rounds, (home, disk), only):
                told = f"failed: {run}" if isinstance(run, Failed) else run.told()
                print(told, file=sys.stderr, flush=True)
                yield run


def main() -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--share", type=float, default=1.0, help="Of the images of each course; to try something.")
    parser.add_argument("--only", nargs="*", default=[], choices=[*CONTESTANTS, []])
    parser.add_argument("--course", nargs="*", default=[])
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    courses = [course for course in (QUICK if given.quick else FULL) if not given.course or course.name in given.course]
    courses = [course.part(given.share) for course in courses]
    if not courses:
        parser.error(
            f"no such course; there are {', '.join(course.name for course in (QUICK if given.quick else FULL))}"
        )
    around = surroundings()
    try:
        came = list(measure(courses, given.rounds or (1 if given.quick else 3), given.only))
    except Missing as missing:
        print(f"bench: {missing}", file=sys.stderr)
        return 1
    runs = [run for run in came if isinstance(run, Run)]
    failures = [str(run) for run in came if isinstance(run, Failed)]
    print(table(runs))
    print(f"\n{line(around)}.\nLoad before each course: {loads(runs)}.")
    print("Each file lies under four names. The slow ones carry a part, as the column of images says.\n")
    print("\n".join(f"{name} {times:.2f} x" for name, times in headlines(runs).items()))
    if given.json:
        said = {"surroundings": around, "runs": [asdict(run) for run in runs], "ratios": headlines(runs)}
        given.json.write_text(json.dumps({**said, "failed": failures}, indent=1) + "\n", "utf-8")
    for failure in failures:
        print(f"failed: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
