"""A process dies at the entry of sampled system calls, wherever in the run they happen: no name of ours is involved.

strace injects SIGKILL at the N-th call of one kind by one thread, before the kernel performs it. What there is to
sample is counted in a run that lives. Set CRASH_SEED to repeat a sample, CRASH_SAMPLES for a larger one.
"""

import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.crash.harness import RUN, run_below, scene
from tests.crash.nursery import Nursery
from tests.crash.oracle import Verdict

CALLS = "fsync fdatasync rename link linkat unlink pwrite64 ftruncate write sendto recvfrom connect flock fcntl".split()
SAMPLES = int(os.environ.get("CRASH_SAMPLES", "10"))
AT_A_TIME = 2
# Not with --seccomp-bpf, which would be faster: with it, strace 6.1 forgets to count and kills at the first call only.
STRACE = ("strace", "-f", "-qq")


@dataclass(frozen=True, slots=True)
class Death:
    """What a sample came to; `died` is False when no thread made so many calls this time."""

    call: str
    number: int
    died: bool
    verdict: Verdict


def die_at(nursery: Nursery, call: str, number: int, log: Path) -> Death:
    """Die at the `number`-th `call` of the thread that gets so far first, and judge what came of it."""
    with scene("two", nursery.run) as stage:
        assert (
            nursery.run(stage.world, ("drain",)) == 0
        )  # makes the catalogue: its thousands of writes would drown everything else
        deadly = f"inject={call}:signal=KILL:when={number}"
        code = run_below(*STRACE, "-o", str(log), "-e", f"trace={call}", "-e", deadly)(stage.world, RUN)
        assert code in (0, -signal.SIGKILL), f"{call} #{number}: exit code {code}"
        stage.look()
        return Death(call, number, code == -signal.SIGKILL, stage.finish())


def count_calls(nursery: Nursery, log: Path) -> dict[str, int]:
    """The most calls of each kind that any one thread makes in a run that lives."""
    with scene("two", nursery.run) as stage:
        assert nursery.run(stage.world, ("drain",)) == 0
        assert run_below(*STRACE, "-o", str(log), "-e", f"trace={','.join(CALLS)}")(stage.world, RUN) == 0
        assert stage.finish().unknown == 0
    most: Counter[str] = Counter()
    for (_, call), count in Counter(
        re.findall(r"^(\d+) +(\w+)\(", log.read_text("utf-8", "replace"), re.MULTILINE)
    ).items():
        most[call] = max(most[call], count)
    return most


@pytest.fixture(scope="module")
def deaths(tmp_path_factory: pytest.TempPathFactory, nursery: Nursery) -> Iterator[list["Future[Death]"]]:
    """The samples, under way."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    folder = tmp_path_factory.mktemp("strace")
    if subprocess.call([*STRACE, "-o", str(folder / "try"), "true"], stderr=subprocess.DEVNULL) != 0:
        pytest.skip("strace may not trace here")
    seed = int(os.environ.get("CRASH_SEED", time.time_ns() % 1_000_000))
    print(f"CRASH_SEED={seed}")
    chance = random.Random(seed)
    counts = count_calls(nursery, folder / "counts")
    calls = sorted(counts)
    samples = [(call, chance.randint(1, counts[call])) for call in (calls[at % len(calls)] for at in range(SAMPLES))]
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        yield [pool.submit(die_at, nursery, *sample, folder / f"{at}") for at, sample in enumerate(samples)]


@pytest.mark.parametrize("sample", range(SAMPLES))
def test_nothing_is_lost_or_paid_twice(deaths: list["Future[Death]"], sample: int) -> None:
    """Wherever it died, after a restart ledger, stores and catalogue agree."""
    print(deaths[sample].result())


def test_most_of_them_died(deaths: list["Future[Death]"]) -> None:
    """A sample that nobody reaches proves nothing; threads differ from run to run, so a few may be missed."""
    died = [death.result().died for death in deaths]
    assert sum(died) * 2 > len(died), [death.result() for death in deaths]
