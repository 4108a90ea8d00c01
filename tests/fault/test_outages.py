"""Outages in virtual time: of the source, before the deadline; of the bucket, for two days; of the clock.

The promise under test: an image that can be fetched during any window of max(10 min, 5 % of its lifetime) before the
deadline is saved, and a bucket outage costs disk space, never images. Every random run prints its seed.
"""

import os
import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from zoneinfo import ZoneInfo

import pytest

from archiver.catalogue import as_text, as_time
from archiver.core import policy
from archiver.transport.reply import retry_after
from tests.fault.lives import DAY, HOUR, LIFETIMES, MINUTE, SECOND, WORDS, End, Life, a_life, evidence_of, live, losses
from tests.fault.virtual_outside import VirtualSource, VirtualStore
from tests.fault.virtual_process import Process
from tests.fault.virtual_world import VirtualWorld, virtual_world

OUTAGES = int(os.environ.get("ARCHIVER_OUTAGES", "10000"))


@pytest.fixture
def seed() -> int:
    """A new one each time, printed."""
    chosen = int(os.environ.get("ARCHIVER_SEED") or random.SystemRandom().randrange(2**32))
    print(f"ARCHIVER_SEED={chosen}")
    return chosen


# --- the source, as the policy alone sees it -------------------------------------------------------------------------


@pytest.mark.parametrize("lifetime", LIFETIMES, ids=str)
def test_no_outage_that_leaves_the_window_costs_an_image(lifetime: timedelta, seed: int) -> None:
    """Ten thousand outages of every kind, throttling included; the shortest window that was promised, anywhere."""
    assert losses(seed, lifetime, WORDS, OUTAGES) == []


def test_no_lifetime_between_is_a_weak_spot(seed: int) -> None:
    """From fifteen minutes to thirty days, also where five percent and the longest pause are about the same."""
    chance = random.Random(seed)
    for _ in range(200):
        lifetime = timedelta(minutes=15 * (4 * 24 * 30) ** chance.random())
        assert losses(chance.getrandbits(32), lifetime, WORDS, 20) == [], lifetime


@pytest.mark.parametrize("ahead", [-10, 10])
def test_a_clock_that_is_ten_minutes_off_costs_no_image(ahead: int, seed: int) -> None:
    """Ahead or behind, from the answer on: the deadline is misjudged by that much, and the window is still met."""
    chance = random.Random(seed)
    for lifetime in LIFETIMES[1:]:
        for number in range(500):
            life = a_life(chance, lifetime, WORDS[number % len(WORDS)], at_once_after_a_failure=False)
            wrong = Life(
                issued=life.issued,
                evidence=life.evidence,
                word=life.word,
                opens=life.opens,
                closes=life.closes,
                retry_after=life.retry_after,
                skew=timedelta(minutes=ahead),
            )
            assert live(wrong, chance) is End.SAVED


def test_a_source_that_comes_back_after_the_deadline_still_saves(seed: int) -> None:
    """Refused for hours, then served for an hour, up to the end of the 72 hours of grace."""
    chance = random.Random(seed)
    for number in range(2000):
        lifetime = LIFETIMES[number % len(LIFETIMES)]
        issued = datetime(2026, 11, 20, 9, tzinfo=UTC)
        dies = issued + lifetime
        opens = dies + chance.random() * 70 * HOUR
        word = WORDS[number % len(WORDS)]
        life = Life(issued=issued, evidence=evidence_of(issued, lifetime), word="gone" if "throttled" in word else word,
                    opens=opens, closes=opens + 61 * MINUTE)  # fmt: skip
        assert live(life, chance) is End.SAVED


def test_an_image_that_is_always_refused_is_lost_and_not_too_soon(seed: int) -> None:
    """The lives above could end so, and do when there is no window at all."""
    chance = random.Random(seed)
    issued = datetime(2026, 11, 20, 9, tzinfo=UTC)
    for lifetime in LIFETIMES:
        grace = issued + lifetime + policy.GRACE
        for closes, end in ((grace - SECOND, End.LATE), (grace + 4 * HOUR, End.LOST)):
            life = Life(issued=issued, evidence=evidence_of(issued, lifetime), word="gone", opens=closes, closes=closes)
            assert live(life, chance) is end


# --- pauses that the other side asks for -----------------------------------------------------------------------------


def _pauses(chance: random.Random) -> Iterator[tuple[str, str]]:
    """Two hundred `Retry-After` headers, with the reply's own `Date`: sensible, odd, and senseless."""
    now = datetime(2026, 10, 25, 0, 59, 50, tzinfo=UTC)  # ten seconds before clocks in Europe go back
    said = format_datetime(now, usegmt=True)
    odd = ["", " ", "0", "-1", "1.5", "1e3", "١٢", "²", "0x10", "1, 2", "soon", "NaN", "inf", "9" * 400, "\x00", "1_0"]
    zones = [UTC, *(ZoneInfo(name) for name in ("Europe/Berlin", "America/New_York", "Asia/Shanghai"))]
    for text in odd:
        yield text, said
    for number in range(92):
        yield str(int(10 ** chance.uniform(0, 9))), said if number % 2 else ""
    for number in range(92):
        then = (now + timedelta(seconds=chance.uniform(-(10**6), 10**6))).astimezone(zones[number % 4])
        yield (format_datetime(then, usegmt=number % 4 == 0), said if number % 8 else "no date")


def test_two_hundred_retry_after_values_are_kept_within_bounds(seed: int) -> None:
    """Read or not: the next attempt is at least a second away and never beyond what the deadline allows; a paid request
    waits at most an hour and a quarter."""
    chance = random.Random(seed)
    headers = list(_pauses(chance))
    assert len(headers) == 200
    now = datetime(2026, 11, 20, 9, tzinfo=UTC)
    read = 0
    for text, date in headers:
        seconds = retry_after({"retry-after": text, "date": date})
        read += seconds is not None
        for left in (MINUTE, 10 * MINUTE, HOUR, 7 * DAY, -DAY):
            again = policy.next_attempt(
                "throttled", now=now, deadline=now + left, attempts=3, luck=chance.random(), retry_after=seconds
            )
            longest = 900.0 if left < 0 * SECOND else min(900.0, max(5.0, left.total_seconds() / 20))
            assert SECOND <= again - now <= timedelta(seconds=longest + 1)
        verdict = policy.after_submit("throttled", now=now, attempts=1, luck=chance.random(), retry_after=seconds)
        assert verdict.not_before is not None
        assert SECOND <= verdict.not_before - now <= 1.25 * HOUR
    assert read > 100, "most of them are understood"


# --- clocks ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The machine's own zone, which nothing may depend on."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"], indirect=True)
@pytest.mark.usefixtures("zone")
def test_the_nights_of_daylight_saving_change_no_time(seed: int) -> None:
    """Times read back as they were written, in order, and lives are as long as ever, on a machine that keeps local
    time."""
    for day in (
        datetime(2026, 3, 29, tzinfo=UTC),
        datetime(2026, 10, 25, tzinfo=UTC),
        datetime(2026, 11, 1, tzinfo=UTC),
    ):
        moments = [day - 12 * HOUR + 7 * number * MINUTE for number in range(200)]
        assert [as_time(as_text(moment)) for moment in moments] == moments
        assert sorted(map(as_text, moments)) == [as_text(moment) for moment in moments]
        for moment in moments[::20]:
            deadline, decided = policy.decide_deadline(evidence_of(moment, HOUR), moment)
            assert (decided.at - moment, deadline - moment) == (HOUR, 57 * MINUTE)
    assert losses(seed, HOUR, WORDS, 200) == []


@pytest.mark.parametrize("word", ["transient", "gone", "corrupt", "permanent"])
def test_a_clock_that_was_set_back_makes_no_time(word: str) -> None:
    """The pause is never longer than it was at the beginning of the image's life; hours of odd data hurry nobody."""
    made = datetime(2026, 11, 20, 9, tzinfo=UTC)

    def pause(back: timedelta, lifetime: timedelta) -> timedelta:
        now = made - back
        again = policy.next_attempt(
            word, now=now, deadline=made + lifetime, attempts=12, luck=0.999, created=made, retry_after=None
        )
        return again - now

    assert pause(30 * DAY, 2 * HOUR) == pause(0 * DAY, 2 * HOUR) < 7 * MINUTE
    assert pause(30 * DAY, 10 * MINUTE) <= 3 * MINUTE + SECOND
    assert pause(30 * DAY, -DAY) > 2 * MINUTE, "a file may say that an image was made after its end"


@pytest.mark.parametrize("fault", ["down", "cut"])
@pytest.mark.parametrize("jump", [-30 * DAY, -9 * HOUR, -20 * MINUTE, 20 * MINUTE, 9 * HOUR, 30 * DAY], ids=str)
def test_a_clock_that_is_set_during_an_outage_costs_no_image(jump: timedelta, fault: str, seed: int) -> None:
    """The source fails, the clock is set, the source serves for its ten minutes: stored, whatever the clock says.

    A clock that runs ahead of the deadline makes us think that there is nothing to hurry for: it takes a quarter of an
    hour then, the longest pause.
    """
    with virtual_world(seed) as world:
        process = _begin(world, lifetimes=[HOUR] * 60)
        world.source.mode = fault
        _work(world, process, until=world.time.true + 20 * MINUTE, step=MINUTE)
        assert _states(world) == {"pending": 60}
        world.time.jump(jump)
        _work(world, process, until=world.time.true + 5 * MINUTE, step=MINUTE)
        world.source.mode = ""
        window = 16 * MINUTE if jump > HOUR else 10 * MINUTE
        _work(world, process, until=world.time.true + window, step=MINUTE)
        assert _states(world) == {"stored": 60}


# --- the bucket ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "images"),
    [("down", 200), *((fault, 12) for fault in ("denied", "throttled", "reply lost", "other digest", "no records"))],
)
def test_a_bucket_outage_of_48_hours_costs_no_image(fault: str, images: int, seed: int) -> None:
    """Images of mixed lifetimes, one store down for two days in which nearly every URL dies; then all is stored, once,
    and the spool is empty."""
    with virtual_world(seed) as world:
        lifetimes = [(10 * MINUTE, HOUR, HOUR, DAY, 7 * DAY)[number % 5] for number in range(images)]
        process = _begin(world, lifetimes=lifetimes, fault=fault)
        assert not _states(world).get("stored")
        _work(world, process, until=world.time.true + HOUR, step=5 * MINUTE)
        _work(world, process, until=world.time.true + 47 * HOUR, step=HOUR)
        assert set(_states(world)) <= {"spooled", "pending"}
        dead = sum(world.source.is_dead([text]) for text in world.source.links)
        assert dead == images - images // 5
        fetched = {name: words.count("served") for name, words in world.source.answers.items()}
        world.far.mode = ""
        _work(world, process, until=world.time.true + HOUR, step=5 * MINUTE)
        assert _states(world) == {"stored": images}
        assert list((world.folder / "spool").iterdir()) == []
        assert list((world.folder / "inbox").iterdir()) == []
        assert {name: words.count("served") for name, words in world.source.answers.items()} == fetched
        assert set(fetched.values()) == {1}, "no image was fetched twice"
        for store in (world.near, world.far):
            assert len(_pictures(store)) == images


def test_a_bucket_outage_does_not_keep_us_from_urls_that_die(seed: int) -> None:
    """Amid two hundred images that wait for the bucket, new ones are rescued at their first turn."""
    with virtual_world(seed) as world:
        process = _begin(world, lifetimes=[7 * DAY] * 200, fault="down")
        for _ in range(10):
            world.time.pass_by(20 * MINUTE)
            before = _states(world)["spooled"]
            _ask(world, process, [10 * MINUTE])
            ticket = process.claim()
            assert ticket is not None
            assert ticket.spooled is None, "what is safe already is not served first"
            process.copy()
            process.drain()
            assert _states(world)["spooled"] == before + 1


def _begin(world: VirtualWorld, *, lifetimes: list[timedelta], fault: str = "") -> Process:
    """A process that asked for one image of each lifetime, with the far store out of order."""
    process = world.open_process()
    assert process is not None
    world.far.mode = fault
    _ask(world, process, lifetimes)
    if fault:
        process.drain()
        world.age_files()
    return process


def _ask(world: VirtualWorld, process: Process, lifetimes: list[timedelta]) -> None:
    provider = world.providers["signed"]
    for lifetime in lifetimes:
        provider.lifetime = lifetime
        world.generate(process, "signed", 1, ("near", "far"))
        assert process.ask(provider)


def _work(world: VirtualWorld, process: Process, *, until: datetime, step: timedelta) -> None:
    while world.time.true < until:
        world.time.pass_by(step)
        process.drain()
        assert process.pipeline.expire() == 0
        world.age_files()


def _states(world: VirtualWorld) -> dict[str, int]:
    return {row["state"]: row["n"] for row in world.rows("select state, count(*) as n from images group by state")}


def _pictures(store: VirtualStore) -> list[str]:
    return [key for key in store.objects if "_lineage/" not in key]


def test_the_source_of_these_tests_dies_when_it_says(seed: int) -> None:
    """The outside that all of this is judged by: a link serves before its time, and not after it."""
    with virtual_world(seed) as world:
        source: VirtualSource = world.source
        link = source.issue("a", HOUR, signed=True)
        assert not source.is_dead([link])
        world.time.pass_by(HOUR - SECOND)
        assert not source.is_dead([link])
        world.time.pass_by(SECOND)
        assert source.is_dead([link])
