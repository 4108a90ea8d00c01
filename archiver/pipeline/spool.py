"""Local disk for image bytes that are safe from expiry and not in every bucket yet.

Nothing here decides when a file may go.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from archiver.core.errors import Corrupt
from archiver.core.ports import Body
from archiver.pipeline.durable import create, disk, flush, flush_names

PIECE = 1 << 20


class Spool:
    """Image bytes that are safe from expiry: `<image>.<sha256>`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, image_id: str, body: Body) -> str:
        """Write a body durably. Returns the file's name. Raises `Transient` when the disk refuses."""
        with body.open() as source:
            return self._write(f"{image_id}.{body.sha256}", iter(partial(source.read, PIECE), b""))

    def refill(self, image_id: str, sha256: str, pieces: Iterable[bytes]) -> str:
        """Write bytes that must have this digest, as `keep` does. Raises `Corrupt` when they have another one, and what
        `pieces` raises: then nothing was written."""

        def checked() -> Iterator[bytes]:
            digest = hashlib.sha256()
            for piece in pieces:
                digest.update(piece)
                yield piece
            if digest.hexdigest() != sha256:
                raise Corrupt("the copy no longer holds the bytes that were confirmed")

        return self._write(f"{image_id}.{sha256}", checked())

    def _write(self, name: str, pieces: Iterator[bytes]) -> str:
        part = self._folder / f"{name}.part"
        with disk(part):
            try:
                with create(part) as file:
                    for piece in pieces:
                        file.write(piece)
                    file.flush()
                    os.fsync(file.fileno())
                part.rename(self._folder / name)
                flush(self._folder)
            except Exception:
                part.unlink(missing_ok=True)
                raise
        return name

    def flush(self) -> None:
        """Make durable what somebody renamed who died. Raises Unusable: nothing may be built on it else."""
        flush_names(self._folder)

    def path(self, name: str) -> Path:
        """Where a kept body lies."""
        return self._folder / name

    def names(self) -> list[str]:
        """All that lies here, unfinished files included."""
        return sorted(path.name for path in self._folder.iterdir())

    def discard(self, name: str) -> None:
        """Every copy is confirmed: the bytes are no longer needed here."""
        self.path(name).unlink(missing_ok=True)

    def written(self, name: str) -> datetime | None:
        """When a file was last written, None when it is gone."""
        try:
            return datetime.fromtimestamp(self.path(name).stat().st_mtime, UTC)
        except FileNotFoundError:  # renamed or settled just now
            return None

    def sweep(self, needed: set[str], before: datetime, *, since: datetime) -> int:
        """Remove files that no unfinished image names and that were last written between `since` and `before`. Returns
        their number."""
        swept = 0
        for name in self.names():
            written = self.written(name)
            if name not in needed and written is not None and since <= written < before:
                self.discard(name)
                swept += 1
        return swept
