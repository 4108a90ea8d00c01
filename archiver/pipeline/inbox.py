"""Local disk for what providers answered: single answers (`Inbox`), and what batches brought (`Outputs`).

An answer is written as it arrives, before anybody reads it. Nothing here knows what the bytes mean, and nothing here
decides when they may go.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import BinaryIO

from archiver.core.errors import Ambiguous
from archiver.core.kept_headers import KEPT_HEADERS
from archiver.core.model import Answer
from archiver.pipeline.durable import create, disk, flush, flush_names

#: An output that arrives is on the disk, and not only on its way there, up to so many bytes.
FLUSH_EVERY = 32 << 20
LONGEST_LINE = 256 << 20


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
        with disk(self._part, Ambiguous):
            self._file.write(piece)
            # What has arrived survives the death of this process at any moment from here on.
            self._file.flush()

    def finish(self) -> None:
        """The answer is whole: make it durable under its final name."""
        with disk(self._final, Ambiguous):
            os.fsync(self._file.fileno())
            self._file.close()
            self._is_whole = True
            self._part.rename(self._final)
            flush(self._final.parent)

    def discard(self) -> None:
        """Nothing in it is worth keeping, or it can be had again for nothing."""
        with suppress(OSError):
            self._file.close()
            self._part.unlink()

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
                _set_aside(self._part)


def _set_aside(path: Path) -> None:
    """Rename to `.odd`, or to `.2.odd` and so on: what an earlier request brought may have been paid for as well."""
    aside, number = path.with_suffix(".odd"), 1
    while aside.exists():
        number += 1
        aside = path.with_suffix(f".{number}.odd")
    path.rename(aside)


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
        with disk(part):
            file = create(part)
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
        with disk(self._folder):
            flush(part)
            part.rename(self._path(generation_id))
            flush(self._folder)

    def flush(self) -> None:
        """Make durable what somebody renamed who died. Raises Unusable: nothing may be built on it else."""
        flush_names(self._folder)

    def set_aside(self, generation_id: str) -> None:
        """Keep an answer that nobody could read, for a person to look at."""
        for path in (self._path(generation_id), self._folder / f"{generation_id}.part"):
            if path.exists() and path.stat().st_size:
                _set_aside(path)
            else:
                path.unlink(missing_ok=True)

    def drop(self, generation_id: str) -> None:
        """Remove what a process that died left of an answer: it can be had again for nothing."""
        (self._folder / f"{generation_id}.part").unlink(missing_ok=True)

    def discard(self, generation_id: str) -> None:
        """Everything in the answer is safe elsewhere."""
        self._path(generation_id).unlink(missing_ok=True)

    def erase(self, generation_id: str) -> int:
        """Remove whatever lies here of a generation, also what nobody could read. Returns the number of files."""
        names = self.held(generation_id)
        for name in names:
            (self._folder / name).unlink(missing_ok=True)
        return len(names)

    def held(self, generation_id: str) -> list[str]:
        """The names of all files that lie here of a generation."""
        found = (path for path in self._folder.glob(f"{generation_id}.*"))
        return sorted(path.name for path in found if path.suffix in (".answer", ".part", ".odd"))

    def answered(self) -> list[str]:
        """The generations whose whole answers lie here."""
        return sorted(path.stem for path in self._folder.glob("*.answer"))

    def begun(self) -> list[str]:
        """The generations of which an answer is on its way, or was when somebody died."""
        return sorted(path.stem for path in self._folder.glob("*.part"))

    @property
    def outputs(self) -> "Outputs":
        """The outputs of batches, which lie here too."""
        return Outputs(self._folder)

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


class Outputs:
    """Outputs of batches: `<batch>.<number>.batch` when whole, `.fetching` while they arrive, `.odd` with lines that
    nobody could read. A file may have gigabytes: it is never in memory as a whole. It may be had again while its
    provider keeps it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def has(self, batch_id: str, number: int) -> bool:
        """Whether a whole file lies here."""
        return self._path(batch_id, number).exists()

    @contextmanager
    def open(self, batch_id: str, number: int) -> Iterator[Callable[[bytes], None]]:
        """A place for a file that arrives, which counts when nothing was raised. Raises `Transient` for a full disk."""
        final = self._path(batch_id, number)
        part = final.with_suffix(".fetching")
        unflushed = 0

        def write(piece: bytes) -> None:
            nonlocal unflushed
            with disk(part):
                file.write(piece)
                unflushed += len(piece)
                if unflushed >= FLUSH_EVERY:
                    unflushed = 0
                    file.flush()
                    os.fsync(file.fileno())

        with disk(part):
            file = create(part)
        try:
            yield write
            with disk(final):
                file.flush()
                os.fsync(file.fileno())
                part.rename(final)
                flush(self._folder)
        finally:
            file.close()
            part.unlink(missing_ok=True)

    @contextmanager
    def lines(self, batch_id: str, number: int) -> Iterator[Callable[[], bytes]]:
        """What gives the next line of a whole file, with its end, and nothing after the last one; it keeps none. A line
        that is longer than `LONGEST_LINE` comes in pieces: none of them is a line that anybody understands."""
        with self._path(batch_id, number).open("rb") as file:
            yield partial(file.readline, LONGEST_LINE)

    def set_aside(self, batch_id: str) -> None:
        """Keep what holds lines that nobody could read, for a person to look at."""
        for path in self._folder.glob(f"{batch_id}.*.batch"):
            path.rename(path.with_suffix(".odd"))

    def discard(self, batch_id: str) -> None:
        """Everything in the files of a batch is safe elsewhere."""
        for path in self._folder.glob(f"{batch_id}.*"):
            if path.suffix in (".batch", ".fetching"):
                path.unlink(missing_ok=True)

    def names(self) -> list[str]:
        """The batches of which something lies here."""
        found = (path for path in self._folder.iterdir() if path.suffix in (".batch", ".fetching"))
        return sorted({path.name.partition(".")[0] for path in found})

    def _path(self, batch_id: str, number: int) -> Path:
        return self._folder / f"{batch_id}.{number}.batch"
