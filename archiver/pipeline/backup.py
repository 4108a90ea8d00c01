"""Snapshots of the catalogue in a store: `{prefix}/_catalogue/{yyyy}/{mm}/{dd}/{ulid}.db.gz`, put once and never over
another one; listing them, and bringing one back to this disk, verified.

A snapshot holds the temporary URLs of images that are not archived yet: nothing below `_catalogue/` may be public. What
comes back becomes a catalogue in `restore` only. Files lie in a folder of their own below `parts`, which goes at the
end; what somebody left who died goes when the next one begins.
"""

import gzip
import hashlib
import re
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from archiver.catalogue import Catalogue, Counts, Owner
from archiver.catalogue.snapshots import counts_in
from archiver.core.errors import AdapterError, Gone, Unusable, UsageError
from archiver.core.ports import Store
from archiver.core.redaction import redact
from archiver.pipeline.durable import create
from archiver.transport import Body

CONTENT_TYPE = "application/gzip"
PIECE = 1 << 20
_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
_NAME = re.compile(rf"(\d{{4}}/\d{{2}}/\d{{2}})/([{_DIGITS}]{{26}})\.db\.gz")


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One that lies in a store. `taken_at` is what its name says."""

    key: str
    taken_at: datetime
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BackedUp:
    """What came of a backup in one store; with an `error` nothing was put there."""

    store: str
    key: str
    size: int
    sha256: str
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """`free` tells the bytes free below `parts`."""

    catalogue: Catalogue
    owner: Owner
    stores: Mapping[str, Store]
    parts: Path
    free: Callable[[], int]
    now: Callable[[], datetime]
    new_id: Callable[[], str]

    def run(self, *, with_urls: bool = True) -> tuple[list[BackedUp], Counts]:
        """Take one snapshot and put it into every store. A store that does not take it stops no other."""
        with workroom(self.parts, self.owner) as folder:
            size = self.catalogue.path.stat().st_size
            if (free := self.free()) < 2 * size:
                raise Unusable(f"a snapshot needs {2 * size} bytes below {self.parts}, and {free} are free")
            now, name = self.now(), self.new_id()
            packed = self.catalogue.snapshots.take(folder, now, with_urls=with_urls)
            counts = counts_in(packed)
            compressed = _compress(packed, folder / "compressed")
            packed.unlink()
            with Body.from_file(compressed) as body:
                return [
                    self._put(store, body, f"{now:%Y/%m/%d}/{name}", counts) for store in self.stores.values()
                ], counts

    def _put(self, store: Store, body: Body, name: str, counts: Counts) -> BackedUp:
        key = f"{folder_of(store)}{name}.db.gz"
        metadata = {
            "archiver-kind": "catalogue",
            "sha256": body.sha256,
            "schema": counts.schema,
            "images": str(sum(counts.images.values())),
            "generations": str(sum(counts.generations.values())),
            "copies": str(counts.copies),
        }
        done = BackedUp(store=store.name, key=key, size=body.size, sha256=body.sha256)
        try:
            store.put_new(key, body, CONTENT_TYPE, metadata)
        except AdapterError as error:
            return BackedUp(store=store.name, key=key, size=body.size, sha256=body.sha256, error=redact(str(error)))
        self.catalogue.snapshots.backed_up(store.name, key, self.now())
        return done


def folder_of(store: Store) -> str:
    """What the keys of all snapshots in a store begin with."""
    prefix = f"{store.prefix.strip('/')}/" if store.prefix.strip("/") else ""
    return f"{prefix}_catalogue/"


def taken_at(store: Store, key: str) -> datetime | None:
    """When the snapshot of this key was taken; None when that is no key that `Backup` makes."""
    match = _NAME.fullmatch(key.removeprefix(folder_of(store))) if key.startswith(folder_of(store)) else None
    if match is None:
        return None
    milliseconds = 0
    for letter in match[2][:10]:
        milliseconds = milliseconds * 32 + _DIGITS.index(letter)
    try:
        told = datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (ValueError, OverflowError):
        return None
    return told if f"{told:%Y/%m/%d}" == match[1] else None


def snapshots_in(store: Store) -> list[Snapshot]:
    """All of them, the newest first. Raises Unusable when the store does not tell."""
    try:
        heads = list(store.list(folder_of(store)))
    except AdapterError as error:
        raise Unusable(f"the snapshots in {store.name} cannot be listed: {error}") from error
    found = [
        Snapshot(key=head.key, taken_at=moment, size=head.size)
        for head in heads
        if (moment := taken_at(store, head.key)) is not None
    ]
    return sorted(found, key=lambda item: (item.taken_at, item.key), reverse=True)


def fetch(store: Store, key: str, folder: Path, room: int) -> tuple[Path, bool]:
    """Bring a snapshot into `folder`, unpacked; nothing is written beyond `room` bytes. Also whether the store told its
    digest (a plain folder keeps none: then its own checksum and SQLite vouch for it).

    Raises UsageError when there is none, Unusable when it cannot be had or is not what was put there.
    """
    compressed, whole = folder / "fetched", folder / "restored"
    digest, size = hashlib.sha256(), 0
    try:
        head = store.head(key)
        with create(compressed) as file:
            for piece in store.open(key):
                size += len(piece)
                _check_room(size, room)
                digest.update(piece)
                file.write(piece)
    except Gone:
        raise UsageError(f"there is no {key} in {store.name}; `archiver restore --list` lists the snapshots") from None
    except AdapterError as error:
        raise Unusable(f"{key} cannot be read from {store.name}: {error}") from error
    stated = head.sha256 if head is not None else None
    if stated is not None and stated != digest.hexdigest():
        raise Unusable(f"{key} in {store.name} is not what was put there: its SHA-256 is another one; take another one")
    try:
        with gzip.open(compressed, "rb") as source, create(whole) as file:
            while piece := source.read(PIECE):
                size += len(piece)
                _check_room(size, room)
                file.write(piece)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise Unusable(f"{key} in {store.name} is damaged ({error}); take another one") from error
    compressed.unlink()
    return whole, stated is not None


@contextmanager
def workroom(parts: Path, owner: Owner) -> Iterator[Path]:
    """An empty folder for this process alone, until the end."""
    for left in parts.glob("catalogue-*"):
        if not owner.is_alive(left.name.removeprefix("catalogue-")):
            shutil.rmtree(left, ignore_errors=True)
    folder = parts / f"catalogue-{owner.id}"
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _compress(path: Path, into: Path) -> Path:
    """The same bytes give the same file: it holds no name and no time."""
    with path.open("rb") as source, create(into) as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as target:
        shutil.copyfileobj(source, target, PIECE)
    return into


def _check_room(size: int, room: int) -> None:
    if size > room:
        raise Unusable(f"a snapshot of more than {room} bytes has no room on this disk")
