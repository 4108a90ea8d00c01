"""Local disk for what must not be lost: provider answers (`Inbox`) and image bytes that are not in every bucket yet
(`Spool`).

A file counts only under its final name: it was written beside it, flushed to the disk, renamed, and the folder flushed
too. Nothing here knows what the bytes mean, and nothing here decides when they may go.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import BinaryIO

from archiver.core.errors import AdapterError, Ambiguous, Corrupt, Transient, Unusable
from archiver.core.model import KEPT_HEADERS, Answer
from archiver.core.ports import Body

PIECE = 1 << 20


def _flush(path: Path) -> None:
    """Make a file's bytes durable, or the names in a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _flush_names(folder: Path) -> None:
    try:
        _flush(folder)
    except OSError as error:
        raise Unusable(f"cannot flush {folder}: {error.strerror}") from error


@contextmanager
def _disk(path: Path, word: type[AdapterError] = Transient) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise word(f"cannot write {path}: {error.strerror}") from error


def _create(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, 0o600), "wb")


class AnswerFile:
    """One answer while it arrives: `core.ports.AnswerSink`. A first line says what the HTTP header said."""

    def __init__(self, part: Path, final: Path, file: BinaryIO, now: Callable[[], datetime]) -> None:
        self._part = part
        self._final = final
        self._file = file
        self._now = now
        self._is_whole = False

    def begin(self, status: int, content_type: str, headers: Mapping[str, str] | None = None) -> None:
        """Write the first line."""
        kept = {name.lower(): value for name, value in (headers or {}).items() if name.lower() in KEPT_HEADERS}
        head = {"status": status, "content_type": content_type, "received_at": self._now().isoformat(), "headers": kept}
        self.write(json.dumps(head).encode() + b"\n")

    def write(self, piece: bytes) -> None:
        """Append bytes of the body. A full disk is Ambiguous here: the provider has answered, and may have charged."""
        with _disk(self._part, Ambiguous):
            self._file.write(piece)
            # What has arrived survives the death of this process at any moment from here on.
            self._file.flush()

    def finish(self) -> None:
        """The answer is whole: make it durable under its final name."""
        with _disk(self._final, Ambiguous):
            os.fsync(self._file.fileno())
            self._file.close()
            self._is_whole = True
            self._part.rename(self._final)
            _flush(self._final.parent)

    def abandon(self) -> None:
        """No whole answer came. What did come stays as it is for a person; an empty file goes.

        A whole one that only could not be renamed keeps its place: the next look into the inbox reads it.
        """
        with suppress(OSError):
            self._file.close()
            if self._is_whole:
                return
            if self._part.stat().st_size == 0:
                self._part.unlink()
            else:
                self._part.rename(self._part.with_suffix(".odd"))


class Inbox:
    """Answers of providers: `<generation>.part` while they arrive, `.answer` when whole, `.odd` when not understood.

    An `.odd` one stays as it came, temporary URLs included: it may be all that is left of images that were paid for.
    Like every file here, only its owner can read it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self, generation_id: str, now: Callable[[], datetime]) -> AnswerFile:
        """A place for the answer, made before the provider is asked: a full disk shows before money is spent. `now`
        tells when its first byte came."""
        part = self._folder / f"{generation_id}.part"
        with _disk(part):
            file = _create(part)
        return AnswerFile(part, self._path(generation_id), file, now)

    def has(self, generation_id: str) -> bool:
        """Whether a whole answer lies here."""
        return self._path(generation_id).exists()

    def holds_anything(self, generation_id: str) -> bool:
        """Whether an answer, or a part of one, lies here."""
        return self.has(generation_id) or (self._folder / f"{generation_id}.part").exists()

    def read(self, generation_id: str) -> Answer | None:
        """The answer, or None when there is none."""
        return self._parse(self._path(generation_id))

    def salvage(self, generation_id: str) -> Answer | None:
        """What a process that died left of an answer: it may be whole all the same."""
        return self._parse(self._folder / f"{generation_id}.part")

    def adopt(self, generation_id: str) -> None:
        """A salvaged answer proved to be whole: make it durable under its final name. Who wrote it had not."""
        part = self._folder / f"{generation_id}.part"
        with _disk(self._folder):
            _flush(part)
            part.rename(self._path(generation_id))
            _flush(self._folder)

    def flush(self) -> None:
        """Make durable what somebody renamed who died. Raises Unusable: nothing may be built on it else."""
        _flush_names(self._folder)

    def set_aside(self, generation_id: str) -> None:
        """Keep an answer that nobody could read, for a person to look at."""
        for path in (self._path(generation_id), self._folder / f"{generation_id}.part"):
            if path.exists() and path.stat().st_size:
                path.rename(path.with_suffix(".odd"))
            else:
                path.unlink(missing_ok=True)

    def discard(self, generation_id: str) -> None:
        """Everything in the answer is safe elsewhere."""
        self._path(generation_id).unlink(missing_ok=True)

    def answered(self) -> list[str]:
        """The generations whose whole answers lie here."""
        return sorted(path.stem for path in self._folder.glob("*.answer"))

    def begun(self) -> list[str]:
        """The generations of which an answer is on its way, or was when somebody died."""
        return sorted(path.stem for path in self._folder.glob("*.part"))

    def _path(self, generation_id: str) -> Path:
        return self._folder / f"{generation_id}.answer"

    @staticmethod
    def _parse(path: Path) -> Answer | None:
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            return None
        head, newline, body = raw.partition(b"\n")
        if not newline:
            return None
        try:
            said = json.loads(head)
            return Answer(
                status=int(said["status"]),
                content_type=str(said["content_type"]),
                body=body,
                received_at=datetime.fromisoformat(said["received_at"]).astimezone(UTC),
                headers={str(name): str(value) for name, value in said.get("headers", {}).items()},
            )
        except (ValueError, KeyError, TypeError, AttributeError):  # torn by a power loss: no answer
            return None


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
        with _disk(part):
            try:
                with _create(part) as file:
                    for piece in pieces:
                        file.write(piece)
                    file.flush()
                    os.fsync(file.fileno())
                part.rename(self._folder / name)
                _flush(self._folder)
            except Exception:
                part.unlink(missing_ok=True)
                raise
        return name

    def flush(self) -> None:
        """Make durable what somebody renamed who died. Raises Unusable: nothing may be built on it else."""
        _flush_names(self._folder)

    def path(self, name: str) -> Path:
        """Where a kept body lies."""
        return self._folder / name

    def names(self) -> list[str]:
        """All that lies here, unfinished files included."""
        return sorted(path.name for path in self._folder.iterdir())

    def discard(self, name: str) -> None:
        """Every copy is confirmed: the bytes are no longer needed here."""
        self.path(name).unlink(missing_ok=True)

    def sweep(self, needed: set[str], before: datetime) -> int:
        """Remove files that no unfinished image names and that were last written before `before`. Returns their
        number."""
        swept = 0
        for path in self._folder.iterdir():
            try:
                written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
            except FileNotFoundError:  # renamed or settled just now
                continue
            if path.name not in needed and written < before:
                path.unlink(missing_ok=True)
                swept += 1
        return swept
