"""A real outage: both buckets are gone for seconds, every URL of that time dies, and then the buckets come back.

Processes, sockets and clock are real. An S3 server (rclone) refuses connections; an OSS double refuses them and answers
503 by turns. The source is asked for every URL itself, so that nobody takes for dead what could still be fetched. The
buckets have taken images before: spending for one that never did is refused, which is another test.
"""

import dataclasses
import math
import random
import subprocess
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

from tests.crash.feeding import Feed
from tests.crash.oracle import OPEN_WORK, Verdict, contents_of, judge
from tests.doubles.oss import OssDouble
from tests.doubles.provider import ImagesProvider
from tests.doubles.servers import rclone_s3
from tests.doubles.toxics import Toxics
from tests.doubles.wire import Fault
from tests.world import World, oss_section, s3_section

LOOK_EVERY_S = 0.1
PATIENCE_S = 60.0
"""How long the daemon may take for what needs no waiting."""
SHARE_BEFORE = 0.1
"""So much of the images is stored before the outage, and asked for after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lived:
    """What the outage was, and what the oracle found after it."""

    verdict: Verdict
    outage_s: float
    recovery_s: float
    died: int
    moods: int

    def figures(self) -> dict[str, object]:
        """By name: `urls_died` were refused by the source before the buckets came back."""
        return {
            **self.verdict.figures(),
            "outage_s": round(self.outage_s, 1),
            "recovery_s": round(self.recovery_s, 1),
            "urls_died": self.died,
            "moods_of_the_bucket": self.moods,
        }


@dataclass(slots=True)
class Outage:
    """A user's folder, the outside that can be switched off, and a daemon between them."""

    world: World
    provider: ImagesProvider
    s3: Toxics
    s3_endpoint: str
    oss: OssDouble
    feed: Feed
    daemon: subprocess.Popen[str]
    chance: random.Random
    is_off: bool = False
    is_refusing: bool = False
    moods: int = 0

    def switch_off(self) -> None:
        """Both buckets are gone."""
        self.is_off = True
        self.s3.down()
        self.oss.script(lambda _: Fault(status=503))
        self.change_mood()

    def change_mood(self) -> None:
        """The OSS double refuses connections instead of answering 503, or the reverse."""
        self.is_refusing = not self.is_refusing
        self.moods += 1
        (self.oss.down if self.is_refusing else self.oss.up)()

    def switch_on(self) -> None:
        """Both are back, with what they held."""
        answers = [_status(self.s3_endpoint), _status(self.oss.endpoint)]
        assert answers in ([0, 0], [0, 503]), f"the buckets were not gone: {answers}"
        self.is_off = False
        self.oss.script(None)
        if self.is_refusing:
            self.oss.up()
        self.s3.up()

    def feed_until(self, count: int, seconds: float) -> None:
        """Ask for prompts until `count` are planned, evenly over the seconds. A bucket that is off changes its mood."""
        began = time.monotonic()
        had = self.planned()
        change = began + self.chance.uniform(0.2, 0.6) * seconds
        while (missing := count - self.planned()) > 0:
            passed = time.monotonic() - began
            if passed > seconds + PATIENCE_S:
                raise AssertionError(f"{missing} prompts were never planned: {self.said()[-2000:]}")
            due = had + math.ceil((count - had) * min(1.0, (passed + 1.0) / seconds))
            self.feed.give(due - self.planned())
            if self.is_off and time.monotonic() > change:
                self.change_mood()
                change += self.chance.uniform(0.2, 0.6) * seconds
            time.sleep(LOOK_EVERY_S)
        self.feed.give(0)

    def planned(self) -> int:
        """How many generations there are."""
        return int(self.world.sql("select count(*) as n from generations")[0]["n"])

    def states(self) -> Counter[str]:
        """How many images there are in each state; a generation without an answer counts as its own state."""
        found = self.world.sql(
            "select state from images union all select state from generations where state <> 'completed'"
        )
        return Counter(row["state"] for row in found)

    def urls(self) -> list[str]:
        """Every URL of an image that is not stored."""
        unsafe = self.world.sql("select url from images join urls using (seq) where state <> 'stored' order by id")
        return [row["url"] for row in unsafe]

    def until(self, condition: Callable[[], bool], what: str, seconds: float = PATIENCE_S) -> None:
        """Wait for what the daemon does."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end or self.daemon.poll() is not None:
                raise AssertionError(f"not within {seconds:.0f} s: {what}; {self.said()[-2000:]}")
            time.sleep(LOOK_EVERY_S)

    def all_die(self) -> int:
        """Wait until every URL that is not stored yet has died, and ask the source for each. Returns their number."""
        urls: list[str] = []
        while (found := self._rescued()) != urls:  # a tick that was being planned may have brought more
            urls = found
            dates = [parse_qs(urlsplit(url).query)["Expires"][0] for url in urls]
            time.sleep(max(0.0, max(map(int, dates)) - time.time()))
        answers = Counter(map(_status, urls))
        assert set(answers) <= {403, 404}, f"the source still serves what should be dead: {answers}"
        return len(urls)

    def _rescued(self) -> list[str]:
        """The URLs of all images that wait for the buckets, when nothing is under way."""
        self.until(lambda: not self.states().keys() - {"stored", "spooled"}, "everything is rescued to the spool")
        urls = self.urls()
        assert urls, "nothing waits for the buckets: they were not gone"
        return urls

    def said(self) -> str:
        """All that the daemon said."""
        return (self.world.folder / "stderr.txt").read_text("utf-8")


def live_through(*, seconds: float, images: int, lifetime: float, seed: int, folder: Path) -> Lived:
    """Let a daemon archive at least `images`, most of them asked for during an outage of at least so many seconds, in
    which each URL dies after `lifetime` seconds (or up to one earlier: they state whole seconds).

    Raises AssertionError when anything was lost, paid twice, or left lying about.
    """
    with ExitStack() as stack:
        provider = stack.enter_context(ImagesProvider(latency=0.1, lifetime=timedelta(seconds=lifetime), enforce=True))
        oss = stack.enter_context(OssDouble())
        server = stack.enter_context(rclone_s3(folder / "rclone"))
        reached = SimpleNamespace(**dataclasses.asdict(server))
        plug = stack.enter_context(Toxics(reached))
        world = World(folder / "user")
        _configure(world, provider, reached, oss)
        stores = {"s3": contents_of(folder / "rclone" / server.bucket), "oss": contents_of(oss)}
        few = math.ceil(images * SHARE_BEFORE)
        feed = Feed(world.folder / "prompts.txt")
        feed.give(few)
        daemon = world.start("run")
        run = Outage(world, provider, plug, reached.endpoint, oss, feed, daemon, random.Random(seed))
        try:
            run.until(lambda: '"event": "started"' in run.said(), "the daemon is at work")
            run.until(lambda: run.states()["stored"] >= few, "the buckets have taken images")
            began = time.monotonic()
            run.switch_off()
            run.feed_until(images - few, max(1.0, seconds - lifetime))
            died = run.all_die()
            time.sleep(max(0.0, began + seconds - time.monotonic()))
            assert len(run.urls()) == died, "a bucket took something while it was gone"
            run.switch_on()
            ended = time.monotonic()
            run.feed_until(images, 1.0)
            # A bucket that was gone is asked again after a pause that has grown with the outage.
            run.until(lambda: not world.sql(OPEN_WORK), "everything is stored", PATIENCE_S + 4 * seconds)
            recovered = time.monotonic()
        finally:
            code = world.stop(daemon)
        assert code == 0, f"the daemon ended with {code}: {run.said()[-2000:]}"
        assert world.sql("select * from losses") == [], "something was lost"
        verdict = judge(world, provider, stores, set(), oss.secret_key, server.secret_key)
    return Lived(verdict=verdict, outage_s=ended - began, recovery_s=recovered - ended, died=died, moods=run.moods)


def _configure(world: World, provider: ImagesProvider, s3: SimpleNamespace, oss: OssDouble) -> None:
    world.environment |= {"S3_ID": s3.access_key, "S3_SECRET": s3.secret_key}
    world.keys_of(oss)
    first = s3_section("s3", s3).replace("TEST_KEY_ID", "S3_ID").replace("TEST_KEY_SECRET", "S3_SECRET")
    job = '\n[[jobs]]\nname = "soak"\nschedule = "every 1s"\nprovider = "double"\nstores = ["s3", "oss"]\n'
    world.configure(
        first + oss_section("oss", oss) + job + 'prompts_file = "prompts.txt"\n', provider=provider, concurrency=4
    )


def _status(url: str) -> int:
    """What a server answers to one GET, 0 when there is none."""
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=20) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code
    except urllib.error.URLError:
        return 0
