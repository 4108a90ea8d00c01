"""Batches from outside: `run --once` submits and ends, a later one collects, and processes that die between."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.batches import BatchDouble
from tests.doubles.http1 import Request
from tests.doubles.wire import Fault
from tests.shells.test_bad_input import job
from tests.world import World, file_section

DIALECTS = ("openai", "gemini")
DIES = """
import sys
from tests.crash.dying import arm
arm(sys.argv.pop(1))
from archiver.cli import main
main()
"""


def world_of(
    folder: Path, double: BatchDouble, prompts: tuple[str, ...] = ("a red fox", "a wren"), **more: Any
) -> World:
    made = World(folder / "user")
    given = {"poll_interval": "300ms", "gather": "0s", "price_usd": 0.02, **double.settings, **more}
    made.configure(
        file_section("main", folder / "archive") + job(list(prompts)), provider=double, kind="batch", **given
    )
    return made


def archived(folder: Path) -> set[bytes]:
    return {path.read_bytes() for path in (folder / "archive").rglob("*.png")}


def orders(double: BatchDouble) -> int:
    return sum(
        seen.method == "POST" and (seen.key == "/v1/batches" or "batchGenerate" in seen.key) for seen in double.requests
    )


def once_it_is_due(world: World, condition: Callable[[], bool]) -> None:
    """Run what is due until it was, with patience for a busy machine."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, world.sql("select * from batches")
        assert world.run("run", "--once").returncode == 0


@pytest.mark.parametrize("dialect", DIALECTS)
def test_run_once_submits_and_ends_and_a_later_one_collects(dialect: Any, tmp_path: Path) -> None:
    with BatchDouble(dialect, running=10**6) as double:
        world = world_of(tmp_path, double, poll_interval="1h")
        done = world.run("run", "--once")
        assert done.returncode == 0, done.stderr
        assert "2 in batch " in done.stderr and "`archiver run --once` after " in done.stderr
        (row,) = world.rows("batches")
        assert (row["state"], row["n"], row["done"], row["failed"]) == ("accepted", 2, 0, 0) and row["next_look_at"]
        assert world.run("run", "--once").returncode == 0 and orders(double) == 1
        double.running = 0
        world.ok("run", "--once", "--wait", "1s")
        assert archived(tmp_path) == set(), "not due for an hour"
        text = (world.folder / "archiver.toml").read_text().replace('poll_interval = "1h"', 'poll_interval = "1m"')
        (world.folder / "archiver.toml").write_text(text)
        world.ok("run", "--once")
        assert len(archived(tmp_path)) == 2, "whoever asks more often need not wait for what was said before"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_waiting_brings_them_home(dialect: Any, tmp_path: Path) -> None:
    with BatchDouble(dialect) as double:
        world = world_of(tmp_path, double)
        world.ok("run", "--once", "--wait", "1m")
        assert archived(tmp_path) == {double.image(prompt, 0) for prompt in ("a red fox", "a wren")}
        assert world.rows("batches") == []
        (row,) = world.rows("batches", "--all")
        assert (row["state"], row["done"], row["expires_at"] is not None) == ("collected", 2, True)
        assert "collected" in world.ok("batches", "--all")
        assert sum(charge.amount_micro for charge in double.charges) == 40_000
        spent = world.sql("select sum(cost_micro) as spent, min(mode) as mode from generations")
        assert spent == [{"spent": 40_000, "mode": "batch"}]


def test_generate_waits_when_it_is_told_to(tmp_path: Path) -> None:
    with BatchDouble("gemini", running=10**6) as double:
        world = world_of(tmp_path, double)
        done = world.run("generate", "an owl", "--provider", "double")
        assert done.returncode == 0 and "1 in batch " in done.stderr, done.stderr
        double.running = 1
        next(iter(double.batches.values())).polls = -(10**6)  # nobody waits for somebody else's
        done = world.run("generate", "a newt", "--provider", "double", "--wait", "1m", "--json")
        assert done.returncode == 0, done.stderr
        assert [row["prompt"] for row in json.loads(done.stdout)] == ["a newt"]
        assert double.image("a newt", 0) in archived(tmp_path) and orders(double) == 2


def test_the_daemon_collects(tmp_path: Path) -> None:
    with BatchDouble("openai") as double:
        world = world_of(tmp_path, double)
        daemon = world.start("run")
        try:
            end = time.monotonic() + 60
            while len(archived(tmp_path)) < 2:
                assert time.monotonic() < end and daemon.poll() is None
                time.sleep(0.05)
        finally:
            assert world.stop(daemon) == 0
        assert len(double.charges) == 2 and orders(double) == 1


def die_at(world: World, place: str) -> None:
    """Run what is due in a process that kills itself at a place (see `tests.crash.dying`)."""
    command = [sys.executable, "-c", DIES, place, "run", "--once", "--wait", "30s"]
    done = subprocess.run(command, cwd=world.folder, env=world.environ, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, f"never reached {place}: {done.returncode} {done.stderr}"


_BATCHES = "archiver.catalogue.batches:Batches"
_INBOX = "archiver.pipeline.inbox"
_SPOOL = "archiver.pipeline.spool"
_READ = "in archiver.pipeline.collecting:Collecting._read"
POINTS = (
    ("before the intent", f"before {_BATCHES}.gather #1", 1),
    ("gathered", f"after {_BATCHES}.gather #1", 1),
    ("handed over, not ordered", f"before {_BATCHES}.order #1", 1),
    ("about to be ordered", f"after {_BATCHES}.order #1", 0),
    ("ordered, not accepted", f"before {_BATCHES}.accept #1", 1),
    ("ordered, before the first look", f"after {_BATCHES}.accept #1", 1),
    ("over, not recorded", f"before {_BATCHES}.end #1", 1),
    ("over, nothing fetched", f"after {_BATCHES}.end #1", 1),
    ("fetched, not renamed", "before pathlib:Path.rename #1 in archiver.pipeline.collecting:Collecting._fetch", 1),
    ("first line in the inbox", f"after {_INBOX}:AnswerFile.finish #1 {_READ}", 1),
    ("first line taken in", f"after archiver.pipeline.reception:Reception.ingest #1 {_READ}", 1),
    ("image of the second line spooled", f"after {_SPOOL}:Spool.keep #2 {_READ}", 1),
    ("all lines taken in", f"before {_BATCHES}.collect #1", 1),
    ("collected, the output still here", f"before {_INBOX}:Outputs.discard #1", 1),
)


@pytest.mark.parametrize(("name", "place", "made"), POINTS, ids=[point[0] for point in POINTS])
def test_a_process_that_dies_loses_nothing_and_pays_nothing_twice(
    name: str, place: str, made: int, tmp_path: Path
) -> None:
    """It is ordered once, whatever happens; what nobody can have ordered is not in doubt for ever."""
    assert name
    with BatchDouble("openai" if len(name) % 2 else "gemini") as double:
        world = world_of(tmp_path, double)
        die_at(world, place)
        if not made:
            assert world.run("run", "--once").returncode == 0
            assert {row["state"] for row in world.sql("select state from generations")} == {"submitted"}
            assert orders(double) == 0
            return
        once_it_is_due(world, lambda: len(archived(tmp_path)) == 2)
        assert len(double.charges) == 2 and orders(double) == 1
        assert world.sql("select count(*) as c from images") == [{"c": 2}]
        world.ok("run", "--once")
        assert [path.name for path in (world.folder / "data/inbox").iterdir()] == []


def test_killed_between_the_order_and_the_first_look(tmp_path: Path) -> None:
    """From outside: the order is answered late, and the process is gone by then."""
    with BatchDouble("gemini", running=0) as double:
        is_order: Callable[[Request], bool] = lambda request: "batchGenerate" in request.path  # noqa: E731
        double.script(lambda request: Fault(delay=1.0) if is_order(request) else None)
        world = world_of(tmp_path, double)
        process = world.start("run", "--once")
        end = time.monotonic() + 60
        while not (rows := world_rows(world)) or rows[0]["state"] != "ordered":
            assert time.monotonic() < end and process.poll() is None
            time.sleep(0.02)
        while not orders(double):  # it has arrived, and is answered a second later
            assert time.monotonic() < end and process.poll() is None
            time.sleep(0.02)
        assert world.stop(process, signal.SIGKILL) == -signal.SIGKILL
        once_it_is_due(world, lambda: len(archived(tmp_path)) == 2)
        assert orders(double) == 1 and len(double.charges) == 2


def world_rows(world: World) -> list[dict[str, Any]]:
    try:
        return world.sql("select state from batches")
    except sqlite3.OperationalError:  # not made yet
        return []


SIZE_MB = 300
LINES = 20
LIMIT_MB = 150


def test_an_output_of_300_mb_is_never_in_memory(tmp_path: Path) -> None:
    """Images of 11 MB in base64, a line each, in a process whose peak is told by the kernel when it ends."""
    megabytes = SIZE_MB * 3 // 4 // LINES
    noise = os.urandom(megabytes * 1_000_000)

    def image(prompt: str, index: int) -> bytes:
        small = BatchDouble.image(prompt, index)
        return small + noise  # what comes after the end of a PNG belongs to nobody

    prompts = tuple(f"number {number}" for number in range(LINES))
    with BatchDouble("gemini", running=0, image=image) as double:
        world = world_of(tmp_path, double, prompts)
        text = (world.folder / "archiver.toml").read_text()
        # What copiers hold is theirs, and limited by their number: here it is about the output.
        (world.folder / "archiver.toml").write_text(text.replace("[archiver]\n", "[archiver]\ncopies = 1\n"))
        world.ok("run", "--once")
        end = time.monotonic() + 60
        while world.sql("select id from batches where not_before > strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"):
            assert time.monotonic() < end, "the next look is not due for a minute"
            time.sleep(0.02)
        code = (
            "import os, sys; pid = os.fork();\n"
            "if not pid: os.execv(sys.executable, [sys.executable, '-m', 'archiver', 'run', '--once'])\n"
            "_, status, used = os.wait4(pid, 0)\n"
            "print(used.ru_maxrss // 1024); sys.exit(os.waitstatus_to_exitcode(status))"
        )
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=world.folder, env=world.environ, capture_output=True, text=True, check=False)
        output = next(len(data) for name, data in double.files.items() if len(data) > 10**8)
        print(f"{output / 1e6:.0f} MB taken in with a peak of {done.stdout.strip()} MB; exit code {done.returncode}")
        states = world.sql("select state, count(*) as c, max(error) as e from generations group by 1")
        assert states == [{"state": "completed", "c": LINES, "e": None}], done.stderr
        assert output >= SIZE_MB * 0.97e6 and int(done.stdout) < LIMIT_MB
