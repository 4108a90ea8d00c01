"""The threads: they overlap where they must, end when all is done, and hand an error to whoever waits."""

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from archiver.core.errors import Unusable
from archiver.pipeline.crew import Crew
from archiver.pipeline.gang import Gang
from tests.doubles.provider import ImagesProvider
from tests.doubles.source import Behaviour
from tests.pipeline.workshop import Clock, open_workshop


def test_a_gang_begins_the_next_task_before_the_first_is_done() -> None:
    """Five tasks that all wait for each other can only end when five threads run at once."""
    barrier = threading.Barrier(5, timeout=30)
    tasks = [barrier.wait] * 5
    met: list[int] = []
    lock = threading.Lock()
    idle = threading.Event()

    def take():
        with lock:
            if not tasks:
                return None
            wait = tasks.pop()
        return lambda: met.append(wait())

    gang = Gang("meet", take, 5, failed=lambda error: None, idle=idle.set)
    gang.wake()
    while not gang.is_idle:
        assert idle.wait(30)
        idle.clear()
    gang.stop()
    gang.join()
    assert sorted(met) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("images", [1, 40])
def test_a_crew_ends_when_everything_is_stored(tmp_path: Path, images: int) -> None:
    """Asking, copying and settling overlap; the loop ends by itself, with nothing left."""
    clock = Clock(datetime.now(UTC))
    with ImagesProvider() as double, open_workshop(tmp_path / "d", double=double, clock=clock) as shop:
        shop.plan("double", *(f"a fox {number}" for number in range(images)))
        with Crew(shop.pipeline, copies=8) as crew:
            for _ in crew.work():
                pass
        assert crew.tally.asked == crew.tally.stored == images
        assert set(shop.states()) == {"stored"}
        assert shop.catalogue.images.claimants() == []


def test_postponed_work_does_not_hold_up_the_end(tmp_path: Path) -> None:
    """An image that fails is tried once in this run; the others are stored; the crew ends."""
    clock = Clock(datetime.now(UTC))
    with (
        ImagesProvider(image_first=(Behaviour(status=503),)) as double,
        open_workshop(tmp_path / "d", double=double, clock=clock) as shop,
    ):
        shop.plan("double", "a fox", "a hare")
        with Crew(shop.pipeline, copies=8) as crew:
            for _ in crew.work():
                pass
        assert (crew.tally.stored, crew.tally.postponed) == (0, 2)
        clock.advance(hours=1)
        with Crew(shop.pipeline, copies=8) as crew:
            for _ in crew.work():
                pass
        assert (crew.tally.stored, crew.tally.postponed) == (2, 0)


def test_an_error_of_the_catalogue_reaches_whoever_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A catalogue that cannot be written ends the crew with that error; no thread is left behind."""
    clock = Clock(datetime.now(UTC))
    before = set(threading.enumerate())
    with ImagesProvider() as double, open_workshop(tmp_path / "d", double=double, clock=clock) as shop:

        def broken(*_: object, **__: object) -> None:
            raise Unusable("the disk is full")

        shop.plan("double", "a fox", "a hare")
        monkeypatch.setattr(shop.catalogue.images, "settle", broken)
        with pytest.raises(Unusable, match="disk is full"), Crew(shop.pipeline, copies=4) as crew:
            for _ in crew.work():
                pass
        left = [
            thread for thread in set(threading.enumerate()) - before if thread.name.startswith(("ask", "copy", "set"))
        ]
        assert left == []


def test_a_stopped_crew_finishes_what_is_in_flight(tmp_path: Path) -> None:
    """Stopped in the middle of a paid call, it waits for the answer and archives its image."""
    clock = Clock(datetime.now(UTC))
    with ImagesProvider(latency=1) as double, open_workshop(tmp_path / "d", double=double, clock=clock) as shop:
        shop.plan("double", *(f"a fox {number}" for number in range(30)))
        with Crew(shop.pipeline, copies=4) as crew:
            for _ in crew.work():
                if double.charges:
                    crew.stop()
        assert shop.states() == ["stored"] * len(double.charges)
        assert 1 <= len(double.charges) <= 16


def test_waiting_until_tries_postponed_work_again(tmp_path: Path) -> None:
    """With `until`, what failed a moment ago is tried again within the same run."""
    clock = Clock(datetime.now(UTC))
    with (
        ImagesProvider(image_first=(Behaviour(status=503),)) as double,
        open_workshop(tmp_path / "d", double=double, clock=clock) as shop,
    ):
        shop.plan("double", "a fox")
        with Crew(shop.pipeline, copies=4) as crew:
            has_waited = False
            for _ in crew.work(until=clock() + timedelta(hours=1)):
                if crew.tally.postponed and not has_waited:
                    clock.advance(minutes=20)
                    has_waited = True
        assert has_waited
        assert crew.tally.stored == 1
