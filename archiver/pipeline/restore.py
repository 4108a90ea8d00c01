"""Bringing the catalogue back from a snapshot, or trying whether that works.

Everything is done to a copy in a folder of its own; the last act gives it the catalogue's name. What was there before
is set aside and never deleted. It asks no provider, and touches no image: `rebuild` adds what was archived since.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from archiver.catalogue import FILE_NAME, Catalogue, Counts, Owner
from archiver.catalogue.database import locked_folder
from archiver.catalogue.restoring import MadeSafe
from archiver.catalogue.snapshots import BESIDE, close_down, counts_in, has_rows, judge, pack, schema_of
from archiver.core.errors import Unusable, UsageError
from archiver.core.ports import Store
from archiver.pipeline.backup import Snapshot, fetch, snapshots_in, workroom
from archiver.pipeline.durable import flush
from archiver.pipeline.inbox import Inbox
from archiver.pipeline.spool import Spool
from archiver.schedule import Schedule, due

BUSY = "another archiver process works on {}; stop it first"


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What came of it. `holds` is the snapshot as it was put there, `live` the catalogue that is there now (of a drill;
    None: there is none, or it cannot be read). `answers` and `files` lie in inbox and spool, and no row names them."""

    key: str
    taken_at: datetime
    is_digest_told: bool
    holds: Counts
    safe: MadeSafe
    live: Counts | None = None
    aside: Path | None = None
    answers: int = 0
    files: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Restore:
    """`schedules` are those of the configured jobs, with their text. `free` tells the bytes that may be written."""

    data_dir: Path
    owner: Owner
    store: Store
    schedules: Mapping[str, tuple[Schedule, str]]
    free: Callable[[], int]
    now: Callable[[], datetime]

    def choose(self, at: datetime | None = None) -> str:
        """The key of the newest snapshot, or of the newest that was taken until `at`. Raises UsageError."""
        found = snapshots_in(self.store)
        fitting = [item for item in found if at is None or item.taken_at <= at]
        if not fitting:
            raise UsageError(
                f"there is no snapshot in {self.store.name}"
                + (f" that old; the oldest is {found[-1].key}" if found else "")
            )
        return fitting[0].key

    def listed(self) -> list[Snapshot]:
        """All snapshots, the newest first."""
        return snapshots_in(self.store)

    def drill(self, key: str) -> Restored:
        """Do everything but the last act."""
        with workroom(self.data_dir / "parts", self.owner) as folder:
            _, told = self._prepare(key, folder)
        live = self.data_dir / FILE_NAME
        try:
            return replace(told, live=counts_in(live) if live.is_file() and live.stat().st_size else None)
        except Unusable:
            return told

    def run(self, key: str, *, may_replace: bool) -> Restored:
        """Put a snapshot in the catalogue's place. Raises UsageError where a catalogue with rows is and it may not be
        replaced, Unusable while another process works."""
        target = self.data_dir / FILE_NAME
        if target.is_dir():
            raise Unusable(f"{target} is a folder, and no catalogue: move it away")
        if not self.owner.is_alone():
            raise Unusable(BUSY.format(self.data_dir))
        if not may_replace and target.exists() and target.stat().st_size and has_rows(target) is not False:
            raise UsageError(f"{target} is there: --yes sets it aside and restores; --drill only tries")
        with workroom(self.data_dir / "parts", self.owner) as folder:
            path, told = self._prepare(key, folder)
            aside = put_in_place(path, target, self.owner, f"replaced-{self.now():%Y%m%dT%H%M%S.%fZ}")
        return replace(told, aside=aside)

    def _prepare(self, key: str, folder: Path) -> tuple[Path, Restored]:
        path, is_told = fetch(self.store, key, folder, self.free())
        try:
            judge(path)
            schema_of(path)  # of a newer archiver: before anything is written
        except Unusable as error:
            raise Unusable(f"the snapshot {key} cannot be used: {error}") from error
        holds = counts_in(path)
        catalogue = Catalogue.open_file(path)
        try:
            taken, now = catalogue.snapshots.taken_at(), self.now()
            if taken is None:
                raise Unusable(f"{key} is a catalogue, but no snapshot: it does not say when it was taken")
            safe = catalogue.restoring.make_safe(f"{self.store.name}: {key}", taken, self._ticks(catalogue, now), now)
            answers, files = self._strangers(catalogue)
        finally:
            catalogue.close()
        if not close_down(path):
            raise Unusable(f"the snapshot {key} cannot be used")
        flush(path)
        return path, Restored(
            key=key, taken_at=taken, is_digest_told=is_told, holds=holds, safe=safe, answers=answers, files=files
        )

    def _ticks(self, catalogue: Catalogue, now: datetime) -> dict[str, datetime]:
        """The latest tick of every configured job that came due: it, and all before it, may have been claimed. So a
        schedule keeps its phase. Jobs that nobody has configured are left to the catalogue."""
        latest = {}
        for name, (schedule, text) in self.schedules.items():
            seen, last = catalogue.ticks.see_job(name, text, now), catalogue.ticks.last(name)
            ticks = due(schedule, first_seen=seen, last=last, now=now, catch_up="once")
            latest[name] = ticks[-1] if ticks else last or seen
        return latest

    def _strangers(self, catalogue: Catalogue) -> tuple[int, int]:
        """What came after the snapshot: answers, and files of the spool, that no row knows of."""
        inbox, spool = Inbox(self.data_dir / "inbox"), Spool(self.data_dir / "spool")
        names = {*inbox.answered(), *inbox.begun()}
        answers = sum(catalogue.generations.standing(name) is None for name in names)
        images = [name.partition(".")[0] for name in spool.names()]
        known = catalogue.images.spool_states(images)
        return answers, sum(name not in known for name in images)


def shrink(catalogue: Path, owner: Owner, parts: Path, free: Callable[[], int]) -> tuple[int, int]:
    """Write the catalogue anew without its empty pages. Returns its bytes before and after."""
    if not owner.is_alone():
        raise Unusable(BUSY.format(catalogue.parent))
    if not close_down(catalogue):
        raise Unusable(f"{catalogue} cannot be read; `archiver restore` or `archiver rebuild` makes another")
    before = catalogue.stat().st_size
    if (left := free()) < before:
        raise Unusable(f"this needs {before} bytes below {parts}, and {left} are free")
    with workroom(parts, owner) as folder:
        packed = folder / "packed"
        pack(catalogue, packed)
        flush(packed)
        after = packed.stat().st_size
        put_in_place(packed, catalogue, owner, None)
    return before, after


def put_in_place(new: Path, target: Path, owner: Owner, aside_name: str | None) -> Path | None:
    """Give a file the catalogue's name, as the last act. What has the name is set aside as `catalogue.ASIDE_NAME`
    (which is returned; None: it is no longer needed), with what SQLite keeps beside it. Raises Unusable when another
    process has come."""
    old = target.parent
    _drop_second_names(target)
    is_whole = not target.exists() or not target.stat().st_size or close_down(target)
    aside = None
    with locked_folder(old):  # nobody opens a catalogue meanwhile
        beside = [path for suffix in BESIDE if (path := old / f"{target.name}{suffix}").exists()]
        if not owner.is_alone() or (is_whole and beside):
            raise Unusable(BUSY.format(old))
        if target.exists() and aside_name is not None:
            aside = old / f"{target.stem}.{aside_name}"
            if aside.exists():
                raise Unusable(f"{aside} is there already; try again")
            os.link(target, aside)  # a second name: the first one is never missing
        for path in beside:  # of a file that SQLite cannot read; left there, they would be taken for the new one's
            path.rename(old / f"{aside.name if aside else target.stem}{path.name.removeprefix(target.name)}")
        flush(old)
        new.rename(target)
        flush(old)
        flush(new.parent)
    return aside


def _drop_second_names(target: Path) -> None:
    """Somebody who died between the two acts left the catalogue with two names."""
    for path in target.parent.glob(f"{target.stem}.replaced-*"):
        if target.exists() and path.samefile(target):
            path.unlink()
