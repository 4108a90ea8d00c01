"""A gang: threads that take work and do it while there is any. It knows nothing of the work."""

import threading
from collections.abc import Callable

Task = Callable[[], None]
Take = Callable[[], Task | None]


class Gang:
    """Threads that take work and do it while there is any. At most `most`, made when they are needed."""

    def __init__(
        self,
        name: str,
        take: Take,
        most: int,
        *,
        failed: Callable[[BaseException], None],
        idle: Callable[[], None],
    ) -> None:
        self._name = name
        self._take = take
        self._most = most
        self._failed = failed
        self._on_idle = idle
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._calls = 0
        self._stopping = False

    def wake(self) -> None:
        """There may be work: one more member looks for it."""
        with self._changed:
            working = len(self._threads) - self._idle
            if self._stopping or working + self._calls >= self._most:
                return
            self._calls += 1
            if self._idle:
                self._changed.notify()
            elif len(self._threads) < self._most:
                self._grow()

    def _grow(self) -> None:
        thread = threading.Thread(target=self._work, name=f"{self._name}-{len(self._threads)}", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the machine gives no more threads: those that there are go on
            self._calls -= 1
            if not self._threads:
                raise
        else:
            self._threads.append(thread)

    @property
    def is_idle(self) -> bool:
        """Nobody works, and nobody was called."""
        with self._changed:
            return not self._calls and self._idle == len(self._threads)

    def stop(self) -> None:
        """Finish the task in hand, then end."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def join(self) -> None:
        """Wait until every member has ended."""
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while self._called():
            try:
                while not self._stopping and (task := self._take()) is not None:
                    # Where there was work there may be more: the next member begins before this one is done.
                    self.wake()
                    task()
            except BaseException as error:  # noqa: BLE001 - handed to whoever waits for the crew
                self._failed(error)
                return

    def _called(self) -> bool:
        with self._changed:
            self._idle += 1
            if self._idle == len(self._threads):
                self._on_idle()
            self._changed.wait_for(lambda: self._calls or self._stopping)
            self._idle -= 1
            self._calls = max(self._calls - 1, 0)
            return not self._stopping
