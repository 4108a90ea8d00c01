"""Single parts, measured alone: durable accepts, checksums, and requests that are open side by side.

Each figure is one number with its unit and what was wanted; the providers are doubles that answer after a second.
"""

import hashlib
import os
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from fastcrc import crc64
from ulid import ULID

from archiver.catalogue import Arrival, Catalogue, Draft
from archiver.core.tempurl import TemporaryURL
from tests.doubles.http1 import Request
from tests.doubles.provider import ImagesProvider
from tests.world import World, file_section

ANSWER_S = 1.0
_MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Figure:
    """What was measured, and what issue and page ask for."""

    name: str
    value: float
    unit: str
    wanted: str


def accepts(records: int) -> list[Figure]:
    """Images taken into a catalogue on the real disk, with generation, URL and wanted copy: in a transaction each, and
    500 in one."""
    with tempfile.TemporaryDirectory() as folder:
        catalogue = Catalogue.open(Path(folder), create=True)
        try:
            entries = [_entry(number) for number in range(records * 10)]
            now = datetime.now(UTC)
            single = _seconds(lambda: [catalogue.images.adopt([entry], now) for entry in entries[:records]])
            batches = [entries[start : start + 500] for start in range(records, len(entries), 500)]
            bulk = _seconds(lambda: [catalogue.images.adopt(batch, now) for batch in batches])
        finally:
            catalogue.close()
    return [
        Figure("durable accept, one by one", records / single, "images/s", "3,000"),
        Figure("durable accept, 500 in one", records * 9 / bulk, "images/s", "50,000"),
    ]


def _entry(number: int) -> tuple[Draft, Arrival]:
    now = datetime.now(UTC)
    draft = Draft(
        id=str(ULID()), origin="backfill", prompt=f"a cat, number {number}", stores=("main",), provider=None, model=None
    )
    arrival = Arrival(
        id=str(ULID()),
        index=0,
        url=TemporaryURL(f"https://bench.invalid/{ULID()}.png"),
        deadline=now + timedelta(days=7),
        deadline_from="default",
        give_up_at=now + timedelta(days=10),
    )
    return draft, arrival


def checksums() -> list[Figure]:
    """CPU seconds for a gigabyte, in pieces of 6 MB."""
    data = os.urandom(6 * _MEGABYTE)
    return [
        Figure("crc64", _cpu_per_gb(lambda: crc64.xz(data), len(data)), "CPU-s per GB", "0.05"),
        Figure("sha256", _cpu_per_gb(lambda: hashlib.sha256(data), len(data)), "CPU-s per GB", ""),
    ]


def _cpu_per_gb(act: Callable[[], object], size: int) -> float:
    begun = time.process_time()
    for _ in range(50):
        act()
    return (time.process_time() - begun) / (50 * size) * 1e9


def generations() -> list[Figure]:
    """`run --once` with requests that are open side by side: time of ten beside one, memory of 200 beside one.

    Times are the shortest of three runs each: what else this machine does can only add to them. The double serves on
    the same cores, so its own work is in them too. Ten are measured twice: each answered a second after it came, as by
    a provider, and all at one moment, a second after the last came, which no provider does and is the hardest case.
    """
    one, ten, burst = (
        min(_asked(prompts, at_once=at_once).seconds for _ in range(3))
        for prompts, at_once in ((1, False), (10, False), (10, True))
    )
    least, most = (_asked(prompts, at_once=True).peak_mb for prompts in (1, 200))
    return [
        Figure("10 simultaneous generations beside one", ten / one, "x the time", "1.05"),
        Figure("10 that are answered at one moment, beside one", burst / one, "x the time", ""),
        Figure("200 waiting generations", most - least, "MB more than one", "150"),
    ]


@dataclass(frozen=True, slots=True)
class _Run:
    """Seconds from the first request to the last image stored, and the peak of memory."""

    seconds: float
    peak_mb: float


class _Answering:
    """Lets a double answer each request `ANSWER_S` after it came, or, `at_once`, all of them after the last came; in
    both cases all must have been open side by side."""

    def __init__(self, prompts: int, *, at_once: bool) -> None:
        self.came: list[float] = []
        self.went: list[float] = []
        self._everybody = threading.Barrier(prompts if at_once else 1, timeout=120)

    def __call__(self, _: Request) -> None:
        self.came.append(time.time())
        self._everybody.wait()
        time.sleep(ANSWER_S)
        self.went.append(time.time())

    @property
    def were_side_by_side(self) -> bool:
        """Whether the last came before the first was answered."""
        return max(self.came) < min(self.went)


def _asked(prompts: int, *, at_once: bool) -> _Run:
    answering = _Answering(prompts, at_once=at_once)
    with tempfile.TemporaryDirectory() as name, ImagesProvider(answering) as double:
        folder = Path(name)
        world = World(folder)
        listed = ", ".join(f'"a fox in the forest, number {number}"' for number in range(prompts))
        job = f'\n[[jobs]]\nname = "foxes"\nschedule = "every 30d"\nprovider = "double"\nprompts = [{listed}]\n'
        world.configure(
            file_section("main", folder / "archive") + job + "most_prompts = 500\n",
            provider=double,
            concurrency=prompts,
        )
        process = world.start("run", "--once")
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        stored = world.sql("select max(archived_at) as at, count(*) as n from images where state = 'stored'")[0]
        if process.returncode or stored["n"] != prompts or not answering.were_side_by_side:
            raise RuntimeError(f"{stored['n']} of {prompts} images came; exit code {process.returncode}")
        ended = datetime.fromisoformat(str(stored["at"])).timestamp()
    return _Run(ended - min(answering.came), usage.ru_maxrss / 1024)


def _seconds(act: Callable[[], object]) -> float:
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun


def table(figures: list[Figure]) -> str:
    """The figures as Markdown."""
    lines = ["| part | measured | wanted |", "| --- | ---: | ---: |"]
    lines += [f"| {one.name} | {one.value:,.2f} {one.unit} | {one.wanted} |" for one in figures]
    return "\n".join(lines)
