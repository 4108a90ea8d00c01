"""One thread that carries many transfers: libcurl works on all of them at once, and each task waits for its own.

With a thread for each transfer, every line of a header and every piece of a body asks for the interpreter's lock, and
the threads wake each other for each: that cost as much as TLS and hashing together. A task here is a greenlet, written
as if it were alone; where it performs a request, or steps aside for the disk, the others go on. No lock may be held
across either of the two: whoever waits for it would be the same thread.

This file refuses to know what is asked, answered or done.
"""

import os
import selectors
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

import pycurl
from greenlet import getcurrent, greenlet

_T = TypeVar("_T")
_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
_WATCHED = {pycurl.POLL_IN: _READ, pycurl.POLL_OUT: _WRITE, pycurl.POLL_INOUT: _READ | _WRITE}
#: Threads for what waits for a disk.
_ASIDE = 8

_here = threading.local()


def perform(handle: pycurl.Curl, connections: object) -> None:
    """As `handle.perform()`; in a task of a loop, the others go on meanwhile. Raises `pycurl.error`.

    Handles share their connections with those of the same `connections`, and with no others.
    """
    loop = _loop_of_this_task()
    if loop is None:
        handle.perform()
    else:
        loop.carry(handle, connections)


def aside(act: Callable[[], _T]) -> _T:
    """What `act` returns or raises. In a task of a loop it runs in a thread, so that a slow disk stops no transfer."""
    loop = _loop_of_this_task()
    return act() if loop is None else loop.step_aside(act)


def _loop_of_this_task() -> "Loop | None":
    loop: Loop | None = getattr(_here, "loop", None)
    return None if loop is None or getcurrent() is loop.hub else loop


class Loop:
    """Tasks side by side in one thread: that which calls `start` and `turn`. Any thread may `ring`."""

    def __init__(self) -> None:
        self.hub: greenlet | None = None
        self.active = 0
        """Tasks that were started and have not ended."""
        self._multis: dict[int, pycurl.CurlMulti] = {}
        self._carried: dict[pycurl.Curl, tuple[pycurl.CurlMulti, greenlet]] = {}
        self._news: deque[tuple[greenlet, Any]] = deque()
        self._selector = selectors.DefaultSelector()
        self._watched: set[int] = set()
        self._threads: ThreadPoolExecutor | None = None
        self._heard, self._bell = os.pipe()
        for end in (self._heard, self._bell):
            os.set_blocking(end, False)
        self._selector.register(self._heard, _READ)

    def ring(self) -> None:
        """End a `turn` that waits."""
        with suppress(BlockingIOError):  # full of rings that nobody has heard yet
            os.write(self._bell, b"!")

    def start(self, task: Callable[[], None]) -> None:
        """Begin a task; returns when it waits for the first time, or has ended. It must not raise."""
        self.hub, _here.loop = getcurrent(), self
        self.active += 1

        def run() -> None:
            try:
                task()
            finally:
                self.active -= 1

        greenlet(run).switch()

    def turn(self) -> None:
        """Wait until something happens, then let everybody go on whose wait is over."""
        multis = self._multis.values()
        # libcurl counts the time itself, and says how long it can wait; -1 is for ever.
        waits = [left for multi in multis if (left := multi.timeout()) >= 0]
        for key, mask in self._selector.select(min(waits) / 1000 if waits else None):
            if key.data is None:
                with suppress(BlockingIOError):
                    os.read(self._heard, 4096)
            elif isinstance(key.fd, int):
                flags = (pycurl.CSELECT_IN if mask & _READ else 0) | (pycurl.CSELECT_OUT if mask & _WRITE else 0)
                key.data.socket_action(key.fd, flags)
        for multi in multis:
            if multi.timeout() == 0:
                multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
            self._collect(multi)
        while self._news:
            task, result = self._news.popleft()
            task.switch(result)

    def carry(self, handle: pycurl.Curl, connections: object) -> None:
        """`perform`, called by a task."""
        multi = self._multis.get(id(connections)) or self._open(id(connections))
        self._carried[handle] = multi, getcurrent()
        multi.add_handle(handle)
        try:
            failure = self._wait()
        finally:
            del self._carried[handle]
            multi.remove_handle(handle)
        if failure is not None:
            raise pycurl.error(*failure)

    def step_aside(self, act: Callable[[], _T]) -> _T:
        """`aside`, called by a task."""
        self._threads = self._threads or ThreadPoolExecutor(_ASIDE, thread_name_prefix="aside")
        task, future = getcurrent(), self._threads.submit(act)

        def tell(_: object) -> None:
            self._news.append((task, None))
            self.ring()

        future.add_done_callback(tell)
        self._wait()
        return future.result()

    def close(self) -> None:
        """Close all connections. No task may be under way."""
        if self._threads is not None:
            self._threads.shutdown()
        for multi in self._multis.values():
            multi.close()
        self._multis.clear()
        self._selector.close()
        os.close(self._heard)
        os.close(self._bell)

    def _wait(self) -> Any:
        assert self.hub is not None  # noqa: S101 - a task has been started
        return self.hub.switch()

    def _open(self, name: int) -> pycurl.CurlMulti:
        try:
            multi = self._multis[name] = pycurl.CurlMulti()
        except pycurl.error:  # without a code, though it knows only one reason: no descriptor is left
            raise pycurl.error(pycurl.E_OUT_OF_MEMORY, "") from None

        def watch(event: int, descriptor: int, *_: object) -> None:
            # What libcurl waits for on a socket.
            if event == pycurl.POLL_REMOVE:
                if descriptor in self._watched:
                    self._watched.remove(descriptor)
                    self._selector.unregister(descriptor)
            elif descriptor in self._watched:
                self._selector.modify(descriptor, _WATCHED[event], multi)
            else:
                self._watched.add(descriptor)
                self._selector.register(descriptor, _WATCHED[event], multi)

        multi.setopt(pycurl.M_SOCKETFUNCTION, watch)
        return multi

    def _collect(self, multi: pycurl.CurlMulti) -> None:
        more = 1
        while more:
            more, done, failed = multi.info_read()
            self._news.extend((self._carried[handle][1], None) for handle in done)
            self._news.extend((self._carried[handle][1], (code, text)) for handle, code, text in failed)
