"""Who is alive: every process holds a lock on a file of its own while it lives.

A lock dies with its process, whatever killed it, so a free lock proves that its owner is gone and that its claims may
be taken over at once. The time of a lease is needed only for owners that hang. Local file systems only.
"""

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from archiver.core.errors import Unusable


class Owner:
    """This process as an owner of claims. Use as a context manager, or call `close`."""

    def __init__(self, folder: Path, owner_id: str) -> None:
        self.id = owner_id
        self._folder = folder
        self._path = folder / owner_id
        try:
            self._file = self._lock()
        except OSError as error:
            raise Unusable(f"cannot lock {self._path}: {error.strerror}") from error

    def _lock(self) -> int:
        while True:
            file = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            fcntl.flock(file, fcntl.LOCK_EX)
            # Between the two calls another process may have taken the unlocked file for one of the dead, and removed
            # it.
            try:
                if self._path.stat().st_ino == os.fstat(file).st_ino:
                    return file
            except FileNotFoundError:
                pass
            os.close(file)

    def bury(self) -> None:
        """Remove the files of owners that are gone."""
        for path in self._folder.iterdir():
            self.is_alive(path.name)

    def is_alone(self) -> bool:
        """Whether no other process lives."""
        return not any(path.name != self.id and self.is_alive(path.name) for path in list(self._folder.iterdir()))

    def is_alive(self, other: str) -> bool:
        """Whether the process that called itself `other` still lives. Its file is removed when it does not."""
        if other == self.id:
            return True
        path = self._folder / other
        try:
            file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        else:
            path.unlink(missing_ok=True)
            return False
        finally:
            os.close(file)

    def close(self) -> None:
        """Give up the lock and remove the file."""
        with suppress(OSError):  # an unlocked file that stays tells nobody a lie; whoever comes next removes it
            self._path.unlink(missing_ok=True)
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def anyone_lives(data_dir: Path) -> bool:
    """Whether any process that owns something lives. It changes nothing, and removes nobody's file."""
    for path in list((data_dir / "owners").glob("*")):
        try:
            file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(file)
    return False


class SoleDaemon:
    """The lock that lets one daemon run per data folder."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._file)
            raise Unusable(
                f"another archiver daemon already works on {path.parent}; stop it first, or use another data_dir"
            ) from error

    def close(self) -> None:
        """Let the next daemon start."""
        os.close(self._file)
