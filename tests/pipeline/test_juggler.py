"""The thread with many tasks in the air: as many as may, none forgotten, and an error ends the taking."""

import threading
from collections.abc import Callable
from functools import partial

import pytest

from archiver.core.errors import Unusable
from archiver.pipeline.juggler import Juggler
from archiver.transport import aside


class Bench:
    """A juggler over a list of tasks, and what became of them."""

    def __init__(self, tasks: list[Callable[[], None]], limit: int = 3) -> None:
        self.tasks = tasks
        self.failures: list[BaseException] = []
        self.idle = threading.Event()
        self.juggler = Juggler("few", self.take, limit=lambda: limit, failed=self.fail, idle=self.idle.set)

    def take(self) -> Callable[[], None] | None:
        """The next task."""
        return self.tasks.pop(0) if self.tasks else None

    def fail(self, error: BaseException) -> None:
        """Something went wrong."""
        self.failures.append(error)
        self.idle.set()

    def run(self) -> None:
        """Until nothing is left, or something went wrong."""
        self.juggler.wake()
        while not self.juggler.is_idle and not self.failures:
            assert self.idle.wait(30)
            self.idle.clear()
        self.juggler.stop()
        self.juggler.join()

    def rest(self) -> None:
        """Until it is idle, whoever was told."""
        while not self.juggler.is_idle:
            threading.Event().wait(0.001)


def test_never_more_than_the_limit_and_as_many_as_that() -> None:
    """Sixty tasks; three wait for each other, so fewer than three at once would never end."""
    together = threading.Barrier(3, timeout=30)
    most = now = 0

    def task() -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        aside(together.wait)
        now -= 1

    bench = Bench([task] * 60)
    bench.run()
    assert (bench.tasks, bench.failures, most, now) == ([], [], 3, 0)


def test_a_task_that_waits_for_nothing_is_followed_by_the_next() -> None:
    """A thousand of them, without a single turn of the loop between them."""
    done: list[int] = []
    bench = Bench([partial(done.append, number) for number in range(1000)])
    bench.run()
    assert done == list(range(1000))


def test_what_a_task_raises_is_handed_over_and_the_rest_in_hand_ends() -> None:
    """The first fails while the second waits: the second ends, the third is never taken."""
    failed = threading.Event()
    done: list[str] = []

    def fails() -> None:
        aside(lambda: None)
        failed.set()
        raise Unusable("no disk")

    def waits() -> None:
        aside(lambda: failed.wait(30))
        done.append("second")

    bench = Bench([fails, waits, lambda: done.append("third")], limit=2)
    bench.run()
    assert [str(error) for error in bench.failures] == ["no disk"]
    assert done == ["second"]
    assert len(bench.tasks) == 1


def test_what_taking_raises_is_handed_over() -> None:
    """The catalogue cannot be read: whoever waits for the crew learns it, and what is in hand ends."""
    done: list[str] = []
    released = threading.Event()

    def waits() -> None:
        aside(lambda: released.wait(30))
        done.append("first")

    bench = Bench([waits])
    plain = bench.take

    def take() -> Callable[[], None] | None:
        if bench.tasks:
            return plain()
        released.set()
        raise Unusable("malformed")

    bench.juggler = Juggler("few", take, limit=lambda: 2, failed=bench.fail, idle=bench.idle.set)
    bench.run()
    assert [str(error) for error in bench.failures] == ["malformed"]
    assert done == ["first"]


@pytest.mark.parametrize("wakes", [1, 50])
def test_it_rests_and_can_be_woken_again(wakes: int) -> None:
    """Idle is told once nothing is left; a wake after that finds the new task."""
    done: list[str] = []
    bench = Bench([lambda: done.append("first")])
    bench.juggler.wake()
    assert bench.idle.wait(30)
    bench.rest()
    bench.tasks.append(lambda: done.append("second"))
    for _ in range(wakes):
        bench.juggler.wake()
    bench.rest()
    bench.juggler.stop()
    bench.juggler.join()
    assert done == ["first", "second"]


def test_stopping_before_anything_was_taken() -> None:
    """It ends at once; a wake afterwards does nothing."""
    bench = Bench([lambda: None])
    bench.juggler.stop()
    bench.juggler.wake()
    bench.juggler.join()
    bench.juggler.wake()
    assert len(bench.tasks) == 1


def test_whoever_ends_looks_again() -> None:
    """Nothing may be taken while the first is under way (its host has enough); once it has ended, the second may."""
    done: list[str] = []
    under_way: list[str] = []
    asked_in_vain = threading.Event()

    def first() -> None:
        under_way.append("first")
        aside(lambda: asked_in_vain.wait(30))
        under_way.clear()
        done.append("first")

    bench = Bench([first, lambda: done.append("second")])
    plain = bench.take

    def take() -> Callable[[], None] | None:
        if under_way:
            asked_in_vain.set()
            return None
        return plain()

    bench.juggler = Juggler("few", take, limit=lambda: 2, failed=bench.fail, idle=bench.idle.set)
    bench.run()
    assert done == ["first", "second"]
