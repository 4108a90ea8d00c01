"""Kill a working daemon again and again, then count: nothing lost, nothing paid twice.

    .venv/bin/python scripts/soak/kills.py [--kills 300] [--images 1000] [--seed S]

A daemon archives every image into an S3 server (rclone) and an OSS double, and gets SIGKILL at random moments, from its
first import to the middle of its work. Prompts are fed so that the images spread over the kills. In the end the oracle
of tests/crash compares the provider's ledger, the bytes served, both stores and the catalogue. Prints one line for a
person on stderr and one JSON object on stdout; exit code 0 when all agrees, 1 when not.
"""

import argparse
import json
import math
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.crash.feeding import Feed
from tests.crash.oracle import OPEN_WORK, Contents, Verdict, contents_of, doubtful, judge, rows
from tests.doubles.http1 import Request
from tests.doubles.oss import OssDouble
from tests.doubles.provider import ImagesProvider
from tests.doubles.servers import S3Server, rclone_s3
from tests.doubles.wire import Fault
from tests.world import World, oss_section, s3_section

STARTING_SHARE, STARTING_S = 0.2, 1.0
"""So many kills come evenly spread over the first second of a process, most of which goes into imports."""
LIFE_S = 2.0
"""The others come evenly spread over so many seconds from the moment at which the process took its lock."""
MOST_AT_ONCE = 8
"""Prompts that one tick asks for: more would bunch the work, and most kills would meet a queue."""
LATENCY_S = 0.1
PATIENCE_S = 300.0


@dataclass(slots=True)
class Soak:
    """The run: a user's folder, the outside, and what the kills met."""

    world: World
    provider: ImagesProvider
    stores: dict[str, Contents]
    chance: random.Random
    feed: Feed
    doubts: set[str] = field(default_factory=set)
    met: Counter[str] = field(default_factory=Counter)

    def planned(self) -> int:
        """How many generations were planned so far."""
        return len(rows(self.world.folder / "data", "select 1 from generations"))

    def life_and_death(self) -> None:
        """Start a daemon, kill it at a random moment, and look at what it leaves."""
        before = self._owners()
        process = self.world.start("run")
        try:
            with suppress(subprocess.TimeoutExpired):
                process.wait(self._moment(process, before))
        finally:
            process.kill()
            code = process.wait()
        if code != -signal.SIGKILL:
            raise RuntimeError(f"the daemon ended by itself with {code}: {self._said()}")
        self.doubts |= doubtful(self.world)
        self._note(before)

    def _moment(self, process: subprocess.Popen[str], before: set[str]) -> float:
        """The seconds from now to the kill; for most, now is when the process has taken its lock."""
        if self.chance.random() < STARTING_SHARE:
            return self.chance.uniform(0.0, STARTING_S)
        while not self._owners() - before and process.poll() is None:
            time.sleep(0.005)
        return self.chance.uniform(0.0, LIFE_S)

    def _said(self) -> str:
        return (self.world.folder / "stderr.txt").read_text("utf-8")[-2000:]

    def _note(self, before: set[str]) -> None:
        """What the dead process was doing, the most telling thing first. Its lock shows who it was."""
        data = self.world.folder / "data"
        mine = ", ".join(f"'{owner}'" for owner in self._owners() - before)
        if not mine:
            self.met["starting"] += 1
        elif rows(data, f"select 1 from generations where state = 'submitted' and owner in ({mine})"):  # noqa: S608 - own ids
            self.met["asking"] += 1
        elif rows(data, f"select 1 from images where claimed_by in ({mine})"):  # noqa: S608 - own ids
            self.met["copying"] += 1
        else:
            self.met["between"] += 1

    def _owners(self) -> set[str]:
        folder = self.world.folder / "data" / "owners"
        return {path.name for path in folder.iterdir()} if folder.exists() else set()

    def finish(self, images: int) -> None:
        """Let a daemon live until `images` are stored and nothing is open, then stop it in order."""
        process = self.world.start("run")
        fed = -1
        try:
            end = time.monotonic() + PATIENCE_S
            while (missing := self._missing(images)) or self._is_busy():
                if time.monotonic() > end or process.poll() is not None:
                    raise RuntimeError(f"it never became quiet: {self._said()}")
                if missing != fed:  # an outcome that is found to be unknown needs another prompt in its place
                    self.feed.give(missing)
                    fed = missing
                time.sleep(0.2)
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(60)
        if code != 0:
            raise RuntimeError(f"the last daemon ended with {code}: {self._said()}")

    def _missing(self, images: int) -> int:
        """How many generations more must be planned, so that `images` of them have an answer."""
        found = self.world.sql("select count(*) as n, coalesce(sum(state = 'unknown'), 0) as lost from generations")[0]
        return max(0, images + int(found["lost"]) - int(found["n"]))

    def _is_busy(self) -> bool:
        return bool(self.world.sql(OPEN_WORK))


def _configure(world: World, provider: ImagesProvider, s3: S3Server, oss: OssDouble) -> None:
    world.environment |= {"S3_ID": s3.access_key, "S3_SECRET": s3.secret_key}
    world.environment["ARCHIVER_ARCHIVER__COPIES"] = "4"  # few hands: so that a kill more often meets one at work
    world.keys_of(oss)
    first = s3_section("s3", s3).replace("TEST_KEY_ID", "S3_ID").replace("TEST_KEY_SECRET", "S3_SECRET")
    job = '\n[[jobs]]\nname = "soak"\nschedule = "every 1s"\nprovider = "double"\nstores = ["s3", "oss"]\n'
    world.configure(
        first + oss_section("oss", oss) + job + 'prompts_file = "prompts.txt"\n', provider=provider, concurrency=2
    )


def _moods(chance: random.Random) -> Callable[[Request], Fault | None]:
    """A store that takes its time, and refuses one put in thirty."""

    def mood(request: Request) -> Fault | None:
        if request.method == "PUT" and chance.random() < 1 / 30:
            return Fault(status=503)
        return Fault(delay=chance.uniform(0.1, 0.4))

    return mood


def soak(kills: int, images: int, seed: int) -> tuple[Verdict, Counter[str], float]:
    """Run it. Returns the oracle's figures, what the kills met, and the seconds. Raises what `main` catches."""
    began = time.monotonic()
    chance = random.Random(seed)  # noqa: S311 - moments, no secrets
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        provider = stack.enter_context(ImagesProvider(latency=LATENCY_S))
        oss = stack.enter_context(OssDouble())
        s3 = stack.enter_context(rclone_s3(folder / "rclone"))
        world = World(folder / "user")
        _configure(world, provider, s3, oss)
        oss.script(_moods(random.Random(seed + 1)))  # noqa: S311 - likewise
        stores = {"s3": contents_of(folder / "rclone" / s3.bucket), "oss": contents_of(oss)}
        run = Soak(world, provider, stores, chance, Feed(world.folder / "prompts.txt"))
        for number in range(1, kills + 1):
            due = math.ceil((images + len(run.doubts)) * number / kills)
            run.feed.give(min(due - run.planned(), MOST_AT_ONCE))
            run.life_and_death()
            if number % 25 == 0:
                print(f"{number} kills, {run.planned()} planned, {dict(run.met)}", file=sys.stderr, flush=True)
        run.finish(images)
        verdict = judge(world, provider, stores, run.doubts, oss.secret_key, s3.secret_key)
    return verdict, run.met, time.monotonic() - began


def main() -> int:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    chosen = parser.parse_args()
    print(f"seed {chosen.seed}", file=sys.stderr, flush=True)
    asked = {"soak": "kills", "seed": chosen.seed, "kills": chosen.kills}
    try:
        verdict, met, seconds = soak(chosen.kills, chosen.images, chosen.seed)
    except (AssertionError, RuntimeError) as error:
        print(json.dumps({**asked, "ok": False, "error": str(error)}))
        print(f"FAILED after seed {chosen.seed}: {error}", file=sys.stderr)
        return 1
    figures = verdict.figures()
    print(json.dumps({**asked, "ok": True, "seconds": round(seconds), "kills_met": dict(met), **figures}))
    print(
        f"{chosen.kills} kills in {seconds:.0f} s: {verdict.images} images stored in 2 stores with equal digests;"
        f" {verdict.charges} charges = {verdict.completed} completed + {verdict.unknown_charged} unknown; 0 twice",
        file=sys.stderr,
    )
    return 0 if verdict.images >= chosen.images else 1


if __name__ == "__main__":
    sys.exit(main())
