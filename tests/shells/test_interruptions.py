"""Commands that are stopped, killed, or told to take one job only, from outside."""

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.doubles.provider import ImagesProvider, Mishap
from tests.doubles.source import Behaviour
from tests.shells.test_bad_input import job
from tests.world import World, file_section


@pytest.fixture
def provider() -> Iterator[ImagesProvider]:
    with ImagesProvider() as running:
        yield running


@pytest.fixture
def world(tmp_path: Path, provider: ImagesProvider) -> World:
    made = World(tmp_path / "user")
    made.configure(file_section("main", tmp_path / "archive"), provider=provider, concurrency=1)
    return made


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for what another process does, with patience for a busy machine."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)


def states(world: World) -> dict[str, str]:
    return {row["prompt"]: row["state"] for row in world.sql("select prompt, state from generations")}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_generate_finishes_what_is_in_flight(
    world: World, provider: ImagesProvider, number: int
) -> None:
    """The request that was paid is answered and archived, prompts that nobody had asked are cancelled: exit 128 + N."""
    provider.latency = 1.5
    process = world.start("generate", "in flight", "not asked", "不问")
    wait_until(lambda: bool(provider.charges))
    assert world.stop(process, number) == 128 + number
    said = (world.folder / "stderr.txt").read_text()
    assert "1 image archived, 0 lost" in said and "were cancelled" in said and "Traceback" not in said
    assert states(world) == {"in flight": "completed", "not asked": "cancelled", "不问": "cancelled"}
    assert "in flight" in (world.folder / "stdout.txt").read_text()
    assert [row["prompt"] for row in world.rows("lineage", "flight")] == ["in flight"]
    assert not list((world.folder / "data" / "owners").iterdir())
    provider.latency = 0
    world.ok("run", "--once")
    assert len(provider.charges) == 1


def test_a_killed_process_leaves_a_doubt_and_nobody_pays_twice(world: World, provider: ImagesProvider) -> None:
    """kill -9 while the provider is at work: the next command says `unknown`, and the tick goes on with what was not
    asked, unless another job was meant."""
    text = (world.folder / "archiver.toml").read_text("utf-8")
    (world.folder / "archiver.toml").write_text(text + job(["in flight", "not asked"]) + job(["later"], name="other"))
    provider.script([Mishap(stall=True)])
    process = world.start("run", "--once", "--job", "cats")
    wait_until(lambda: bool(provider.charges))
    process.kill()
    assert process.wait(60) == -signal.SIGKILL
    assert states(world) == {"in flight": "submitted", "not asked": "planned"}
    world.ok("run", "--once", "--job", "other")
    assert states(world) == {"in flight": "unknown", "not asked": "planned", "later": "completed"}
    (doubt,) = world.sql("select error from generations where state = 'unknown'")
    assert "ended before an answer was on disk" in doubt["error"]
    assert world.run("status").returncode == 1
    world.ok("run", "--once")
    assert states(world) == {"in flight": "unknown", "not asked": "completed", "later": "completed"}
    world.ok("run", "--once")
    assert [charge.prompt for charge in provider.charges] == ["in flight", "later", "not asked"]
    assert [path.name for path in (world.folder / "data" / "owners").iterdir()] == []


def test_one_job_runs_alone(world: World, provider: ImagesProvider, tmp_path: Path) -> None:
    """`--job` plans and asks for that job only, a disabled one too; the others are still due afterwards."""
    jobs = job(["a"], name="first") + job(["b"], name="second") + job(["c"], name="off") + "enabled = false\n"
    world.configure(file_section("main", tmp_path / "archive") + jobs, provider=provider)
    assert "1 image archived" in world.run("run", "--once", "--job", "second").stderr
    assert states(world) == {"b": "completed"}
    assert "0 images archived" in world.run("run", "--once", "--job", "second").stderr, "one tick is run once"
    world.ok("run", "--once")
    assert states(world) == {"a": "completed", "b": "completed"}
    world.ok("run", "--once", "--job", "off")
    assert states(world) == {"a": "completed", "b": "completed", "c": "completed"}
    ticks = {row["job"]: row["ticks"] for row in world.rows("jobs")}
    assert ticks == {"first": 1, "second": 1, "off": 1}
    assert [row["prompt"] for row in world.rows("images", "--job", "second")] == ["b"]


def test_wait_sits_out_the_pause_of_a_source(world: World, provider: ImagesProvider, tmp_path: Path) -> None:
    """With `--wait` an image that was postponed is tried again in the same run; without, it is left for the next."""
    provider.image_first = (Behaviour(status=500),)
    world.configure(file_section("main", tmp_path / "archive") + job(["a cat"]), provider=provider)
    done = world.run("run", "--once", "--wait", "1m")
    assert done.returncode == 0, done.stderr
    assert "1 image archived, 0 lost" in done.stderr
    assert world.sql("select state, attempts from images") == [{"state": "stored", "attempts": 2}]
    assert list((world.folder / "data" / "spool").iterdir()) == []
