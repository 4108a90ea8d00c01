"""The bytes of one image on their way through: held once and hashed once, in memory or in a temporary file.

All bodies of a process share one byte budget. A body that finds no room in it goes to an anonymous temporary file and
never waits: a transfer that waits for room while it holds room itself would stop every other one. This file refuses to
know HTTP, and what the bytes mean.
"""

import hashlib
import io
import mmap
import os
import tempfile
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Self, TypeVar, cast

from fastcrc import crc32, crc64

from archiver.core.errors import Transient
from archiver.transport.loop import aside

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

#: CRC-32 as zlib and PNG have it, in a quarter of zlib's time.
fast_crc32 = crc32.iso_hdlc

_T = TypeVar("_T")

DEFAULT_BUDGET = 256 * 1024 * 1024
_PIECE = 256 * 1024
_MUCH = 1024 * 1024
_GRAIN = 1024 * 1024  # what a body of unknown length takes from the budget at a time


def at_work(act: Callable[[], _T], size: int) -> _T:
    """What `act` returns or raises, which reads so many bytes that lie in memory. Many of them are read in a thread of
    their own: in a task of a loop, the other transfers go on meanwhile, on another processor."""
    return aside(act) if size >= _MUCH else act()


class ByteBudget:
    """How many bytes of bodies one process may hold in memory. Thread-safe; nobody ever waits for it."""

    def __init__(self, limit: int = DEFAULT_BUDGET) -> None:
        self._lock = threading.Lock()
        self._limit = limit
        self._taken = 0

    @property
    def taken(self) -> int:
        """Bytes that living bodies hold now."""
        return self._taken

    def take(self, size: int) -> bool:
        """Reserve `size` bytes; False when there is no room, and then nothing was reserved."""
        with self._lock:
            if self._taken + size > self._limit:
                return False
            self._taken += size
            return True

    def give(self, size: int) -> None:
        """Return what `take` reserved."""
        with self._lock:
            self._taken -= size


class Body:
    """A finished body: `core.ports.Body`, plus `view` for those who look at the bytes in place.

    Use as a context manager, or call `close`: that returns its room to the budget or removes the temporary file.
    `open` and `view` must not be used after `close`.
    """

    def __init__(self, source: bytes | BinaryIO, *, size: int, sha256: str, release: Callable[[], None] | None) -> None:
        self._source: bytes | BinaryIO | None = source
        self._map: mmap.mmap | None = None
        self._size = size
        self._sha256 = sha256
        self._release = release
        self._crc64: int | None = None
        self._md5: str | None = None

    @classmethod
    def of(cls, data: bytes) -> Self:
        """A body over `data`, which somebody else already holds: it takes nothing from the budget."""
        return cls(data, size=len(data), sha256=hashlib.sha256(data).hexdigest(), release=None)

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """A body over the file at `path`, read and hashed here. Raises OSError. `close` does not remove the file."""
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            again = os.fdopen(os.dup(file.fileno()), "rb")
            return cls(again, size=file.tell(), sha256=digest, release=None)

    @property
    def size(self) -> int:
        """Length in bytes."""
        return self._size

    @property
    def sha256(self) -> str:
        """Lower-case hexadecimal digest, computed when the bytes had arrived."""
        return self._sha256

    @property
    def crc64(self) -> int:
        """CRC-64/XZ, as Aliyun OSS computes it; computed at the first call."""
        if self._crc64 is None:
            self._crc64 = crc64.xz(self.view())
        return self._crc64

    @property
    def data(self) -> bytes | None:
        """The bytes themselves when they are in memory (not a copy), None when they are in a file."""
        source = self._held()
        return source if isinstance(source, bytes) else None

    def md5(self) -> str:
        """Lower-case hexadecimal digest, computed at the first call."""
        if self._md5 is None:
            self._md5 = hashlib.md5(self.view(), usedforsecurity=False).hexdigest()
        return self._md5

    def view(self) -> memoryview:
        """The bytes in place, read-only: the memory, or a mapping of the file."""
        source = self._held()
        if isinstance(source, bytes):
            return memoryview(source)
        if self._size == 0:  # an empty file cannot be mapped
            return memoryview(b"")
        if self._map is None:
            self._map = mmap.mmap(source.fileno(), self._size, access=mmap.ACCESS_READ)
        return memoryview(self._map)

    def open(self) -> AbstractContextManager[BinaryIO]:
        """The bytes from the start, at a position of its own: two stores may read one body at a time."""
        source = self._held()
        if isinstance(source, bytes):
            return io.BytesIO(source)  # shares the bytes, does not copy them
        return cast(BinaryIO, io.BufferedReader(_FileReader(source.fileno()), _PIECE))

    def close(self) -> None:
        """Give up the bytes; size and digest stay known. Calling it again does nothing."""
        source, self._source = self._source, None
        self._map = None  # left to the garbage collector: a view that somebody still holds must stay readable
        if source is not None and not isinstance(source, bytes):
            source.close()
        release, self._release = self._release, None
        if release is not None:
            release()

    def _held(self) -> bytes | BinaryIO:
        if self._source is None:
            raise ValueError("the body is closed")
        return self._source

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class BodyWriter:
    """Takes the pieces of a body as they arrive. `finish` hands over a `Body`; `close` throws everything away."""

    def __init__(self, budget: ByteBudget, temp_dir: Path | None) -> None:
        self._budget = budget
        self._temp_dir = temp_dir
        self._sink: io.BytesIO | BinaryIO = io.BytesIO()
        self._digest = hashlib.sha256()
        self._taken = 0
        self._hashed = 0
        self.size = 0

    def announce(self, size: int) -> None:
        """Say how long the body will be, so that its room is reserved at once or it goes to a file from the start."""
        self._make_room(size, size - self._taken)
        if isinstance(self._sink, io.BytesIO) and size > self.size:
            # All of it at once: a buffer that grows is copied as often as it grows.
            self._sink.seek(size - 1)
            self._sink.write(b"\0")
            self._sink.seek(self.size)

    def write(self, piece: bytes) -> None:
        """Append bytes. Raises `Transient` when the temporary folder takes no more."""
        # Without an announcement, whole grains keep the lock away from every single piece.
        self._make_room(self.size + len(piece), _GRAIN)
        self.size += len(piece)
        try:
            self._sink.write(piece)
        except OSError as error:
            raise self._no_room(error) from error
        if not isinstance(self._sink, io.BytesIO):
            self._digest.update(piece)

    def finish(self) -> Body:
        """The finished body. The writer may only be closed after that."""
        sink, self._sink = self._sink, io.BytesIO()
        taken, self._taken = self._taken, 0
        if isinstance(sink, io.BytesIO):
            at_work(partial(self._hash, sink), self.size)
            sink.truncate(self.size)
            self._budget.give(taken - self.size)
            release = partial(self._budget.give, self.size)
            # getvalue hands over the buffer itself, not a copy.
            return Body(sink.getvalue(), size=self.size, sha256=self._digest.hexdigest(), release=release)
        try:
            sink.flush()
        except OSError as error:
            sink.close()
            raise self._no_room(error) from error
        return Body(sink, size=self.size, sha256=self._digest.hexdigest(), release=None)

    def close(self) -> None:
        """Drop what was written, unless `finish` handed it over. Calling it again does nothing."""
        self._sink.close()
        self._release()

    def _hash(self, memory: io.BytesIO) -> None:
        """What was not hashed yet, where it lies."""
        with memory.getbuffer() as whole, whole[self._hashed : self.size] as rest:
            self._digest.update(rest)
            self._hashed += len(rest)

    def _make_room(self, size: int, grain: int) -> None:
        """Have `size` bytes of the budget, taken by the grain while there is room for that, or move to a file."""
        missing = size - self._taken
        if not isinstance(self._sink, io.BytesIO) or missing <= 0:
            return
        for step in (max(missing, grain), missing):
            if self._budget.take(step):
                self._taken += step
                return
        self._spill(self._sink)

    def _release(self) -> None:
        self._budget.give(self._taken)
        self._taken = 0

    def _spill(self, memory: io.BytesIO) -> None:
        """Move to an anonymous file: it has no name, so a crash leaves nothing behind."""
        try:
            if self._temp_dir is not None:
                self._temp_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._hash(memory)
            self._sink = tempfile.TemporaryFile(dir=self._temp_dir)  # noqa: SIM115 - lives as long as the body
            self._sink.write(memory.getbuffer()[: self.size])
        except OSError as error:
            raise self._no_room(error) from error
        self._release()

    def _no_room(self, error: OSError) -> Transient:
        where = self._temp_dir or tempfile.gettempdir()
        return Transient(f"cannot keep a large body in {where}: {error.strerror or type(error).__name__}")


class _FileReader(io.RawIOBase):
    """Reads a file at a position of its own: two stores may read one body without moving each other's."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        if whence != os.SEEK_SET:
            raise io.UnsupportedOperation("only absolute positions")
        self._at = offset
        return offset

    def tell(self) -> int:
        return self._at

    def readinto(self, into: "WriteableBuffer", /) -> int:
        count = os.preadv(self._descriptor, [into], self._at)
        self._at += count
        return count
