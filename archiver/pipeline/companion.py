"""Another process of ours that copies from the same catalogue, for machines with more than one processor.

An interpreter uses little more than one. The companion claims and settles for itself, as every process does, so nothing
passes between the two but what to count. It ends when it is dismissed, and when we are gone: it listens to a pipe that
only we hold. When it dies, its claims are taken over like those of anybody else who died.
"""

import json
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog

from archiver.pipeline.tally import Tally

log = structlog.get_logger("archiver")


class Companion:
    """A process that copies beside this one."""

    def __init__(self, command: Sequence[str], *, told: Callable[[Tally], None], ended: Callable[[], None]) -> None:
        """Start it. `told` gets what it has done since the last time, `ended` is called once, in another thread."""
        self._told = told
        self._ended = ended
        # A session of its own: Ctrl-C is for us, and we tell it when it is time to end.
        self._process = subprocess.Popen(  # noqa: S603 - our own command
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, text=True
        )
        self._listener = threading.Thread(target=self._listen, name="companion", daemon=True)
        self._listener.start()

    @property
    def is_at_work(self) -> bool:
        """Whether it may still hold a claim."""
        return self._listener.is_alive()

    def stop(self) -> None:
        """Have it finish what it has in hand. Calling it again does nothing."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()

    def join(self) -> None:
        """Wait until it has ended."""
        self.stop()
        self._listener.join()

    def _listen(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        with self._process.stdout as lines:
            for line in lines:
                with suppress(ValueError):  # it died in the middle of a line; the catalogue knows what it did
                    self._told(parsed(line))
        code = self._process.wait()
        if code:
            log.warning("companion ended", exit_code=code)
        self._ended()


def bring(
    commands: Sequence[Sequence[str]], *, told: Callable[[Tally], None], ended: Callable[[], None]
) -> list[Companion]:
    """Start them. One that the machine has no room for is missed by nobody but whoever waits for the images."""
    found = []
    for command in commands:
        try:
            found.append(Companion(command, told=told, ended=ended))
        except OSError as error:
            log.warning("no companion", error=error.strerror)
    return found


def line_of(tally: Tally) -> str:
    """What was done, as one line."""
    told = {
        "asked": tally.asked,
        "stored": tally.stored,
        "bytes": tally.bytes,
        "postponed": tally.postponed,
        "lost": tally.lost,
        "troubles": tally.troubles,
        "failures": tally.failures,
    }
    return json.dumps(told)


def parsed(line: str) -> Tally:
    """What `line_of` wrote."""
    told = json.loads(line)
    return Tally(**told | {"failures": Counter(told["failures"])})
