"""Makes a small world, lets a process die in it, lets the next one clean up, and asks the oracle.

The processes are real, and so is SIGKILL. One asker only: when it dies, at most one paid request is in flight, so
that each point dies in the state that its name says.
"""

import json
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tests.crash.dying import ANNOUNCEMENT
from tests.crash.oracle import OPEN_WORK, Contents, Verdict, contents_of, doubtful, judge, rows
from tests.crash.points import IMAGES_PER_PROMPT, PROMPTS, Point
from tests.doubles.http1 import Request
from tests.doubles.oss import OssDouble
from tests.doubles.provider import ImagesProvider
from tests.doubles.tasks import TaskProvider
from tests.doubles.wire import Fault, FaultScript
from tests.world import ARCHIVER, World, file_section, oss_section

RUN = ("run", "--once")
MOST_RESTARTS = 6

_BLIND = frozenset(("x-oss-hash-crc64ecma", "etag", "content-md5"))


def _proves_nothing(request: Request) -> Fault | None:
    return Fault(without=_BLIND) if request.method == "PUT" else None


class Runner(Protocol):
    """Runs a command in a process of its own. The exit code; output is appended to stdout.txt and stderr.txt."""

    def __call__(self, world: World, arguments: tuple[str, ...], crash_at: str | None = None) -> int: ...


def run_below(*prefix: str) -> Runner:
    """A runner that starts everything anew, below another program such as strace."""

    def run(world: World, arguments: tuple[str, ...], crash_at: str | None = None) -> int:
        way = ARCHIVER if crash_at is None else (sys.executable, "-m", "tests.crash.dying", crash_at)
        command = [*prefix, *way, *arguments]
        with (world.folder / "stdout.txt").open("a") as out, (world.folder / "stderr.txt").open("a") as err:
            return subprocess.call(command, cwd=world.folder, env=world.environ, stdout=out, stderr=err, timeout=100)

    return run


@dataclass(slots=True)
class Scene:
    """A world with its outside: the provider, the stores by name, and what was seen of the dead so far."""

    world: World
    provider: ImagesProvider | TaskProvider
    oss: OssDouble
    stores: dict[str, Contents]
    run: Runner
    doubts: set[str]

    def die_at(self, place: str) -> None:
        """Run what is due, in a process that kills itself at `place`. Raises AssertionError when it never got there."""
        code = self.run(self.world, RUN, place)
        said = self.said()
        assert code == -signal.SIGKILL and ANNOUNCEMENT + place in said, f"never reached; exit code {code}: {said}"
        self.look()

    def said(self) -> str:
        """All that was written to stderr."""
        return (self.world.folder / "stderr.txt").read_text("utf-8")

    def look(self) -> None:
        """See what a process that died has left, before anybody takes over."""
        self.doubts |= doubtful(self.world)

    def rescued(self) -> set[str]:
        """The images whose whole bytes lie in the spool."""
        found = (self.world.folder / "data" / "spool").iterdir()
        return {path.name.partition(".")[0] for path in found if path.suffix != ".part"}

    def finish(self) -> Verdict:
        """Start again until all is quiet, then judge."""
        self.come_to_rest()
        return self._judge()

    def come_to_rest(self) -> None:
        """Start again until all is quiet."""
        for _ in range(MOST_RESTARTS):
            for arguments in (RUN, ("drain",)):  # what is postponed waits for its time; a person need not
                code = self.run(self.world, arguments)
                assert code in (0, 1), f"exit code {code}: {self.said()}"
                if not rows(self.world.folder / "data", OPEN_WORK):
                    return
        raise AssertionError(f"it never became quiet: {self.said()}")

    def _judge(self) -> Verdict:
        verdict = judge(self.world, self.provider, self.stores, self.doubts, self.oss.secret_key)
        assert verdict.completed + verdict.unknown == len(PROMPTS), "a prompt was planned twice, or never"
        assert verdict.charges == verdict.completed + verdict.unknown_charged
        assert verdict.images == IMAGES_PER_PROMPT * verdict.completed
        return verdict


@contextmanager
def scene(setup: str, run: Runner) -> Iterator[Scene]:
    """One of the surroundings that `points.Point` names; `run` runs its processes."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        provider: ImagesProvider | TaskProvider
        if setup == "tasks":
            provider = stack.enter_context(TaskProvider("apiyi"))
        else:
            provider = stack.enter_context(ImagesProvider())
        oss = stack.enter_context(OssDouble())
        world = World(folder / "user")
        world.keys_of(oss)
        stores = {"main": contents_of(oss)}
        sections = oss_section("main", oss)
        if setup == "two":
            stores["near"] = contents_of(folder / "near")
            sections += file_section("near", folder / "near")
        job = f'name = "cats"\nschedule = "every 1h"\nprovider = "double"\nn = {IMAGES_PER_PROMPT}\n'
        job += f"stores = {json.dumps(list(stores))}\nprompts = {json.dumps(PROMPTS, ensure_ascii=False)}\n"
        options: dict[str, Any] = {"response_format": "b64_json"} if setup == "inline" else {}
        if isinstance(provider, TaskProvider):
            options = {"kind": "tasks", "poll_interval": "200ms", **provider.settings}
        world.configure(f"{sections}\n[[jobs]]\n{job}", provider=provider, concurrency=1, **options)
        if setup == "blind":
            oss.script(_proves_nothing)
        elif setup == "failing":  # as often as there are images: each is rescued once
            oss.script(_fails_at_first(len(PROMPTS) * IMAGES_PER_PROMPT))
        yield Scene(world, provider, oss, stores, run, set())


def let_time_pass(world: World) -> None:
    """What is planned for later may be asked for now. No process may be alive."""
    with closing(sqlite3.connect(world.folder / "data" / "catalogue.db")) as connection, connection:
        connection.execute("update generations set not_before = null where state = 'planned'")


def _fails_at_first(count: int) -> FaultScript:
    """So many puts of images fail; the probe that precedes spending does not."""
    left = iter(range(count))

    def fault(request: Request) -> Fault | None:
        is_image = request.method == "PUT" and "/cats/" in request.path
        return Fault(status=503) if is_image and next(left, None) is not None else None

    return fault


def crash(point: Point, run: Runner) -> Verdict:
    """Let a process die at `point`, and judge what came of it. Raises AssertionError, also when nobody reached it."""
    with scene(point.setup, run) as stage:
        stage.die_at(point.at)
        if point.then is not None:
            stage.die_at(point.then)
        verdict = stage.finish()
    assert point.unknown in (None, verdict.unknown), f"{verdict.unknown} outcomes unknown instead of {point.unknown}"
    return verdict
