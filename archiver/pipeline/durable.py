"""Writing so that it outlives a power cut: the bytes of a file, and the names in its folder.

A file counts only under its final name: it was written beside it, flushed to the disk, renamed, and the folder flushed
too. The rooms that keep files (`inbox`, `spool`) do so with these.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from archiver.core.errors import AdapterError, Transient, Unusable


def flush(path: Path) -> None:
    """Make a file's bytes durable, or the names in a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def flush_names(folder: Path) -> None:
    """Make the names in a folder durable. Raises `Unusable` when the disk refuses."""
    try:
        flush(folder)
    except OSError as error:
        raise Unusable(f"cannot flush {folder}: {error.strerror}") from error


@contextmanager
def disk(path: Path, word: type[AdapterError] = Transient) -> Iterator[None]:
    """Say what a disk refuses as `word`."""
    try:
        yield
    except OSError as error:
        raise word(f"cannot write {path}: {error.strerror}") from error


def create(path: Path) -> BinaryIO:
    """A new file that only its owner can read."""
    return os.fdopen(os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, 0o600), "wb")
