"""Many requests at once: ten prompts cost the time of one, and two hundred that wait cost little memory.

No clock is read: the double answers nobody before all have asked, so that whoever asked one after the other would wait
for ever.
"""

import os
import threading
from pathlib import Path

import pytest

from tests.doubles.http1 import Request
from tests.doubles.provider import ImagesProvider
from tests.world import World, file_section

PATIENCE_S = 90.0
MOST_GROWTH_MB = 150.0


def run_once(folder: Path, prompts: int, *, concurrency: int) -> float:
    """`archiver run --once` for so many prompts, all of which must be open at the same time. Its peak memory in MB."""
    everybody = threading.Barrier(prompts, timeout=PATIENCE_S)

    def together(_: Request) -> None:
        everybody.wait()

    with ImagesProvider(together) as double:
        world = World(folder)
        listed = ", ".join(f'"a fox in the forest, number {number}"' for number in range(prompts))
        job = f"""
[[jobs]]
name = "foxes"
schedule = "every 30d"
provider = "double"
prompts = [{listed}]
most_prompts = 500
"""
        sections = file_section("main", folder / "archive")
        world.configure(sections + job, provider=double, concurrency=concurrency)
        process = world.start("run", "--once")
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, (folder / "stderr.txt").read_text()
        assert len(double.charges) == prompts
        assert world.sql("select count(*) as n from images where state = 'stored'") == [{"n": prompts}]
    return usage.ru_maxrss / 1024  # Linux counts in KiB


def test_ten_prompts_cost_the_time_of_one(tmp_path: Path) -> None:
    run_once(tmp_path / "ten", 10, concurrency=10)


@pytest.mark.skipif(not Path("/proc").exists(), reason="the unit of ru_maxrss is Linux's")
def test_two_hundred_waiting_generations_stay_under_150_mb(tmp_path: Path) -> None:
    one = run_once(tmp_path / "one", 1, concurrency=200)
    many = run_once(tmp_path / "many", 200, concurrency=200)
    print(f"peak memory: {one:.0f} MB with one request open, {many:.0f} MB with 200: {many - one:.0f} MB more")
    assert many - one < MOST_GROWTH_MB
