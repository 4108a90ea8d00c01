"""How many copiers may work at once, measured while they do: `core.climbing` decides, this file counts.

Only what happens while all of them are busy says anything; a source that brings one image a minute wants no more
copiers, and no fewer either.
"""

import threading
from collections.abc import Callable

from archiver.core.climbing import Climb

#: Long enough for a rate to mean something, short enough to be through with the doubling in a second or two.
WINDOW_S = 0.25
#: So much of one processor is as good as all of it.
BUSY = 0.85


class Slots:
    """The number, which threads read and feed."""

    def __init__(self, most: int, elapsed: Callable[[], float], worked: Callable[[], float]) -> None:
        """`elapsed` counts seconds on a clock that nobody sets, `worked` the seconds that processors gave us."""
        self._climb = Climb.start(most)
        self._elapsed, self._worked = elapsed, worked
        self._lock = threading.Lock()
        self._began, self._began_worked = elapsed(), worked()
        self._bytes = self._done = 0

    @property
    def limit(self) -> int:
        """How many may work at once, now."""
        return self._climb.limit

    def done(self, size: int, *, is_full: bool) -> None:
        """One copier has brought so many bytes. `is_full`: as many as may were working."""
        with self._lock:
            if not is_full:  # there was not enough to do: the window says nothing
                self._restart()
                return
            self._bytes += size
            self._done += 1
            seconds = self._elapsed() - self._began
            if seconds >= WINDOW_S and self._done >= self.limit:
                is_busy = self._worked() - self._began_worked > BUSY * seconds
                self._climb = self._climb.step(self._bytes / seconds, is_busy=is_busy)
                self._restart()

    def _restart(self) -> None:
        self._began, self._began_worked = self._elapsed(), self._worked()
        self._bytes = self._done = 0
