"""The second process: it copies, tells what it did, ends with us; nothing is lost or copied twice when one dies."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from archiver import wiring
from archiver.pipeline.companion import Companion, bring
from archiver.pipeline.tally import Tally
from archiver.wiring.house import open_house
from tests.doubles.pngs import png
from tests.doubles.source import ImageSource
from tests.world import World, file_section

IMAGES = 260  # more than are worth another process


@pytest.fixture
def source() -> Iterator[ImageSource]:
    """An image host that takes its time, so that nobody is done before the other has begun."""
    with ImageSource() as running:
        for number in range(IMAGES):
            running.add(f"/{number}.png", png(f"beside {number}"), pause=0.05)
        yield running


@pytest.fixture
def world(tmp_path: Path, source: ImageSource) -> World:
    """A user with one store in a folder, two processes, and a list of URLs."""
    made = World(tmp_path / "user")
    made.configure('[fetch]\nallow_cidrs = ["127.0.0.1/32"]\n' + file_section("main", tmp_path / "archive"))
    made.environment["ARCHIVER_ARCHIVER__PROCESSES"] = "2"
    made.environment["ARCHIVER_ARCHIVER__COPIES"] = "8"
    urls = [f"{source.endpoint}{path}" for path in source.served]
    (made.folder / "urls.txt").write_text("\n".join(urls) + "\n")
    return made


def children(process: int) -> list[int]:
    """The processes that one has started."""
    found = Path(f"/proc/{process}/task/{process}/children").read_text()
    return [int(number) for number in found.split()]


def companion_of(process: int) -> int:
    """Wait until a command has its second process, which claims like any other. Its number."""
    for _ in range(600):
        if found := children(process):
            return found[0]
        threading.Event().wait(0.05)
    raise AssertionError("no second process was started")


def all_is_there(world: World, source: ImageSource) -> None:
    """Every image is stored once, whole, and was fetched once by whoever lived; what the dead had in hand, twice."""
    states = world.sql("select state, count(*) as n from images group by state")
    assert states == [{"state": "stored", "n": IMAGES}]
    kept = sorted(path.read_bytes() for path in (world.folder.parent / "archive").rglob("*.png"))
    assert kept == sorted(source.served.values())


needs_proc = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes in /proc")


def test_both_copy_and_the_closing_line_counts_for_both(world: World, source: ImageSource) -> None:
    """Each image is fetched once, by one of the two, and the command knows of all."""
    done = world.run("backfill", "urls.txt")
    assert done.returncode == 0, done.stderr
    assert f"{IMAGES} images archived" in done.stdout + done.stderr
    all_is_there(world, source)
    assert len(source.requests) == IMAGES


def test_it_copies_by_itself_and_tells_what_it_did(world: World, source: ImageSource) -> None:
    """Taken in while every store is away, then carried by a companion alone; it ends when its input does."""
    world.environment["ARCHIVER_ARCHIVER__PROCESSES"] = "1"
    world.environment["ARCHIVER_FETCH__ALLOW_CIDRS"] = "10.0.0.0/8"  # refused: all of it waits
    assert world.run("backfill", "urls.txt").returncode == 1
    total, done, ended = Tally(), threading.Event(), threading.Event()

    def told(tally: Tally) -> None:
        total.add(tally)
        if total.stored == IMAGES:
            done.set()

    inherited = dict(os.environ)
    world.environment["ARCHIVER_FETCH__ALLOW_CIDRS"] = "127.0.0.1/32"
    os.environ.clear()
    os.environ.update(world.environ)
    try:
        command = [sys.executable, "-m", "archiver.beside", str(world.folder / "archiver.toml"), "ERROR"]
        companion = Companion([*command, "2100-01-01T00:00:00+00:00"], told=told, ended=ended.set)
        assert done.wait(60), total
        companion.join()
    finally:
        os.environ.clear()
        os.environ.update(inherited)
    assert ended.is_set()
    assert not companion.is_at_work
    assert total.bytes == sum(map(len, source.served.values()))
    all_is_there(world, source)


@needs_proc
def test_when_it_dies_its_images_are_taken_over(world: World, source: ImageSource) -> None:
    """SIGKILL in the middle: the command goes on alone, and ends well."""
    process = world.start("backfill", "urls.txt")
    beside = companion_of(process.pid)
    while len(source.requests) < IMAGES // 4:
        threading.Event().wait(0.01)
    os.kill(beside, signal.SIGKILL)
    assert process.wait(90) == 0, (world.folder / "stderr.txt").read_text()
    all_is_there(world, source)


@needs_proc
def test_when_we_die_it_ends_in_order(world: World, source: ImageSource) -> None:
    """SIGKILL of the command: its companion finishes what it has in hand and goes; the next command does the rest."""
    process = world.start("backfill", "urls.txt")
    beside = companion_of(process.pid)
    while len(source.requests) < IMAGES // 4:
        threading.Event().wait(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    for _ in range(600):
        if not Path(f"/proc/{beside}").exists():
            break
        threading.Event().wait(0.05)
    assert not Path(f"/proc/{beside}").exists()
    world.ok("drain")
    all_is_there(world, source)


def test_a_machine_without_room_goes_on_alone() -> None:
    """What cannot be started is told of, and nothing else happens."""
    with structlog.testing.capture_logs() as lines:
        assert bring([["/nowhere/python"]], told=lambda _: None, ended=lambda: None) == []
    assert [line["event"] for line in lines] == ["no companion"]


def test_a_line_that_was_cut_hides_no_end() -> None:
    """It dies while it tells what it did: its end is heard all the same, so that its images are taken over."""
    ended, told = threading.Event(), list[Tally]()
    cut = "import sys; sys.stdout.write(sys.argv[1])"
    companion = Companion([sys.executable, "-c", cut, '{"asked": 0, "sto'], told=told.append, ended=ended.set)
    companion.join()
    assert ended.is_set()
    assert told == []


def test_it_is_started_for_many_images_only(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three images, and nobody comes: it would take longer than to copy them. A daemon may see many any minute."""
    world.environment["ARCHIVER_FETCH__ALLOW_CIDRS"] = "10.0.0.0/8"  # refused: all of it waits
    lines = (world.folder / "urls.txt").read_text().splitlines()
    few, many = world.folder / "few.txt", world.folder / "urls.txt"
    few.write_text("\n".join(lines[:3]) + "\n")
    monkeypatch.chdir(world.folder)
    monkeypatch.setenv("ARCHIVER_ARCHIVER__PROCESSES", "3")
    found = []
    for file in (few, many):
        assert world.run("backfill", str(file)).returncode == 1
        with open_house(wiring.load_config(str(world.folder / "archiver.toml"))) as house:
            found.append((len(house.companions()), len(house.companions(always=True)), house.copies))
    assert found == [(0, 2, 5), (2, 2, 5)]


def test_a_sandbox_is_fetched_of_by_its_own_process_only(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its address is on this machine, and is exempt in the process that serves it."""
    monkeypatch.chdir(world.folder)
    monkeypatch.setenv("ARCHIVER_ARCHIVER__PROCESSES", "2")
    with (world.folder / "archiver.toml").open("a") as file:
        file.write('\n[providers.play]\nkind = "sandbox"\n')
    with open_house(wiring.load_config(str(world.folder / "archiver.toml"))) as house:
        assert house.companions(always=True) == []
