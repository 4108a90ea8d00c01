"""Looking at a catalogue file without opening it for work: no migration, no journal is changed, nothing is repaired.

A file that nobody has open is read as one that cannot change, so that no file beside it is made. What is found is told
in plain values; whether it is good is for others to say.
"""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from archiver.catalogue.database import APPLICATION_ID, Connection, has_wal_fix, sqlite

__all__ = ["Health", "Library", "has_wal_fix", "library", "look"]

_WAL_FORMAT = 2  # bytes 18 and 19 of the file
_STEPS = 20_000  # of SQLite's machine between two looks at the clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """The SQLite that is used, and the Python module that carries it."""

    module: str
    version: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """`error` is why the file cannot be read, in SQLite's words; then the rest says nothing. `is_ours`: it has the mark
    of a catalogue; `is_empty`: it holds nothing at all. `pending` are migrations that it wants, `unknown` those that a
    newer archiver has made. `damage` is what the check found; None: it was not finished in time."""

    error: str = ""
    is_ours: bool = False
    is_empty: bool = False
    journal: str = ""
    pending: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    damage: tuple[str, ...] | None = ()


def library() -> Library:
    """The SQLite that is used here."""
    return Library(module=sqlite.__name__.partition(".")[0], version=tuple(sqlite.sqlite_version_info))


def look(path: Path, *, deep: bool, is_late: Callable[[], bool]) -> Health:
    """Examine the file at `path`, with `deep` down to every index and reference. A check that goes on when `is_late` is
    given up."""
    is_open = Path(f"{path}-wal").exists() or Path(f"{path}-journal").exists()
    how = "mode=ro" if is_open else "mode=ro&immutable=1"
    try:
        with closing(sqlite.connect(f"{path.absolute().as_uri()}?{how}", uri=True, timeout=5.0)) as connection:
            return _examined(connection, path, deep=deep, is_late=is_late)
    except sqlite.DatabaseError as error:
        return Health(error=str(error))


def _examined(connection: Connection, path: Path, *, deep: bool, is_late: Callable[[], bool]) -> Health:
    mark = connection.execute("pragma application_id").fetchone()[0]
    tables = {row[0] for row in connection.execute("select name from sqlite_master where type = 'table'")}
    if mark != APPLICATION_ID:
        return Health(is_empty=mark == 0 and not tables)
    with path.open("rb") as file:
        is_wal = file.read(20)[18:] == bytes((_WAL_FORMAT, _WAL_FORMAT))
    applied = {row[0] for row in connection.execute("select name from _sqlite_migrations")}
    known = _known_migrations()
    return Health(
        is_ours=True,
        journal="wal" if is_wal else "rollback",
        pending=tuple(name for name in known if name not in applied),
        unknown=tuple(sorted(applied - set(known))),
        damage=_damage(connection, deep=deep, is_late=is_late),
    )


def _damage(connection: Connection, *, deep: bool, is_late: Callable[[], bool]) -> tuple[str, ...] | None:
    connection.set_progress_handler(lambda: int(is_late()), _STEPS)
    try:
        check = "integrity_check" if deep else "quick_check"
        found = [str(row[0]) for row in connection.execute(f"pragma {check}(3)") if row[0] != "ok"]
        if deep:
            broken = connection.execute("pragma foreign_key_check").fetchmany(3)
            found += [f"a row of {row[0]} refers to a row of {row[2]} that is not there" for row in broken]
    except sqlite.OperationalError as error:
        if "interrupted" in str(error):
            return None
        raise
    finally:
        connection.set_progress_handler(None, 0)
    return tuple(found)


def _known_migrations() -> list[str]:
    from sqlite_utils import Database as Tables  # late: few commands need it

    from archiver.catalogue.migrations import migrations

    return [migration.name for migration in migrations.pending(Tables(memory=True))]
