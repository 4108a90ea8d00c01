"""How long a catalogue takes for what is asked of it and written to it, by the number of its rows.

Builds catalogues (`building.py`), asks every question of `questions.py`, claims, settles and plans; prints a table and
writes JSON. Exits with 1 when something takes longer than it may at 1,000,000 rows. The figures tell of this machine:
`commit` is what its disk takes for one row and a flush, the least that anything written can take. Where others work on
the same processors, only the third figure compares: the time of a processor that it took.

    python scripts/bench/catalogue.py --rows 10000 --rows 100000 --rows 1000000 --json figures.json
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[1]))

from archiver.catalogue import Arrival, Catalogue, Draft, Settlement
from archiver.catalogue.database import sqlite
from archiver.core.model import Fetched, ImageInfo, Receipt, Ticket
from archiver.core.tempurl import TemporaryURL
from bench.building import SHAPES, build
from bench.questions import NOW, questions

LEASE, CLAIM_MS, ASKED_FOR = timedelta(minutes=30), 3.0, 1_000_000
PNG = ImageInfo(content_type="image/png", extension="png", width=8, height=6)
#: So often is a question asked, and for so many seconds at most; p99 of few is the slowest.
OFTEN, SECONDS = 100, 4.0
Figure = dict[str, float]
_numbers = count(time.time_ns())  # a catalogue that is kept has those of the last time


def _timed(ask: Callable[[], object], often: int = OFTEN, after: Callable[[], object] | None = None) -> Figure:
    """Milliseconds, and those of a processor; `after` is not counted."""
    times: list[float] = []
    used: list[float] = []
    ends = time.perf_counter() + SECONDS
    while len(times) < often and (len(times) < 3 or time.perf_counter() < ends):
        begun, busy = time.perf_counter(), time.thread_time()
        ask()
        times.append((time.perf_counter() - begun) * 1000)
        used.append((time.thread_time() - busy) * 1000)
        if after is not None:
            after()
    times.sort()
    used.sort()
    middle, late = len(times) // 2, int(len(times) * 0.99)
    figures = {"p50": times[middle], "p99": times[late], "cpu": used[middle], "cpu_p99": used[late]}
    return {name: round(figure, 2) for name, figure in figures.items()} | {"n": len(times)}


def _new_images(catalogue: Catalogue, number: int) -> None:
    """So many images that are due before all others."""
    entries = []
    for each in range(number):
        name = f"{next(_numbers):08d}"
        draft = Draft(
            id=f"new{name}", origin="backfill", prompt=f"a new fox {name}", provider=None, model=None, stores=("main",)
        )
        arrival = Arrival(
            id=f"image{name}",
            index=0,
            url=TemporaryURL(f"https://host-1.example/{name}.png?Signature={name}"),
            deadline=NOW + timedelta(seconds=each),
            deadline_from="url",
            give_up_at=NOW + timedelta(days=3),
        )
        entries.append((draft, arrival))
    catalogue.images.adopt(entries, NOW)


def _settlement(ticket: Ticket) -> Settlement:
    digest = f"{hash(ticket.image_id) & (2**256 - 1):064x}"
    receipt = Receipt(
        store="main",
        key=f"new/{ticket.image_id}.png",
        sha256=digest,
        size=68,
        etag=None,
        proof="checksum-sha256",
    )
    return Settlement(
        ticket=ticket,
        fetched=Fetched(sha256=digest, size=68, info=PNG, at=NOW),
        receipts=((receipt, "_lineage/2.jsonl"),),
    )


def _writing(catalogue: Catalogue) -> Iterator[tuple[str, float | None, Figure]]:
    images, database = catalogue.images, vars(catalogue)["_database"]

    def commit() -> None:
        with database.write() as db:
            db.execute("insert or replace into counters values ('bench', '', 0, 0)")
            db.execute("update counters set value = ? where name = 'bench'", (next(_numbers),))

    def clean() -> None:
        with database.write() as db:
            db.execute("delete from counters where name = 'bench'")

    yield "commit", None, _timed(commit)
    clean()
    yield (
        "claim of 50",
        CLAIM_MS,
        _timed(lambda: images.claim("me", NOW, LEASE, limit=50), after=lambda: images.free("me")),
    )
    yield "claim of 1", CLAIM_MS, _timed(lambda: images.claim("me", NOW, LEASE), after=lambda: images.free("me"))
    ticks = (NOW + timedelta(seconds=number) for number in count())
    drafts = (
        [
            Draft(
                id=f"planned{next(_numbers):08d}",
                origin="job",
                job="bench",
                position=position,
                prompt="a planned fox",
                provider="provider-1",
                model="model-1",
                stores=("main",),
            )
            for position in range(10)
        ]
        for _ in count()
    )
    yield "plan of 10", None, _timed(lambda: catalogue.ticks.plan("bench", next(ticks), next(drafts), NOW))
    yield "begin a request", None, _timed(lambda: catalogue.generations.begin_submit("provider-1", "me", NOW))
    settled: list[Settlement] = []

    def prepare() -> None:
        _new_images(catalogue, 500)
        settled[:] = [_settlement(ticket) for ticket in images.claim("me", NOW, LEASE, limit=500)]

    prepare()
    yield "settle of 500", None, _timed(lambda: images.settle(settled, NOW), often=20, after=prepare)
    images.free("me")


def measure(folder: Path, rows: int, shape: str) -> dict[str, Any]:
    """The figures of one catalogue, which is made when the folder has none."""
    if not folder.exists():
        begun, used = time.perf_counter(), time.process_time()
        build(folder, rows, shape)
        took = f"{time.perf_counter() - begun:.0f} s ({time.process_time() - used:.0f} s of CPU)"
        print(f"{shape} of {rows:,} made in {took}", file=sys.stderr)
    catalogue = Catalogue.open(folder, create=False)
    try:
        found: dict[str, Figure] = {}
        limits: dict[str, float | None] = {}
        for name, limit, ask in questions(catalogue):
            ask()  # the pages that it needs are in memory, as they are in a process that asked before
            found[name], limits[name] = _timed(ask), limit
        for name, limit, figure in _writing(catalogue):
            found[name], limits[name] = figure, limit
        size = catalogue.path.stat().st_size
    finally:
        catalogue.close()
    return {"rows": rows, "shape": shape, "bytes": size, "ms": found, "may_take_ms": limits}


def surroundings() -> dict[str, str]:
    """What the figures depend on."""
    return {
        "python": platform.python_version(),
        "sqlite": sqlite.sqlite_version,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}, {os.cpu_count()} cores",
        "load": " ".join(f"{load:.1f}" for load in os.getloadavg()),
    }


def table(runs: list[dict[str, Any]]) -> str:
    """p50 / p99, and p50 on a processor, in milliseconds: a column per catalogue, as Markdown."""
    heads = [f"{run['shape']} {run['rows']:,}" for run in runs]
    lines = [f"| p50 / p99, CPU p50, ms | {' | '.join(heads)} |", f"| --- |{' ---: |' * len(runs)}"]
    for name in runs[0]["ms"]:
        figures = (run["ms"][name] for run in runs)
        cells = (f"{one['p50']:.2f} / {one['p99']:.2f}, {one['cpu']:.2f}" for one in figures)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> int:
    """Build, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, action="append", help="Generations; again for another catalogue.")
    parser.add_argument("--shape", choices=[*SHAPES], default="archive", help="backlog: all of it waits in vain.")
    parser.add_argument("--keep", type=Path, help="Build them below this folder, or use what is there.")
    parser.add_argument("--json", type=Path, help="Write the figures to this file.")
    options = parser.parse_args()
    runs = []
    with tempfile.TemporaryDirectory() as scratch:
        for rows in options.rows or [10_000, 100_000, 1_000_000]:
            folder = (options.keep or Path(scratch)) / f"{options.shape}-{rows}"
            runs.append(measure(folder, rows, options.shape))
    print(table(runs))
    slow = [
        f"{name} at {run['rows']:,}"
        for run in runs
        for name, figure in run["ms"].items()
        if (limit := run["may_take_ms"][name]) is not None
        and run["rows"] <= ASKED_FOR
        # What is written waits for the disk, and no index makes that faster.
        and figure["p50"] > limit + (run["ms"]["commit"]["p50"] if name.startswith("claim") else 0)
    ]
    print(f"slower than it may be: {', '.join(slow) or 'nothing'}", file=sys.stderr)
    if options.json:
        figures = {"surroundings": surroundings(), "slow": slow, "runs": runs}
        options.json.write_text(json.dumps(figures, ensure_ascii=False, indent=1) + "\n", "utf-8")
    return int(bool(slow))


if __name__ == "__main__":
    sys.exit(main())
