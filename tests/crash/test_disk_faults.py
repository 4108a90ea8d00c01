"""The disk is full, or fails, at one sampled system call of a whole run, SQLite's own included.

strace lets the N-th call of one kind by one thread fail with ENOSPC or EIO. Which calls touch our files is seen in a
run without a fault. Afterwards a healthy process takes over, and the oracle judges. Set DISK_SEED to repeat a sample,
DISK_SAMPLES for a larger one.
"""

import os
import random
import re
import shutil
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.crash.harness import RUN, Scene, let_time_pass, run_below, scene
from tests.crash.nursery import Nursery
from tests.crash.oracle import Verdict, rows

CALLS = "write pwrite64 fsync fdatasync ftruncate rename openat unlink link".split()
ERRORS = ("ENOSPC", "EIO")
SETUPS = ("failing", "inline", "two")  # with rescued bytes, with bytes inside answers, with a folder for a store
SAMPLES = int(os.environ.get("DISK_SAMPLES", "10"))
AT_A_TIME = 2
STRACE = ("strace", "-f", "-qq", "-y")
ALWAYS = (("inbox/*.answer", "unlink"), ("spool/*", "unlink"))
"""Chosen first: these once ended a run with a traceback."""
_SUFFIXES = {".part", ".answer", ".odd"}
_CALL = re.compile(r'^(\d+) +(\w+)\((?:AT_FDCWD[^,]*, )?(?:\d+<([^>]*)>|"([^"]*)")', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Place:
    """One call to fail: the `number`-th `call` of a thread, which met `file` when nothing failed."""

    setup: str
    call: str
    number: int
    file: str


@dataclass(frozen=True, slots=True)
class Fault:
    """What came of it; `felt` are the files whose call failed: threads differ from run to run, so it may be another."""

    place: Place
    error: str
    code: int
    felt: tuple[str, ...]
    verdict: Verdict


def kind_of(path: str, folder: Path) -> str | None:
    """A file of ours by its kind, without ids; None for one that is none of ours."""
    if not path.startswith((f"{folder}/user/data", f"{folder}/near")):
        return None
    name = Path(path.removesuffix(" (deleted)")).relative_to(folder).as_posix().removeprefix("user/")
    room, _, rest = name.removeprefix("data/").partition("/")
    suffix = Path(rest).suffix
    return f"{room}/*{suffix if suffix in _SUFFIXES else ''}" if rest else room


def places(nursery: Nursery, setup: str, log: Path) -> list[Place]:
    """Every call of a run without a fault that touches our files."""
    with scene(setup, nursery.run) as stage:
        assert nursery.run(stage.world, ("drain",)) == 0  # makes the catalogue, whose thousands of writes are not meant
        code = run_below(*STRACE, "-o", str(log), "-e", f"trace={','.join(CALLS)}")(stage.world, RUN)
        assert code in (0, 1), stage.said()
        folder = stage.world.folder.parent
    found: dict[tuple[str, int], str] = {}
    counts: Counter[tuple[str, str]] = Counter()
    for thread, call, opened, named in _CALL.findall(log.read_text("utf-8", "replace")):
        counts[thread, call] += 1
        kind = kind_of(opened or named, folder)
        if kind is not None:
            found.setdefault((call, counts[thread, call]), kind)
    return [Place(setup, call, number, kind) for (call, number), kind in found.items()]


def fail_at(nursery: Nursery, place: Place, error: str, log: Path) -> Fault:
    """Let one call fail, let a healthy process take over, and judge."""
    with scene(place.setup, nursery.run) as stage:
        assert nursery.run(stage.world, ("drain",)) == 0
        inject = f"inject={place.call}:error={error}:when={place.number}"
        strace = (*STRACE, "-o", str(log), "-e", f"trace={place.call}", "-e", inject)
        code = run_below(*strace)(stage.world, RUN)
        said = stage.said()
        assert code in (0, 1, 3), f"exit code {code}: {said}"
        assert "\nTraceback" not in said, said
        felt = _felt(log, stage.world.folder.parent)
        _take_over(stage, felt)
        return Fault(place, error, code, felt, stage.finish())


def _felt(log: Path, folder: Path) -> tuple[str, ...]:
    """The kinds of files whose call failed. A call may be told of in two lines, with others between them."""
    felt: list[str] = []
    begun: dict[str, str] = {}
    for line in log.read_text("utf-8", "replace").splitlines():
        if match := _CALL.match(line):
            begun[match[1]] = match[3] or match[4]
        if "(INJECTED)" in line:
            felt.append(kind_of(begun[line.split()[0]], folder) or "elsewhere")
    return tuple(felt)


def _take_over(stage: Scene, felt: tuple[str, ...]) -> None:
    """Let time pass and healthy processes work. What stays unknown must have lost the file of its answer."""
    data = stage.world.folder / "data"
    stage.look()
    let_time_pass(stage.world)
    stage.come_to_rest()
    unknown = {row["id"] for row in rows(data, "select id from generations where state = 'unknown'")}
    if any(kind.startswith("inbox") for kind in felt):
        stage.doubts |= unknown


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory, nursery: Nursery) -> Iterator[list["Future[Fault]"]]:
    """The samples, under way: each kind of file in turn, then one of its calls."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    folder = tmp_path_factory.mktemp("strace")
    if subprocess.call([*STRACE, "-o", str(folder / "try"), "true"], stderr=subprocess.DEVNULL) != 0:
        pytest.skip("strace may not trace here")
    seed = int(os.environ.get("DISK_SEED", time.time_ns() % 1_000_000))
    print(f"DISK_SEED={seed}")
    chance = random.Random(seed)
    by_file: defaultdict[tuple[str, str], list[Place]] = defaultdict(list)
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        for found in pool.map(lambda setup: places(nursery, setup, folder / setup), SETUPS):
            for place in found:
                by_file[place.file, place.call].append(place)
        others = [cell for cell in sorted(by_file) if cell not in ALWAYS]
        cells = [*ALWAYS, *chance.sample(others, len(others))]
        print(f"{len(cells)} kinds of calls: {', '.join(' '.join(cell) for cell in sorted(cells))}")
        chosen = [(chance.choice(by_file[cells[at % len(cells)]]), chance.choice(ERRORS)) for at in range(SAMPLES)]
        yield [pool.submit(fail_at, nursery, *one, folder / f"{at}") for at, one in enumerate(chosen)]


@pytest.mark.parametrize("sample", range(SAMPLES))
def test_f023_nothing_is_lost_or_paid_twice_when_the_disk_refuses(faults: list["Future[Fault]"], sample: int) -> None:
    """Whichever call failed, the process says so in words, and the next one brings everything home."""
    print(faults[sample].result())


def test_most_of_them_were_felt(faults: list["Future[Fault]"]) -> None:
    """A sample that met another file than ours, or none, proves nothing; a few may."""
    felt = [any(kind != "elsewhere" for kind in fault.result().felt) for fault in faults]
    assert sum(felt) * 2 > len(felt), [fault.result() for fault in faults]
