"""The daemon, as a process: it fires on schedule, survives being stopped and restarted, and ends in order."""

import signal
import subprocess
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from tests.doubles.provider import ImagesProvider
from tests.world import World, file_section


def until(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Wait for something that a process of its own brings about."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.05)


def _job(schedule: str, prompts: str = '["a lighthouse", "灯塔"]') -> str:
    return f'\n[[jobs]]\nname = "lights"\nschedule = "{schedule}"\nprovider = "double"\nprompts = {prompts}\n'


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A folder of a user."""
    return World(tmp_path / "user")


def _count(world: World, what: str) -> int:
    if not (world.folder / "data/catalogue.db").exists():
        return 0
    try:
        return int(world.sql(f"select count(*) as n from {what}")[0]["n"])
    except Exception as error:
        if "no such table" in str(error):  # the daemon is making the catalogue just now
            return 0
        raise


def test_two_ticks_with_a_stop_between_are_neither_run_twice_nor_missed(world: World, tmp_path: Path) -> None:
    """Killed with SIGTERM between two ticks, the daemon runs each once, with every prompt, and exits with 0."""
    with ImagesProvider() as provider:
        world.configure(file_section("main", tmp_path / "archive") + _job("every 3s"), provider=provider)
        first = world.start("run")
        until(lambda: _count(world, "lineage") == 2, "the first tick is archived")
        assert world.stop(first) == 0, (world.folder / "stderr.txt").read_text()
        ticks = _count(world, "ticks")
        second = world.start("run")
        until(lambda: _count(world, "ticks") > ticks, "the next tick")
        assert world.stop(second) == 0
        # A tick that was claimed at the very moment of the signal has prompts that were not asked yet: they still are.
        world.ok("run", "--once")

        ticks = _count(world, "ticks")
        asked = world.sql("select scheduled_for, prompt from generations")
        assert len(provider.charges) == len(asked) == len({tuple(row.values()) for row in asked}) == 2 * ticks
        times = [_time(row["scheduled_for"]) for row in world.sql("select scheduled_for from ticks order by 1")]
        gaps = {(later - earlier) % timedelta(seconds=3) for earlier, later in pairwise(times)}
        assert gaps == {timedelta(0)}, f"the phase was lost: {times}"


def test_a_daemon_that_is_restarted_all_the_time_still_fires(world: World, tmp_path: Path) -> None:
    """`every 4s` counts from the last tick in the catalogue, not from the daemon's own start."""
    with ImagesProvider() as provider:
        world.configure(file_section("main", tmp_path / "archive") + _job("every 4s", '["x"]'), provider=provider)
        restarts = 0
        while _count(world, "ticks") < 3:
            assert restarts < 40, "three ticks in forty short lives"
            daemon = world.start("run")
            until(partial(_has_started, world, restarts + 1), "the daemon is at work")
            with pytest.raises(subprocess.TimeoutExpired):
                daemon.wait(1)
            assert world.stop(daemon) == 0
            restarts += 1
        assert restarts >= 3, "each life is shorter than the period, however slow the machine"
        assert len(provider.charges) == _count(world, "ticks") == _count(world, "lineage")


def test_sigterm_finishes_the_paid_call_in_flight(world: World, tmp_path: Path) -> None:
    """An answer that is being paid for is waited for, recorded and archived before the daemon ends."""
    with ImagesProvider(latency=3) as provider:
        world.configure(file_section("main", tmp_path / "archive") + _job("every 1h"), provider=provider)
        daemon = world.start("run")
        until(lambda: len(provider.charges) == 2, "both prompts are being asked for")
        assert world.stop(daemon, signal.SIGTERM) == 0
        assert _count(world, "lineage") == 2


def test_a_killed_daemon_is_taken_over_without_paying_again(world: World, tmp_path: Path) -> None:
    """SIGKILL in a paid call leaves the outcome unknown; images that were recorded are archived by the next process."""
    with ImagesProvider(latency=60) as provider:
        world.configure(file_section("main", tmp_path / "archive") + _job("every 1h", '["slow"]'), provider=provider)
        daemon = world.start("run")
        until(lambda: len(provider.charges) == 1, "the prompt is being asked for")
        daemon.kill()
        daemon.wait(10)
        done = world.run("run", "--once")
        assert done.returncode == 0, done.stderr
        assert [row["state"] for row in world.sql("select state from generations")] == ["unknown"]
        assert world.run("status").returncode == 1
        assert len(provider.charges) == 1


def _has_started(world: World, times: int) -> bool:
    return (world.folder / "stderr.txt").read_text().count('"event": "started"') >= times


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
