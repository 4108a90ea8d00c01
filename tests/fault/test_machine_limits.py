"""A machine that gives little: few descriptors, little memory, folders that may not be written."""

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.crash.harness import let_time_pass
from tests.crash.nursery import Nursery
from tests.crash.oracle import OPEN_WORK, contents_of, judge, rows
from tests.doubles.oss import OssDouble
from tests.doubles.provider import ImagesProvider
from tests.doubles.source import ImageSource
from tests.world import ARCHIVER, ROOT, World, file_section, oss_section

PROMPTS = 12
MEGABYTE = 1024 * 1024


@pytest.fixture
def provider() -> Iterator[ImagesProvider]:
    with ImagesProvider() as running:
        yield running


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery(1) as running:
        yield running


def run(
    world: World, *arguments: str, before: Callable[[], None] | None = None, prefix: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """One command under a limit: a function that the process calls before it is archiver, or a program around it."""
    return subprocess.run(
        [*prefix, *ARCHIVER, *arguments],
        cwd=world.folder,
        env=world.environ,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        preexec_fn=before,
    )


@pytest.mark.parametrize("descriptors", [64, 28])
def test_f019_few_descriptors_cost_no_row_and_pay_nothing_twice(
    tmp_path: Path, provider: ImagesProvider, nursery: Nursery, descriptors: int
) -> None:
    """Askers and copiers want more than there are: some work waits, and a process with enough brings all of it home."""
    world = World(tmp_path / "user")
    with OssDouble() as oss:
        world.keys_of(oss)
        job = '\n[[jobs]]\nname = "cats"\nschedule = "every 1h"\nprovider = "double"\nn = 2\n'
        job += f"prompts = {[f'cat {number}' for number in range(PROMPTS)]}\n"
        world.configure(oss_section("main", oss) + job, provider=provider)
        assert nursery.run(world, ("drain",)) == 0
        limit = (descriptors, descriptors)
        done = run(world, "run", "--once", before=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limit))
        assert done.returncode in (0, 1, 3), done.stderr
        assert "Traceback" not in done.stderr
        data = world.folder / "data"
        if descriptors < 64:
            assert "oo many open files" in done.stderr or "unable to open database" in done.stderr, "nobody was short"
        assert len(provider.charges) == len({charge.prompt for charge in provider.charges})
        for _ in range(5):
            let_time_pass(world)
            assert nursery.run(world, ("run", "--once")) in (0, 1)
            assert nursery.run(world, ("drain",)) in (0, 1)
            if not rows(data, OPEN_WORK):
                break
        unknown = {row["id"] for row in rows(data, "select id from generations where state = 'unknown'")}
        kept = {path.stem for path in (data / "inbox").glob("*.odd")}
        assert unknown == kept, "only an answer whose file failed may be in doubt, and it is kept"
        verdict = judge(world, provider, {"main": contents_of(oss)}, unknown, oss.secret_key)
        assert verdict.completed + verdict.unknown == PROMPTS
        print(f"{descriptors} descriptors: exit {done.returncode}, {verdict}")


#: Fetches one URL with so many threads at once, keeps every body until all are there, and tells the peak.
HUNGRY = """
import resource, sys, threading
from pathlib import Path
from archiver.core.model import Network
from archiver.core.tempurl import TemporaryURL
from archiver.transport import AddressGuard, ByteBudget, CurlEngine

url, folder = sys.argv[1], Path(sys.argv[2])
threads, budget, room = map(int, sys.argv[3:])
engine = CurlEngine(Network(), AddressGuard(["127.0.0.1/32"]), budget=ByteBudget(budget), temp_dir=folder)
def fetch():
    bodies.append(engine.fetch(TemporaryURL(url)).body)
bodies = []
fetch()
bodies.pop().close()
pages = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (pages + room, pages + room))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
team = [threading.Thread(target=fetch) for _ in range(threads)]
for one in team: one.start()
for one in team: one.join()
print(len(bodies), sum(body.size for body in bodies), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_f016_sixteen_large_bodies_stay_within_the_byte_budget(tmp_path: Path) -> None:
    """320 MB at once with a budget of 64: the peak is the budget and some buffers, under a limit of the address space
    that has no room for all of them. What finds no room in memory lies in temporary files."""
    threads, size, budget = 16, 20 * MEGABYTE, 64 * MEGABYTE
    room = budget + threads * 9 * MEGABYTE + 64 * MEGABYTE  # with a stack of 8 MB for each thread
    assert room < threads * size
    with ImageSource() as source:
        url = source.add("/large.png", os.urandom(size))
        done = subprocess.run(
            [sys.executable, "-c", HUNGRY, url, str(tmp_path), str(threads), str(budget), str(room)],
            cwd=ROOT,
            env={**os.environ, "MALLOC_ARENA_MAX": "1"},  # an arena for each thread would be reserved, not used
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    bodies, received, grown_kb = map(int, done.stdout.split())
    assert (bodies, received) == (threads, threads * size), done.stderr
    assert grown_kb * 1024 < budget + 32 * MEGABYTE
    print(f"{received / MEGABYTE:.0f} MB received, {grown_kb / 1024:.0f} MB of memory")


def without_privileges() -> tuple[str, ...]:
    """Root writes where it may not; without these two capabilities it is a user like any other."""
    if os.geteuid() != 0:
        return ()
    prefix = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")
    if shutil.which("setpriv") is None or subprocess.call([*prefix, "true"], stderr=subprocess.DEVNULL) != 0:
        pytest.skip("this is root, who may write everywhere, and cannot be anybody else")
    return prefix


@pytest.mark.parametrize("place", ["data", "data/inbox", "data/spool", "data/owners", "data/catalogue.db"])
def test_f026_what_may_not_be_written_is_said_before_anything_is_spent(
    tmp_path: Path, provider: ImagesProvider, nursery: Nursery, place: str
) -> None:
    """Read-only for everybody: exit 3 with the path, nothing asked for; writable again, the same job is done."""
    prefix = without_privileges()
    world = World(tmp_path / "user")
    job = '\n[[jobs]]\nname = "cats"\nschedule = "every 1h"\nprovider = "double"\nprompts = ["a cat"]\n'
    world.configure(file_section("main", tmp_path / "archive") + job, provider=provider)
    assert nursery.run(world, ("drain",)) == 0
    closed = world.folder / place
    mode = closed.stat().st_mode
    closed.chmod(0o500 if closed.is_dir() else 0o400)
    done = run(world, "run", "--once", prefix=prefix)
    closed.chmod(mode)
    assert done.returncode == 3, done.stderr
    assert place in done.stderr and "Traceback" not in done.stderr
    assert provider.charges == []
    assert nursery.run(world, ("run", "--once")) == 0
    assert len(provider.charges) == 1
    assert world.sql("select state from images") == [{"state": "stored"}]
