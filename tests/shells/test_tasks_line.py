"""Tasks from outside: `run --once` and its patience, a process that dies while a task runs, webhooks by `notice`."""

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.tasks import WEBHOOK_SECRET, TaskProvider
from tests.shells.test_bad_input import job
from tests.world import World, file_section


def world_of(folder: Path, double: TaskProvider, **settings: Any) -> World:
    """A user with one job of one prompt."""
    made = World(folder / "user", {"TEST_WEBHOOK_SECRET": WEBHOOK_SECRET})
    text = file_section("main", folder / "archive") + job(["a red fox"])
    given = {"poll_interval": "200ms", **double.settings, **settings}
    made.configure(text, provider=double, kind="tasks", **given)
    return made


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for what another process does, with patience for a busy machine."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)


def archived(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in (folder / "archive").rglob("*.png")]


@pytest.mark.parametrize("dialect", ["apiyi", "replicate", "fal"])
def test_run_once_polls_until_it_is_done(dialect: str, tmp_path: Path) -> None:
    with TaskProvider(dialect, running=3) as double:
        world = world_of(tmp_path, double)
        world.ok("run", "--once", "--wait", "1m")
        assert archived(tmp_path) == [double.image("a red fox", 0)]
        assert len(double.charges) == 1 and max(double.polls.values()) >= 4


def test_out_of_patience_the_task_stays_and_a_later_run_goes_on(tmp_path: Path) -> None:
    """Exit code 1, with the handle that the provider knows it by; nothing is lost, and nothing is paid for twice."""
    with TaskProvider("dashscope", running=10**6) as double:
        world = world_of(tmp_path, double)
        done = world.run("run", "--once", "--wait", "2s")
        assert done.returncode == 1, done.stderr
        assert "its task is task-000001; the next run asks again" in done.stderr
        assert world.sql("select state, handle from generations") == [{"state": "accepted", "handle": "task-000001"}]
        double.running = 0
        world.ok("run", "--once", "--wait", "1m")
        assert len(double.charges) == 1 and len(archived(tmp_path)) == 1


@pytest.mark.parametrize("dialect", ["dashscope", "bfl"])
def test_killed_between_accepting_and_polling(dialect: str, tmp_path: Path) -> None:
    with TaskProvider(dialect, running=10**6) as double:
        world = world_of(tmp_path, double)
        process = world.start("run", "--once")
        wait_until(lambda: bool(double.polls))
        process.kill()
        assert process.wait(60) == -signal.SIGKILL
        double.running = 0
        world.ok("run", "--once", "--wait", "1m")
        assert archived(tmp_path) == [double.image("a red fox", 0)]
        assert len(double.charges) == 1
        assert not list((world.folder / "data" / "inbox").iterdir())


def notice(world: World, double: TaskProvider, ident: str, **headers: str) -> Any:
    """Hand in the webhook of a task, as a web server would."""
    genuine, body = double.webhook(ident)
    said = [f"--header={name}: {value}" for name, value in {**genuine, **headers}.items()]
    return world.run("notice", "double", *said, text=body.decode())


@pytest.mark.parametrize("dialect", ["apiyi", "replicate"])
def test_a_webhook_brings_the_image_home(dialect: str, tmp_path: Path) -> None:
    """By a poll: the address inside the webhook is never fetched."""
    signed = {"webhook_secret": "env:TEST_WEBHOOK_SECRET"} if dialect == "replicate" else {}
    with TaskProvider(dialect, running=10**6) as double:
        world = world_of(tmp_path, double, poll_interval="1h", webhook_url="https://me.example/hook", **signed)
        assert world.run("run", "--once", "--wait", "2s").returncode == 1
        assert "https://me.example/hook" in str(double.asked)
        double.running = 0
        done = notice(world, double, "task-000001")
        assert done.returncode == 0, done.stderr
        assert archived(tmp_path) == [double.image("a red fox", 0)]
        assert notice(world, double, "task-000001").returncode == 0, "the same notice again"
        assert len(double.charges) == 1 and len(world.rows("images")) == 1


def test_a_webhook_that_is_not_genuine_does_nothing(tmp_path: Path) -> None:
    with TaskProvider("replicate", running=10**6) as double:
        world = world_of(tmp_path, double, poll_interval="1h", webhook_secret="env:TEST_WEBHOOK_SECRET")
        assert world.run("run", "--once", "--wait", "2s").returncode == 1
        double.running, polls = 0, dict(double.polls)
        done = notice(world, double, "task-000001", **{"webhook-signature": "v1,AAAA"})
        assert done.returncode == 1 and "no webhook of double" in done.stderr
        assert dict(double.polls) == polls
        assert notice(world, double, "task-000077").returncode == 1, "it was never given that work"
        assert world.run("notice", "nobody", text="{}").returncode == 2
        assert world.run("notice", "double", "--header", "nonsense", text="{}").returncode == 2
        assert "Traceback" not in done.stderr


def test_a_failed_task_that_was_planned_again_is_not_paid_for_twice(tmp_path: Path) -> None:
    """The webhook comes after `resolve --retry`: its images are recorded once, and nobody is asked again."""
    with TaskProvider("apiyi", running=0, end="failed") as double:
        world = world_of(tmp_path, double)
        assert world.run("run", "--once", "--wait", "1m").returncode == 1
        (row,) = world.sql("select id, state, error from generations")
        assert row["state"] == "failed" and row["error"].startswith("paid, but without an image: ")
        world.ok("resolve", row["id"], "--retry")
        double.end = "done"
        assert notice(world, double, "task-000001").returncode == 0
        world.ok("run", "--once")
        assert len(double.charges) == 1 and len(archived(tmp_path)) == 1
