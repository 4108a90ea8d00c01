"""A folder as a permanent home: `file:///path`. For a NAS, a test, a laptop without a bucket.

An object is one file, private to its user. It appears under its name whole and hashed, or not at all, and never over
another. Metadata is not kept: a plain folder has no place for it. Any key is carried: what a file system cannot spell
is percent-encoded, segment by segment and reversibly (an empty segment as a lone `%`; control characters, `%`, a
leading dot as `%XX`; a segment too long for a file name goes on in a folder that ends in `%+`).
"""

import contextlib
import errno
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, BinaryIO
from urllib.parse import unquote_to_bytes, urlsplit

from pydantic import AfterValidator

from archiver.core.errors import AdapterError, Corrupt, Gone, KeyTaken, Permanent, Transient
from archiver.core.model import ObjectHead, Receipt
from archiver.core.ports import Body, Outside, Store
from archiver.settings import Section
from archiver.stores import keys
from archiver.transport import aside

_PIECE = 1024 * 1024
_LONGEST_NAME = 200  # bytes; file systems allow 255, some encrypted ones fewer
_MOST_REMEMBERED = 1000  # folders known to be durable: forgetting one costs a sync
_PART = ".part-"  # no object's name begins with a dot
_FOR_A_PERSON = frozenset((errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR))
_NO_LINKS = frozenset((errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL))


def _folder(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost") or not parts.path.startswith("/") or parts.query:
        raise ValueError(f'{url!r} is no folder; write "file:///absolute/path"')
    return url


class Settings(Section):
    """`[stores.NAME]` with `url = "file:///absolute/path"`; the folder is made when it is missing."""

    url: Annotated[str, AfterValidator(_folder)]
    public_base_url: str | None = None


def connect(name: str, settings: Settings, outside: Outside) -> Store:
    """The store behind `settings`. Nothing is made or read yet."""
    del outside  # a folder needs nothing of it
    return LocalStore(name, Path(os.fsdecode(unquote_to_bytes(urlsplit(settings.url).path))))


class LocalStore:
    """`core.ports.Store` over one folder."""

    prefix = ""

    def __init__(self, name: str, root: Path) -> None:
        self.name = name
        self._root = root
        self._durable: set[Path] = set()

    def put_new(self, key: str, body: Body, content_type: str, metadata: Mapping[str, str]) -> Receipt:
        """See `core.ports.Store.put_new`. What was written is read back from the disk before it gets its name."""
        del content_type, metadata  # a plain folder has no place for them
        return aside(partial(self._write, key, body))

    def _write(self, key: str, body: Body) -> Receipt:
        path = self._path(key)
        with self._translated():
            self._make_folder(path.parent)
            descriptor, temporary = tempfile.mkstemp(prefix=_PART, dir=path.parent)  # O_EXCL, 0600
            part = Path(temporary)
            try:
                with os.fdopen(descriptor, "wb") as file, body.open() as source:
                    while piece := source.read(_PIECE):
                        file.write(piece)
                    file.flush()
                    os.fsync(file.fileno())
                    _forget_cache(file.fileno())
                if _sha256(part) != body.sha256:
                    raise Corrupt(f"{self.name}: what was read back from {self._root} is not what was written")
                if not _link_new(part, path):
                    self._compare(key, path, body)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    part.unlink()
            _sync_folder(path.parent)
        return Receipt(store=self.name, key=key, sha256=body.sha256, size=body.size, etag=None, proof="read-back")

    def head(self, key: str) -> ObjectHead | None:
        """See `core.ports.Store.head`."""
        path = self._path(key)
        with self._translated():
            try:
                found = path.stat()
            except (FileNotFoundError, NotADirectoryError):
                return None
            return ObjectHead(key=key, size=found.st_size) if path.is_file() else None

    def open(self, key: str) -> Iterator[bytes]:
        """See `core.ports.Store.open`."""
        path = self._path(key)
        with self._translated():
            try:
                file = path.open("rb")
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                raise Gone(f"{self.name}: there is no {key}") from None
        return self._pieces(file)

    def list(self, prefix: str) -> Iterator[ObjectHead]:
        """See `core.ports.Store.list`."""
        with self._translated():
            for folder, _, names in os.walk(self._root, onerror=_raise_unless_missing):
                for name in names:
                    if name.startswith("."):
                        continue
                    path = Path(folder, name)
                    key = _decode(path.relative_to(self._root).parts)
                    if key.startswith(prefix):
                        yield ObjectHead(key=key, size=path.stat().st_size)

    def delete(self, key: str) -> None:
        """See `core.ports.Store.delete`. Empty folders are left: another writer may be about to use them."""
        path = self._path(key)
        with self._translated(), contextlib.suppress(FileNotFoundError, NotADirectoryError):
            path.unlink()
            _sync_folder(path.parent)

    def unfinished(self, before: datetime) -> Iterator[tuple[str, int, datetime]]:
        """See `core.ports.Littered.unfinished`. The name is the path below the root."""
        with self._translated():
            for folder, _, names in os.walk(self._root, onerror=_raise_unless_missing):
                for name in names:
                    path = Path(folder, name)
                    if not name.startswith(_PART):
                        continue
                    with contextlib.suppress(FileNotFoundError):  # whoever wrote it is done with it
                        found = path.stat()
                        written = datetime.fromtimestamp(found.st_mtime, UTC)
                        if written < before:
                            yield str(path.relative_to(self._root)), found.st_size, written

    def sweep(self, name: str) -> None:
        """See `core.ports.Littered.sweep`."""
        path = self._root / name
        if not path.name.startswith(_PART) or ".." in path.parts:
            raise ValueError(f"{name!r} is no unfinished file")
        with self._translated():
            path.unlink(missing_ok=True)

    def presign(self, key: str, lifetime: timedelta) -> str:
        """The file's own address; it has no end."""
        del lifetime
        return self._path(key).as_uri()

    def _path(self, key: str) -> Path:
        """The file of `key`. It lies below the root whatever the key says: no segment is empty, `.` or `..`."""
        keys.check(self.name, key)
        return self._root.joinpath(*(name for segment in key.split("/") for name in _encode(segment)))

    def _make_folder(self, folder: Path) -> None:
        """Make `folder` and what is missing above it, each durable before the next.

        One below the root that is there already may be the work of somebody who died before it was durable.
        """
        is_there = folder.is_dir()
        if is_there and (folder in self._durable or self._root not in folder.parents):
            return
        if folder != folder.parent:
            self._make_folder(folder.parent)
        if not is_there:
            with contextlib.suppress(FileExistsError):
                folder.mkdir(mode=0o700)
        _sync_folder(folder.parent)
        if len(self._durable) >= _MOST_REMEMBERED:
            self._durable.clear()
        self._durable.add(folder)

    def _compare(self, key: str, path: Path, body: Body) -> None:
        if _sha256(path) != body.sha256:
            raise KeyTaken(f"{self.name}: {key} already holds other bytes")

    def _pieces(self, file: BinaryIO) -> Iterator[bytes]:
        with self._translated(), file:
            while piece := file.read(_PIECE):
                yield piece

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """Let only archiver's error words out, with the folder that a person must look at."""
        try:
            yield
        except OSError as error:
            word: type[AdapterError] = Permanent if error.errno in _FOR_A_PERSON else Transient
            raise word(f"{self.name}: {self._root}: {error.strerror or type(error).__name__}") from error


def _encode(segment: str) -> list[str]:
    """File names that spell one segment of a key: one, or several nested when it is long."""
    if not segment:
        return ["%"]
    text = re.sub(r"[\x00-\x1f\x7f%]", lambda odd: f"%{ord(odd[0]):02X}", segment)
    names = [""]
    for character in re.findall(r"%[0-9A-F]{2}|.", text, re.DOTALL):
        if len(os.fsencode(names[-1] + character)) > _LONGEST_NAME:
            names[-1] += "%+"
            names.append("")
        names[-1] += character
    # A leading dot marks unfinished files, and makes `.` and `..` lead elsewhere.
    return [f"%2E{name[1:]}" if name.startswith(".") else name for name in names]


def _decode(names: tuple[str, ...]) -> str:
    """The key behind the file names; the reverse of `_encode` over all segments."""
    key = ""
    for at, name in enumerate(names):
        continued = name.endswith("%+")
        plain = name.removesuffix("%+") if continued else ("" if name == "%" else name)
        key += re.sub(r"%([0-9A-F]{2})", lambda code: chr(int(code[1], 16)), plain)
        if not continued and at < len(names) - 1:
            key += "/"
    return key


def _link_new(part: Path, path: Path) -> bool:
    """Give the finished file its name unless the name is taken. False: it is taken."""
    try:
        os.link(part, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return _claim_and_rename(part, path)
    return True


def _claim_and_rename(part: Path, path: Path) -> bool:
    """The same on a file system without hard links: an empty file claims the name, then the finished one replaces it.

    A crash in between leaves the empty file; it holds nothing, so the next attempt may replace it.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        if path.stat().st_size > 0:
            return False
    part.rename(path)
    return True


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_folder(folder: Path) -> None:
    """Make names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _forget_cache(descriptor: int) -> None:
    """Ask the kernel to forget its copy, so that reading back reads the disk. Not every system can."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def _raise_unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
