"""One thread with many tasks in the air: it takes work while there is any and it has a hand free.

The same as a gang, for work that waits for the network and nothing else. It knows nothing of the work.
"""

import threading
from collections.abc import Callable
from functools import partial

from archiver.pipeline.gang import Take, Task
from archiver.transport import Loop


class Juggler:
    """Takes tasks and does them side by side. Its thread is made when it is needed."""

    def __init__(
        self,
        name: str,
        take: Take,
        *,
        limit: Callable[[], int],
        failed: Callable[[BaseException], None],
        idle: Callable[[], None],
    ) -> None:
        """No more than `limit` tasks at once; it is asked again and again."""
        self._name = name
        self._take = take
        self._limit = limit
        self._failed = failed
        self._on_idle = idle
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._loop = Loop()
        self._called = self._looks = False
        self._stopping = False
        self._resting = True
        self._was_full = False

    def wake(self) -> None:
        """There may be work."""
        with self._lock:
            if self._stopping:
                return
            self._called = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                self._thread.start()
        self._loop.ring()

    @property
    def is_full(self) -> bool:
        """As many tasks were under way as may, when it last took some: many may end at one turn."""
        return self._was_full

    @property
    def _has_no_hand_free(self) -> bool:
        return self._loop.active >= self._limit()

    @property
    def is_idle(self) -> bool:
        """Nothing is under way, and nobody was called."""
        with self._lock:
            return self._resting and not self._called

    def stop(self) -> None:
        """Finish the tasks in hand, then end."""
        with self._lock:
            self._stopping = True
        self._loop.ring()

    def join(self) -> None:
        """Wait until it has ended."""
        if self._thread is not None:
            self._thread.join()
        self._loop.close()

    def _work(self) -> None:
        while self._takes_all() or self._loop.active:
            try:
                self._loop.turn()
            except BaseException as error:  # noqa: BLE001 - handed to whoever waits for the crew
                self._failed(error)
                return

    def _takes_all(self) -> bool:
        """Begin what there is and may be begun. False when nothing more will be."""
        with self._lock:
            self._looks, self._called = self._looks or self._called, False
            self._resting = False
        while self._looks and not self._stopping and not self._has_no_hand_free:
            try:
                task = self._take()
            except BaseException as error:  # noqa: BLE001 - as above; what is in hand is finished
                self._failed(error)
                self.stop()
                break
            if task is None:
                self._looks = False
            else:
                self._loop.start(partial(self._do, task))
        self._was_full = self._has_no_hand_free
        with self._lock:
            self._resting = not self._loop.active and not self._called and not self._looks
        if self._resting:
            self._on_idle()
        return not self._stopping

    def _do(self, task: Task) -> None:
        try:
            task()
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits for the crew
            self._failed(error)
            self.stop()
        self._looks = True  # where there was work there may be more
