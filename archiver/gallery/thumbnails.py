"""Thumbnails, made by a child process that may die of an image without taking anybody with it.

The image is sent through a pipe, so the child needs no file and no network. A child that died, hung or answered
nonsense is replaced, and the image is told as one without a thumbnail. Nothing is decoded in this process.
"""

import importlib.util
import struct
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from archiver.core.errors import Corrupt, UsageError

INSTALL = f'{sys.executable} -m pip install "pillow>=12,<14"'
#: A child that said nothing for so long is ended: twice what it may use of the processor, for a busy machine.
PATIENCE_S = 60.0
#: A thumbnail is some ten kilobytes; whoever sends more is no longer our child.
LARGEST = 1_000_000


class Thumbnailer:
    """One child, made when first needed and made anew when it died. Used by one thread at a time."""

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self._patience_s = patience_s
        self._child: subprocess.Popen[bytes] | None = None

    @staticmethod
    def is_possible() -> bool:
        """Whether Pillow is there."""
        return importlib.util.find_spec("PIL") is not None

    @classmethod
    def require(cls) -> None:
        """Raise UsageError with the line that installs Pillow unless it is there."""
        if not cls.is_possible():
            raise UsageError(f"thumbnails need Pillow: {INSTALL}; or --no-thumbnails shows the original images")

    def __enter__(self) -> Self:
        """Start nothing yet."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """End the child."""
        self._end()

    def shrink(self, data: bytes) -> bytes:
        """A WebP file of at most 320 x 320. Raises Corrupt with the reason when the image cannot be shown."""
        child = self._child or self._start()
        assert child.stdin is not None and child.stdout is not None  # noqa: S101, PT018 - for the type checker
        guard = threading.Timer(self._patience_s, child.kill)
        guard.daemon = True
        guard.start()
        try:
            child.stdin.write(struct.pack(">Q", len(data)))
            child.stdin.write(data)
            child.stdin.flush()
            letter, reply = _read(child.stdout)
        except (OSError, EOFError):
            self._end()
            raise Corrupt("the image took too much memory or time to be shown") from None
        finally:
            guard.cancel()
        if letter == b"+" and reply[:4] == b"RIFF" and reply[8:12] == b"WEBP":
            return reply
        if letter != b"-":
            self._end()
        raise Corrupt(f"the image cannot be shown: {reply[:300].decode('utf-8', 'replace')}")

    def _start(self) -> subprocess.Popen[bytes]:
        self._child = subprocess.Popen(  # noqa: S603 - this Python, and a file of ours
            [sys.executable, "-I", "-B", str(Path(__file__).with_name("shrinking.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={},
            cwd="/",
            start_new_session=True,  # Ctrl-C is for the parent, who ends it in order
        )
        return self._child

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        child.communicate()


def _read(pipe: IO[bytes]) -> tuple[bytes, bytes]:
    head = pipe.read(9)
    if len(head) < 9:
        raise EOFError
    size = struct.unpack(">Q", head[1:])[0]
    if size > LARGEST or len(reply := pipe.read(size)) < size:
        raise EOFError
    return head[:1], reply
