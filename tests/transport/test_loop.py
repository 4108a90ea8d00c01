"""One thread, many transfers: they overlap, keep their own errors, and share connections with their own kind only."""

import os
import resource
import threading
from collections.abc import Callable, Iterator
from functools import partial

import pycurl
import pytest

from archiver.core.errors import AdapterError, Refused, Transient
from archiver.core.model import Network
from archiver.core.tempurl import TemporaryURL
from archiver.transport import AddressGuard, CurlEngine, Loop, aside
from tests.doubles.source import Behaviour, ImageSource

LOOPBACK = "127.0.0.0/8"


@pytest.fixture
def loop() -> Iterator[Loop]:
    """A loop that is closed in the end."""
    made = Loop()
    yield made
    made.close()


@pytest.fixture
def source() -> Iterator[ImageSource]:
    """An image host."""
    with ImageSource() as host:
        yield host


def run(loop: Loop, *tasks: Callable[[], object]) -> list[object]:
    """Run tasks side by side to their ends. What they returned or raised, in their order."""
    results: list[object] = [None] * len(tasks)

    def keep(place: int, task: Callable[[], object]) -> None:
        try:
            results[place] = task()
        except (AdapterError, pycurl.error, ValueError) as error:
            results[place] = error

    for place, task in enumerate(tasks):
        loop.start(partial(keep, place, task))
    while loop.active:
        loop.turn()
    return results


def engine(guard: AddressGuard | None = None) -> CurlEngine:
    """An engine that may fetch from this machine, or with another guard."""
    return CurlEngine(Network(), guard or AddressGuard((LOOPBACK,)))


def fetching(carrier: CurlEngine, url: str) -> Callable[[], bytes]:
    """A task that fetches."""

    def task() -> bytes:
        with carrier.fetch(TemporaryURL(url)).body as body:
            return bytes(body.view())

    return task


def test_requests_of_one_thread_are_open_side_by_side(loop: Loop, source: ImageSource) -> None:
    """Eight tasks need eight connections; one after the other they would need one (see below)."""
    carrier = engine()
    urls = [source.add(f"/{number}.png", bytes([number]) * 1000, pause=0.2) for number in range(8)]
    got = run(loop, *(fetching(carrier, url) for url in urls))
    assert got == [bytes([number]) * 1000 for number in range(8)]
    assert source.connections == 8


def test_a_fault_belongs_to_the_task_that_asked(loop: Loop, source: ImageSource) -> None:
    """One connection is cut, one host refused: the third task has its bytes all the same."""
    carrier = engine()
    good = source.add("/good.png", b"x" * 300_000)
    cut = source.add("/cut.png", b"y" * 300_000, rst=True)
    got = run(loop, fetching(carrier, cut), fetching(carrier, "http://169.254.169.254/"), fetching(carrier, good))
    assert isinstance(got[0], Transient)
    assert isinstance(got[1], Refused)
    assert got[2] == b"x" * 300_000


def test_a_slow_source_runs_into_its_own_time_limit(loop: Loop, source: ImageSource) -> None:
    """libcurl's timers are heard though nothing comes from the network."""
    url = source.add("/slow.png", b"z" * 100, Behaviour(pause=60))
    carrier = engine()
    (got,) = run(loop, lambda: carrier.send("GET", url, headers={}, total_s=0.2))
    assert isinstance(got, Transient)
    assert "too slow" in str(got)


def test_connections_are_kept_from_task_to_task(loop: Loop, source: ImageSource) -> None:
    """Twenty images one after the other: one connection."""
    carrier = engine()
    urls = [source.add(f"/{number}.png", bytes([number]) * 1000) for number in range(20)]

    def one_by_one() -> list[bytes]:
        return [fetching(carrier, url)() for url in urls]

    (got,) = run(loop, one_by_one)
    assert got == [bytes([number]) * 1000 for number in range(20)]
    assert source.connections == 1


def test_a_fetch_never_uses_a_connection_that_nobody_guarded(loop: Loop, source: ImageSource) -> None:
    """A store's request has opened the way to a host that the guard refuses: a fetch from there is refused still."""
    carrier = engine(AddressGuard())
    # By a name: an address in the URL would be refused before anybody looks for a connection.
    url = source.add("/inside.png", b"secret" * 100).replace("127.0.0.1", "localhost")

    def both() -> bytes:
        assert carrier.send("GET", url, headers={}).status == 200
        return fetching(carrier, url)()

    (got,) = run(loop, both)
    assert isinstance(got, Refused)
    assert source.connections == 1


def test_what_steps_aside_stops_nobody(loop: Loop, source: ImageSource) -> None:
    """The first task waits, in a thread, for what only the second can bring; what it raises comes back to it."""
    carrier = engine()
    url = source.add("/good.png", b"x" * 1000)
    fetched = threading.Event()
    threads: list[int] = []

    def waits() -> None:
        threads.append(threading.get_ident())
        assert fetched.wait(30)
        raise ValueError("from the thread")

    def fetches() -> bytes:
        body = fetching(carrier, url)()
        fetched.set()
        return body

    got = run(loop, lambda: aside(waits), fetches)
    assert isinstance(got[0], ValueError)
    assert got[1] == b"x" * 1000
    assert threads != [threading.get_ident()]


def test_outside_of_a_loop_everything_happens_in_its_own_thread(source: ImageSource) -> None:
    """Without a task, a request is performed and `aside` acts where they are called."""
    url = source.add("/good.png", b"x" * 1000)
    assert fetching(engine(), url)() == b"x" * 1000
    assert aside(threading.get_ident) == threading.get_ident()


def test_without_a_descriptor_left_a_request_fails_and_the_next_may_do(loop: Loop, source: ImageSource) -> None:
    """What the machine refuses is one task's bad weather, by a name that a person can act on."""
    url = source.add("/good.png", b"x" * 1000)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        (got,) = run(loop, fetching(engine(), url))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert isinstance(got, Transient)
    assert "too many open files" in str(got) or "no connection" in str(got)
    assert run(loop, fetching(engine(), url)) == [b"x" * 1000]


def test_a_ring_ends_a_turn(loop: Loop) -> None:
    """Nothing is under way, so only the ring of another thread can end it; many rings are heard as one."""

    def ring() -> None:
        for _ in range(100_000):
            loop.ring()

    bell = threading.Thread(target=ring)
    bell.start()
    loop.turn()
    bell.join()
