"""The catalogue as a file that can leave this machine, and what may be believed of one that came back.

A snapshot is one moment of the catalogue, taken while others go on writing, and packed anew: no page of it holds what
was erased. Nothing here puts a file anywhere or gives the catalogue its name.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from archiver.catalogue.database import APPLICATION_ID, Connection, Database, as_time, sqlite
from archiver.catalogue.rows import note
from archiver.catalogue.schema import newest
from archiver.core.errors import Unusable

#: What SQLite keeps beside a file while it is open, or was when somebody died.
BESIDE = ("-wal", "-shm", "-journal")


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What a catalogue holds: rows by state, confirmed copies, temporary URLs, and when it last wrote an event."""

    schema: str
    images: Mapping[str, int]
    generations: Mapping[str, int]
    copies: int
    urls: int
    last_event: str | None


class Snapshots:
    """Taking snapshots."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self, folder: Path, now: datetime, *, with_urls: bool = True) -> Path:
        """A snapshot in a file of its own, below an empty `folder` that needs room for two of it. Whoever writes
        meanwhile is not kept waiting. Raises Unusable, also when SQLite finds the copy damaged."""
        copied, packed = folder / "copied", folder / "packed"
        for path in (copied, packed):
            _make_private(path)
        # In one step: with pauses in between, it would begin anew with every write.
        with _opened(copied) as copy:
            with self._database.reading() as live:
                live.backup(copy)
            copy.execute("pragma journal_mode=off")  # a file of nobody else's, thrown away if we die
            note(copy, now, "snapshot", detail=None if with_urls else "without temporary URLs")
            if not with_urls:
                copy.execute("delete from urls")
            copy.execute("vacuum into ?", (str(packed),))
        copied.unlink()
        judge(packed)
        return packed

    def backed_up(self, store: str, key: str, now: datetime) -> None:
        """Remember where a snapshot is."""
        with self._database.write() as db:
            note(db, now, "backed-up", store=store, detail=key)

    def taken_at(self) -> datetime | None:
        """When the snapshot that this file is, or that it was restored from, was taken. None for one that never was."""
        found = self._database.rows("select max(at) as at from events where kind = 'snapshot'")[0]["at"]
        return as_time(found) if found else None


def schema_of(path: Path) -> tuple[str, tuple[str, ...]]:
    """As `schema.newest`: the newest migration of a catalogue, and those that wait. Nothing is migrated."""
    database = Database(path)
    try:
        return newest(database)
    finally:
        database.close()


def counts_in(path: Path) -> Counts:
    """What a catalogue file holds. Nothing is migrated."""
    with _opened(path) as file:
        schema = file.execute("select max(name) from _sqlite_migrations where migration_set = 'archiver'").fetchone()
        by_state = [
            dict(file.execute(f"select state, count(*) from {table} group by state order by state").fetchall())
            for table in ("images", "generations")
        ]
        copies, urls = (
            int(file.execute(f"select count(*) from {what}").fetchone()[0])
            for what in ("copies where state = 'confirmed'", "urls")
        )
        last = file.execute("select at from events order by id desc limit 1").fetchone()
    return Counts(
        schema=str(schema[0]),
        images=by_state[0],
        generations=by_state[1],
        copies=copies,
        urls=urls,
        last_event=str(last[0]) if last else None,
    )


def judge(path: Path) -> None:
    """Raise Unusable unless a file is a whole catalogue: ours by its mark, every page sound, no row without the one
    that it refers to."""
    with _opened(path) as file:
        file.execute("pragma cell_size_check=on")
        file.execute("pragma trusted_schema=off")  # it may come from a bucket that others write
        if file.execute("pragma application_id").fetchone()[0] != APPLICATION_ID:
            raise Unusable(f"{path}: a database, but no catalogue of archiver's")
        if (word := file.execute("pragma quick_check(1)").fetchone()[0]) != "ok":
            raise Unusable(f"{path}: damaged: {word}")
        if (row := file.execute("pragma foreign_key_check").fetchone()) is not None:
            raise Unusable(f"{path}: damaged: a row of {row[0]} refers to one of {row[2]} that is not there")


def has_rows(path: Path) -> bool | None:
    """Whether anything was ever asked for or taken in. None when the file cannot be read."""
    try:
        with _opened(path, "ro") as file:
            return file.execute("select 1 from generations limit 1").fetchone() is not None
    except Unusable:
        return None


def close_down(path: Path) -> bool:
    """Bring everything into the one file, so that it can change its name. False when SQLite cannot read it. Raises
    Unusable when somebody has it open."""
    if has_rows(path) is None:  # opened to be written, SQLite would throw away the log beside it
        return False
    try:
        with _opened(path) as file:
            mode = file.execute("pragma journal_mode=delete").fetchone()[0]
    except Unusable as error:
        if "locked" in str(error):
            raise Unusable(f"somebody reads {path} right now; try again when they are done") from error
        return False
    if mode != "delete":
        raise Unusable(f"somebody has {path} open; stop them first")
    return True


def pack(path: Path, packed: Path) -> None:
    """Write the same catalogue into another file without its empty pages. Memory stays small."""
    _make_private(packed)
    with _opened(path) as file:
        file.execute("vacuum into ?", (str(packed),))
    judge(packed)


def _make_private(path: Path) -> None:
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))


@contextmanager
def _opened(path: Path, mode: str = "rw") -> Iterator[Connection]:
    """A connection that changes nothing by itself; what SQLite complains of is Unusable."""
    try:
        file = sqlite.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None, timeout=5.0)
        try:
            yield file
        finally:
            file.close()
    except sqlite.Error as error:
        raise Unusable(f"{path}: {error}") from error
