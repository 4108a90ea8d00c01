"""Setbacks: things that went wrong once in a review or a crash, each with the outcome that must hold."""

import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from archiver.core.errors import Unusable
from archiver.pipeline.crew import Crew
from archiver.pipeline.gang import Gang
from archiver.pipeline.spool import Spool
from archiver.transport import Body
from tests.doubles.oss import OssDouble
from tests.doubles.provider import ImagesProvider
from tests.doubles.source import Behaviour
from tests.pipeline.workshop import Clock, Workshop, open_workshop


@pytest.fixture
def clock() -> Clock:
    """Starts with the machine's time: the OSS double compares its own."""
    return Clock(datetime.now(UTC))


def _spooled(shop: Workshop, far: OssDouble, *prompts: str) -> None:
    """Bring images into the spool: the far store is down while they are copied."""
    shop.plan("double", *prompts, stores=("far",))
    shop.ask("double")
    far.down()
    shop.copy()


def test_urls_that_die_come_before_bytes_that_are_safe(tmp_path: Path, clock: Clock) -> None:
    """A spooled image, however old, never keeps a copier from a pending one."""
    with (
        ImagesProvider(now=clock) as double,
        OssDouble() as far,
        open_workshop(tmp_path / "d", far=far, double=double, clock=clock) as shop,
    ):
        _spooled(shop, far, "an old fox")
        clock.advance(hours=3)
        shop.plan("double", "a young fox", stores=("far",))
        shop.ask("double")
        first, second = shop.pipeline.next_to_copy(), shop.pipeline.next_to_copy()
        old, young = shop.images()
        assert old["deadline"] < young["deadline"]
        assert first is not None
        assert second is not None
        assert (first.spooled, second.spooled is not None) == (None, True)


def test_a_stutter_of_the_disk_is_not_rot(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many open files while a spool file is read: the image stays spooled, and its file is used later."""
    with (
        ImagesProvider() as double,
        OssDouble() as far,
        open_workshop(tmp_path / "d", far=far, double=double, clock=clock) as shop,
    ):
        _spooled(shop, far, "a fox")
        far.up()
        double.source.down()

        def out_of_files(_: object) -> Body:
            raise OSError(24, os.strerror(24))

        clock.advance(hours=1)
        with monkeypatch.context() as broken:
            broken.setattr(Body, "from_file", out_of_files)
            shop.copy()
        assert shop.states() == ["spooled"]
        clock.advance(hours=1)
        shop.copy()
        assert shop.states() == ["stored"]


def test_an_unexpected_fault_leaves_a_spooled_image_spooled(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug in a store is no reason to forget bytes whose URL is dead."""
    with (
        ImagesProvider() as double,
        OssDouble() as far,
        open_workshop(tmp_path / "d", far=far, double=double, clock=clock) as shop,
    ):
        _spooled(shop, far, "a fox")
        double.source.down()

        def buggy(*_: object) -> None:
            raise RuntimeError("a bug")

        monkeypatch.setattr(shop.pipeline.carrier.stores["far"], "put_new", buggy)
        clock.advance(hours=1)
        shop.copy()
        assert shop.states() == ["spooled"]
        assert len(shop.files("spool")) == 1


def test_rotten_inline_bytes_are_taken_from_the_answer_again(tmp_path: Path, clock: Clock) -> None:
    """There is no URL, but the answer that they came in lies on disk until they are stored."""
    with (
        ImagesProvider() as double,
        OssDouble() as far,
        open_workshop(tmp_path / "d", far=far, double=double, clock=clock, response_format="b64_json") as shop,
    ):
        shop.plan("double", "a fox", stores=("far",), n=2)
        shop.ask("double")
        kept = sorted((shop.data_dir / "spool").iterdir())
        kept[1].write_bytes(b"rot")
        for _ in range(3):
            shop.copy()
            clock.advance(hours=1)
        assert shop.states() == ["stored", "stored"]
        rows = sorted(shop.catalogue.reports.lineage("fox"), key=lambda row: str(row["image_id"]))
        assert [far.objects[row["key"]].body for row in rows] == [double.image("a fox", index) for index in (0, 1)]


@pytest.mark.parametrize("torn", [b'\0\0\0{"x\n', b"{}\n", b'{"status": "x"}\n', b"[]\nbody", b"\xff\xfe\n"])
def test_a_torn_answer_stops_nobody(tmp_path: Path, torn: bytes) -> None:
    """What a power loss made of a first line is no answer; the generation is in doubt, and work goes on."""
    with ImagesProvider() as double, open_workshop(tmp_path / "d", double=double) as shop:
        (fox,) = shop.plan("double", "a fox")
        shop.catalogue.generations.begin_submit("double", "gone", shop.clock())
        (shop.data_dir / "inbox" / f"{fox}.part").write_bytes(torn)
        shop.pipeline.recover()
        assert shop.generation(fox)["state"] == "unknown"
        assert shop.files("inbox") == [f"{fox}.odd"]


def test_an_adapter_that_stumbles_over_a_leftover_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One answer cannot be taken over; the next one is."""
    with ImagesProvider() as double, open_workshop(tmp_path / "d", double=double) as shop:
        bad, good = shop.plan("double", "a fox", "a hare")
        head = b'{"status": 200, "content_type": "application/json", "received_at": "2026-11-20T09:00:00+00:00"}\n'
        for generation in (bad, good):
            shop.catalogue.generations.begin_submit("double", "gone", shop.clock())
            body = b'{"data": [{"url": "https://images.example/%s.png"}]}' % generation.encode()
            (shop.data_dir / "inbox" / f"{generation}.answer").write_bytes(head + body)
        provider = shop.pipeline.providers["double"]
        read = provider.read

        def stumbles(answer: object) -> object:
            if bad.encode() in answer.body:  # type: ignore[attr-defined]
                raise ZeroDivisionError
            return read(answer)  # type: ignore[arg-type]

        monkeypatch.setattr(provider, "read", stumbles)
        shop.pipeline.recover()
        assert shop.generation(bad)["state"] == "submitted"
        assert shop.generation(good)["state"] == "completed"


def test_an_answer_that_was_believed_lost_is_read_after_all(tmp_path: Path) -> None:
    """The disk failed just after the rename: unknown, but the whole answer lies there. The next process reads it."""
    with ImagesProvider() as double, open_workshop(tmp_path / "d", double=double) as shop:
        (fox,) = shop.plan("double", "a fox")
        shop.ask("double")
        (answer,) = (shop.data_dir / "inbox").glob("*.answer")
        (hare,) = shop.plan("double", "a hare")
        shop.catalogue.generations.begin_submit("double", shop.pipeline.owner.id, shop.clock())
        shop.catalogue.generations.doubt(hare, shop.pipeline.owner.id, "the disk failed", shop.clock())
        answer.with_stem(hare).write_bytes(answer.read_bytes())
        shop.pipeline.recover()
        assert shop.generation(hare)["state"] == "completed"
        assert shop.generation(fox)["state"] == "completed"


def test_a_sweep_does_not_mind_files_that_come_and_go(tmp_path: Path) -> None:
    """Copiers rename and remove spool files while it looks."""
    spool = Spool(tmp_path)
    done = threading.Event()

    def busy() -> None:
        number = 0
        while not done.is_set():
            name = spool.keep(f"i{threading.get_ident()}-{number}", Body.of(b"%d" % number))
            spool.discard(name)
            number += 1

    threads = [threading.Thread(target=busy) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(300):
            spool.sweep(set(), datetime(2000, 1, 1, tzinfo=UTC), since=datetime(1970, 1, 1, tzinfo=UTC))
    finally:
        done.set()
        for thread in threads:
            thread.join()


def test_a_store_that_left_the_configuration_stops_nobody(tmp_path: Path, clock: Clock) -> None:
    """Its copy was confirmed without a record: the image waits with a reason, the others are settled."""
    with ImagesProvider() as double, OssDouble() as far:
        with open_workshop(tmp_path / "d", far=far, double=double, clock=clock) as shop:
            shop.plan("double", "a fox", stores=("far",))
            shop.ask("double")
            ticket = shop.pipeline.next_to_copy()
            assert ticket is not None
            outcome = shop.pipeline.copy(ticket)
            far.down()
            shop.pipeline.settler.settle([outcome])
        clock.advance(hours=1)
        with open_workshop(tmp_path / "d", double=double, clock=clock) as without:
            without.plan("double", "a hare")
            without.ask("double")
            without.copy()
            assert sorted(without.states()) == ["pending", "stored"]
            (waiting,) = without.catalogue.reports.images(states=["pending"], limit=9)
            assert "not in the configuration" in waiting["error"]


def test_an_error_while_stopping_is_not_swallowed(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The catalogue fails while the crew finishes what is in flight: whoever stopped it hears of it."""
    with ImagesProvider(latency=1) as double, open_workshop(tmp_path / "d", double=double, clock=clock) as shop:

        def broken(*_: object, **__: object) -> None:
            raise Unusable("the disk is full")

        shop.plan("double", "a fox")
        with pytest.raises(Unusable, match="disk is full"), Crew(shop.pipeline, copies=2) as crew:
            for _ in crew.work():
                if double.charges:
                    monkeypatch.setattr(shop.catalogue.generations, "complete", broken)
                    crew.stop()


def test_a_machine_without_threads_keeps_what_was_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second member cannot be made: the first one does all the work."""
    tasks = list(range(5))
    done: list[int] = []
    idle = threading.Event()
    start = threading.Thread.start
    started: list[threading.Thread] = []

    def scarce(thread: threading.Thread) -> None:
        if started:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    def take():
        if not tasks:
            return None
        number = tasks.pop()
        return lambda: done.append(number)

    monkeypatch.setattr(threading.Thread, "start", scarce)
    failures: list[BaseException] = []
    gang = Gang("few", take, 8, failed=failures.append, idle=idle.set)
    gang.wake()
    while not gang.is_idle:
        assert idle.wait(30)
        idle.clear()
    gang.stop()
    gang.join()
    assert sorted(done) == [0, 1, 2, 3, 4]
    assert failures == []


def test_an_answer_is_dated_when_it_came(tmp_path: Path) -> None:
    """Not when the provider was asked: the lifetime of its URLs counts from the answer."""
    clock = Clock(datetime(2026, 11, 20, 9, 0, tzinfo=UTC))
    with ImagesProvider(signed=False) as double, open_workshop(tmp_path / "d", double=double, clock=clock) as shop:
        provider = shop.pipeline.providers["double"]
        (fox,) = shop.plan("double", "a fox")
        submission = shop.pipeline.next_to_submit(provider)
        assert submission is not None
        send = provider.submit

        class Slow:
            name, model, concurrency, promise = provider.name, provider.model, 1, provider.promise
            read = provider.read

            def submit(self, *given: object) -> None:
                clock.advance(minutes=3)
                send(*given)  # type: ignore[arg-type]

        shop.pipeline.submit(Slow(), submission)  # type: ignore[arg-type]
        (image,) = shop.images()
        story = shop.catalogue.reports.image(image["image_id"])
        assert story is not None
        assert story["generation"]["answered_at"] == "2026-11-20T09:03:00.000Z"
        assert image["deadline"] > "2026-11-27T08:57:00"
        assert fox == story["generation_id"]


def test_answers_of_lost_images_go_too(tmp_path: Path, clock: Clock) -> None:
    """They hold signed URLs; when the last image has come to its end, the file has done its duty."""
    with (
        ImagesProvider(image_first=(Behaviour(status=404),) * 1000, lifetime=timedelta(hours=1)) as double,
        open_workshop(tmp_path / "d", double=double, clock=clock) as shop,
    ):
        shop.plan("double", "a fox")
        shop.ask("double")
        for _ in range(90):
            shop.copy()
            shop.pipeline.expire()
            clock.advance(hours=1)
        assert shop.states() == ["lost"]
        shop.pipeline.recover()
        assert shop.files("inbox") == []


def test_a_task_is_polled_while_another_provider_is_busy(tmp_path: Path, clock: Clock) -> None:
    """Polls come in time although news of other work never ends."""
    settings = {"tasks": True, "latency": "1s"}
    with (
        ImagesProvider(latency=0.2) as double,
        open_workshop(tmp_path / "d", double=double, sandbox_settings=settings, clock=clock, concurrency=1) as shop,
    ):
        (task,) = shop.plan("sandbox", "a fox")
        shop.plan("double", *(f"a hare {number}" for number in range(12)))
        polled_after = None
        with Crew(shop.pipeline, copies=2) as crew:
            for _ in crew.work():
                clock.advance(seconds=0.5)
                if polled_after is None and shop.generation(task)["state"] == "completed":
                    polled_after = len(double.charges)
        assert polled_after is not None
        assert polled_after < 12
