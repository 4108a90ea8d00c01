"""Gates: a sick host, bucket or provider rests, and starves nobody else. Nothing is lost by a closed gate."""

import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from archiver.catalogue import Arrival, Draft
from archiver.core import policy
from archiver.core.errors import AdapterError, Corrupt, KeyTaken, Permanent, Throttled, Transient
from archiver.core.model import Receipt, Ticket
from archiver.core.tempurl import TemporaryURL
from archiver.pipeline.crew import Crew
from archiver.resilience import GatedStore, Gates, Word
from archiver.transport import Body, FetchedBody
from tests.doubles.oss import OssDouble
from tests.doubles.pngs import png
from tests.doubles.provider import ImagesProvider
from tests.doubles.source import Behaviour, ImageSource
from tests.doubles.wire import Fault
from tests.pipeline.workshop import START, Clock, Workshop, open_workshop

KINDS = (("bad", 100), ("good", 1_000))
SICK = Word("transient")
ROOM = 10**12


def close(
    gates: Gates, name: str, now: datetime, word: Word = SICK, times: int = policy.MOST_FAILURES_OF_A_GATE
) -> None:
    """Let so many passages end with `word`."""
    for _ in range(times):
        assert gates.enter(name, now) is None
        gates.leave(name, now, 0.5, word)


# --- the gate --------------------------------------------------------------------------------------------------------


def test_f071_a_gate_closes_after_five_failures_in_a_row_and_for_no_other_name() -> None:
    gates = Gates()
    close(gates, "a", START, times=4)
    assert gates.resting(START) == frozenset()
    close(gates, "a", START, times=1)
    assert gates.resting(START) == {"a"}
    assert gates.enter("a", START) == timedelta(seconds=0.5)
    assert gates.enter("b", START) is None


def test_f071_a_success_between_failures_starts_the_count_anew() -> None:
    gates = Gates()
    for word in (SICK, SICK, SICK, SICK, Word(), SICK, SICK, SICK, Word("gone"), SICK, SICK, SICK, SICK):
        close(gates, "a", START, word, times=1)
    assert gates.resting(START) == frozenset()


def test_f071_one_probe_goes_through_after_the_pause_and_opens_or_closes() -> None:
    """Nobody passes before its end; then one, and a second one only when the first came back well."""
    gates = Gates()
    close(gates, "a", START)
    later = START + timedelta(seconds=0.5)
    assert gates.enter("a", later) is None
    assert gates.enter("a", later) is not None
    assert gates.resting(later) == {"a"}
    gates.leave("a", later, 0.5, SICK)
    assert gates.pause("a", later) == timedelta(seconds=1)
    later += timedelta(seconds=1)
    assert gates.enter("a", later) is None
    gates.leave("a", later, 0.5, Word())
    assert [gates.enter("a", later) for _ in range(3)] == [None] * 3


def test_f092_pauses_grow_to_a_minute_and_are_spread() -> None:
    """Full jitter: anywhere between nothing and the cap, which doubles from 1 s to 60 s."""
    for failures, most in zip(range(5, 14), (1, 2, 4, 8, 16, 32, 60, 60, 60), strict=True):
        pauses = [policy.gate_pause("transient", failures=failures, luck=luck) for luck in (0.0, 0.5, 1.0)]
        assert pauses == [timedelta(seconds=most * luck) for luck in (0.0, 0.5, 1.0)]
    assert policy.gate_pause("transient", failures=4, luck=1.0) is None
    assert policy.gate_pause("transient", failures=100_000, luck=1.0) == timedelta(seconds=60)


@pytest.mark.parametrize(("asked", "given"), [(0.0, 1.0), (30.0, 30.0), (86_400.0, 3600.0)])
def test_f071_a_retry_after_closes_at_once_for_that_long(asked: float, given: float) -> None:
    gates = Gates()
    close(gates, "a", START, Word("throttled", asked), times=1)
    assert gates.pause("a", START) == timedelta(seconds=given)


def test_f071_what_was_under_way_when_the_gate_closed_makes_it_no_worse() -> None:
    """Sixteen fail together: that is one outage, not twelve."""
    gates = Gates()
    for _ in range(16):
        assert gates.enter("a", START) is None
    for _ in range(16):
        gates.leave("a", START, 1.0, SICK)
    assert gates.pause("a", START) == timedelta(seconds=1)


def test_f036_a_clock_that_is_set_back_opens_the_gate() -> None:
    """Eight days back, the pause would last for eight days."""
    gates = Gates()
    close(gates, "a", START, Word("throttled", 60.0), times=1)
    assert gates.enter("a", START - timedelta(days=8)) is None


# --- stores ----------------------------------------------------------------------------------------------------------


class _Store:
    """Raises what it is told to; counts."""

    name, prefix = "far", "archive/"

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.puts = 0

    def put_new(self, *_: object) -> None:
        self.puts += 1
        if self.error:
            raise self.error


def test_f075_a_closed_store_is_not_tried_and_says_how_long() -> None:
    """`Throttled` with the rest of the pause. A key that is taken and a denial close nothing: it answers."""
    store, clock = _Store(), Clock()
    gated = GatedStore(inner=store, gates=Gates(), now=clock, luck=lambda: 0.5)  # type: ignore[arg-type]
    for error in [KeyTaken("x")] * 9 + [Permanent("denied")] * 9 + [Transient("down")] * 5:
        store.error = error
        with pytest.raises(type(error)):
            gated.put_new("k", Body.of(b"x"), "image/png", {})
    puts = store.puts
    with pytest.raises(Throttled) as caught:
        gated.put_new("k", Body.of(b"x"), "image/png", {})
    assert (store.puts, caught.value.retry_after) == (puts, 0.5)
    store.error = None
    clock.advance(seconds=1)
    gated.put_new("k", Body.of(b"x"), "image/png", {})
    assert store.puts == puts + 1


def test_f075_one_bucket_sick_of_two(tmp_path: Path) -> None:
    """Forty images want both. The sick one gets five puts and then rests; every image is in the other one, and rescued.
    Healed, all are stored, and nothing was fetched twice."""
    clock = Clock(datetime.now(UTC))
    with (
        ImagesProvider() as double,
        OssDouble() as far,
        open_workshop(tmp_path / "d", far=far, double=double, clock=clock, free=lambda: ROOM) as shop,
    ):
        shop.plan("double", *(f"fox {number}" for number in range(40)), stores=("near", "far"))
        assert shop.ask("double") == 40
        far.script(lambda request: Fault(status=503, code="ServiceUnavailable"))
        before = len(far.requests)
        shop.copy()
        assert shop.states() == ["spooled"] * 40
        assert len(far.requests) - before == 5
        assert len([one for one in shop.images() if "not tried" in one["error"]]) == 35
        assert len(list((tmp_path / "d" / "near").rglob("*.png"))) == 40
        clock.advance(seconds=0.3)
        assert shop.copy() == []  # the gate is closed: nobody reads the spool for nothing
        far.script(None)
        for _ in range(40):
            clock.advance(seconds=30)
            shop.copy()
        assert set(shop.states()) == {"stored"}
        fetched = Counter(seen.key for seen in double.source.requests)
        assert set(fetched.values()) == {1}


# --- hosts -----------------------------------------------------------------------------------------------------------


def adopt(shop: Workshop, urls: list[str], life: timedelta = timedelta(hours=1)) -> None:
    """Take URLs in, the nearest deadline first."""
    now = shop.clock()
    entries = []
    for number, text in enumerate(urls):
        draft = Draft(
            id=shop.new_id(), origin="backfill", prompt=f"p{number}", provider=None, model=None, stores=("near",)
        )
        deadline = now + life + timedelta(milliseconds=number)
        arrival = Arrival(
            id=shop.new_id(),
            index=0,
            deadline=deadline,
            deadline_from="default",
            give_up_at=deadline,
            url=TemporaryURL(text),
        )
        entries.append((draft, arrival))
    shop.catalogue.images.adopt(entries, now)


def stored_of(shop: Workshop, source: ImageSource) -> int:
    """How many images of a host are stored."""
    return len([one for one in shop.images() if one["state"] == "stored" and one["source"].startswith(source.endpoint)])


def test_f071_a_host_that_answers_503_rests_and_the_others_are_stored(tmp_path: Path) -> None:
    """Three hosts; the sick one has the nearest deadlines. It gets five requests; the others' images are all stored in
    the same moment. Healed, its own follow."""
    clock = Clock(datetime.now(UTC))
    with (
        ImageSource() as sick,
        ImageSource() as left,
        ImageSource() as right,
        open_workshop(tmp_path / "d", clock=clock) as shop,
    ):
        ill = [sick.add(f"/{n}.png", png(f"s{n}"), *[Behaviour(status=503)] * 3) for n in range(30)]
        well = [host.add(f"/{n}.png", png(f"w{n}")) for n in range(20) for host in (left, right)]
        adopt(shop, ill + well)
        shop.copy()
        assert (stored_of(shop, left), stored_of(shop, right), stored_of(shop, sick)) == (20, 20, 0)
        assert len(sick.requests) == 5
        for _ in range(100):
            clock.advance(seconds=30)
            shop.copy()
        assert set(shop.states()) == {"stored"}


def test_f071_a_retry_after_is_honoured_for_the_whole_host(tmp_path: Path) -> None:
    """429 with 120 s: one request for fifty images until then."""
    clock = Clock(datetime.now(UTC))
    with ImageSource() as busy, open_workshop(tmp_path / "d", clock=clock) as shop:
        slow = Behaviour(status=429, headers={"Retry-After": "120"})
        adopt(shop, [busy.add(f"/{n}.png", png(f"{n}"), *([slow] if n == 0 else [])) for n in range(50)])
        shop.copy()
        clock.advance(seconds=119)
        shop.copy()
        assert len(busy.requests) == 1
        for _ in range(3):
            clock.advance(seconds=120)
            shop.copy()
        assert set(shop.states()) == {"stored"}


def test_f093_the_last_ten_minutes_of_an_image_are_not_spent_at_a_closed_gate(tmp_path: Path) -> None:
    """A host that asked for an hour's pause has an image that dies in nine minutes: it is tried."""
    clock = Clock(datetime.now(UTC))
    with ImageSource() as busy, open_workshop(tmp_path / "d", clock=clock) as shop:
        adopt(shop, [busy.add("/a.png", png("a"), Behaviour(status=429, headers={"Retry-After": "3600"}))])
        shop.copy()
        adopt(shop, [busy.add("/b.png", png("b"))], life=timedelta(minutes=9))
        adopt(shop, [busy.add("/c.png", png("c"))], life=timedelta(days=7))
        ticket = shop.pipeline.next_to_copy()
        assert ticket is not None
        assert str(ticket.url).endswith("/b.png")
        assert shop.pipeline.next_to_copy() is None


@pytest.mark.parametrize("copies", [2, 4])
def test_f071_a_host_that_hangs_never_has_all_copiers(tmp_path: Path, copies: int) -> None:
    """Three hosts; the one with the nearest deadlines accepts and says nothing. While it hangs, every image of the
    others is stored."""
    clock = Clock(datetime.now(UTC))
    with (
        ImageSource() as hanging,
        ImageSource() as left,
        ImageSource() as right,
        open_workshop(tmp_path / "d", clock=clock) as shop,
    ):
        ill = [hanging.add(f"/{n}.png", png(f"s{n}"), pause=600.0) for n in range(8)]
        well = [host.add(f"/{n}.png", png(f"w{n}")) for n in range(10) for host in (left, right)]
        adopt(shop, ill + well)
        before = (0, 0, 0)
        with Crew(shop.pipeline, copies=copies, asks=False) as crew:
            for tally in crew.work():
                if tally.stored == len(well):
                    crew.stop()
                    before = (stored_of(shop, hanging), stored_of(shop, left), stored_of(shop, right))
                    hanging.down()  # lets go of whoever waits
        assert before == (0, 10, 10)


def test_f071_a_host_alone_may_have_all_copiers_once_it_has_proved_itself(tmp_path: Path) -> None:
    """Half of four until the first image has come; then four at once."""
    clock = Clock(datetime.now(UTC))
    with ImageSource() as only, open_workshop(tmp_path / "d", clock=clock) as shop:
        adopt(shop, [only.add(f"/{n}.png", png(f"{n}")) for n in range(8)])

        def take() -> list[Ticket]:
            tickets: list[Ticket] = []
            while (ticket := shop.pipeline.next_to_copy(copiers=4)) is not None and len(tickets) < 4:
                tickets.append(ticket)
            return tickets

        first = take()
        assert len(first) == 2
        shop.pipeline.settler.settle([shop.pipeline.copy(first[0])])
        assert len(take()) >= 3


class _Memory:
    """A store that keeps names, for many images in a short time."""

    name, prefix = "near", ""

    def __init__(self) -> None:
        self.kept: set[str] = set()

    def put_new(self, key: str, body: Body, *_: object) -> Receipt:
        self.kept.add(key)
        return Receipt(store="near", key=key, sha256=body.sha256, size=body.size, etag=None, proof="read-back")


@contextmanager
def poisoned(folder: Path, error: AdapterError, *, sound: int | None = None) -> Iterator[tuple[Workshop, Counter[str]]]:
    """100 images that always end with `error` and 1,000 good ones of the same host, in virtual time; the poison has the
    nearest deadlines. Also says how often each was tried. With `sound`, nothing comes any more after so many images."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    tried = Counter[str]()
    near: Any = {"near": _Memory()}
    image = png("good")

    def fetch(url: TemporaryURL) -> FetchedBody:
        tried[str(url)] += 1
        if "bad" in str(url) or (sound is not None and tried.total() > sound):
            raise error
        return FetchedBody(body=Body.of(image), headers={})

    with open_workshop(folder, clock=Clock()) as shop:
        shop.pipeline = replace(
            shop.pipeline,
            luck=random.Random(seed).random,
            carrier=replace(shop.pipeline.carrier, fetch=fetch, stores=near),
            settler=replace(shop.pipeline.settler, stores=near),
        )
        bad, good = ([f"https://h.example/{kind}{n}.png" for n in range(size)] for kind, size in KINDS)
        adopt(shop, good if sound is not None else bad + good, life=timedelta(hours=24))
        yield shop, tried


def go_on(shop: Workshop, *, step_s: float, **amount: float) -> None:
    """Work every few seconds for so long."""
    end = shop.clock() + timedelta(**amount)
    while shop.clock() < end:
        shop.clock.advance(seconds=step_s)
        shop.copy()


@pytest.mark.parametrize(("error", "step_s"), [(Transient("503"), 4), (Corrupt("cut"), 4), (Throttled("429"), 1)])
def test_f072_poison_keeps_nobody_from_being_stored(tmp_path: Path, error: AdapterError, step_s: float) -> None:
    """Every good one is stored within half an hour."""
    with poisoned(tmp_path / "d", error) as (shop, tried):
        go_on(shop, step_s=step_s, minutes=30)
        assert shop.states().count("stored") == 1_000
        assert shop.pipeline.doors.hosts.pause("h.example", shop.clock()) <= timedelta(minutes=1)
        assert max(tried.values()) < 30 * 60 / 5


def test_f072_poison_that_asks_for_an_hour_is_not_believed_for_the_whole_host(tmp_path: Path) -> None:
    """The first two pauses are kept, since nothing speaks against them. Then another image of the host comes, and the
    good ones are not held up by a hundred hours of pauses."""
    with poisoned(tmp_path / "d", Throttled("429", 3600.0)) as (shop, _):
        go_on(shop, step_s=10, hours=4)
        assert shop.states().count("stored") == 1_000


def test_f071_a_host_that_served_and_then_asks_for_an_hour_is_hardly_bothered(tmp_path: Path) -> None:
    """A true limit: ten came, then nobody's does. Single probes at growing distances, and the whole hour in the end."""
    with poisoned(tmp_path / "d", Throttled("429", 3600.0), sound=10) as (shop, tried):
        go_on(shop, step_s=1, minutes=50)
        assert shop.states().count("stored") == 10
        assert tried.total() - 10 <= 12
        go_on(shop, step_s=60, hours=5)
        assert tried.total() - 10 <= 20


def test_f095_threads_that_race_for_a_probe_get_one() -> None:
    """Sixteen threads at a gate whose pause is over: one passes."""
    gates = Gates()
    close(gates, "a", START)
    later = START + timedelta(seconds=1)
    ready = threading.Barrier(16, timeout=30)
    passed: list[bool] = []

    def race() -> None:
        ready.wait()
        passed.append(gates.enter("a", later) is None)

    threads = [threading.Thread(target=race) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(passed) == {True: 1, False: 15}
