"""Connections to the catalogue file, and the two ways to use one: a write transaction or a read.

SQLite is opened through pysqlite3, whose wheel carries a version without the WAL-reset bug; where only an older SQLite
can be had, the journal is TRUNCATE. A connection serves one thread at a time, and only while it is at work: hundreds of
threads that wait for providers need none, and what one has compiled serves the next. No statement of archiver's own is
here.
"""

import fcntl
import os
import stat
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archiver.core.errors import Unusable

if TYPE_CHECKING:
    import sqlite3 as sqlite
    from sqlite3 import Connection, Row
else:
    try:
        from pysqlite3 import dbapi2 as sqlite
    except ImportError:  # no wheel for this platform
        import sqlite3 as sqlite
    Connection, Row = sqlite.Connection, sqlite.Row

__all__ = ["Connection", "Database", "Row", "as_text", "as_time", "has_wal_fix", "is_refusal", "sqlite"]

APPLICATION_ID = 0x41524348  # "ARCH"
#: More than the house has: a full cache throws out the newest, which then is compiled again for every single row.
MOST_STATEMENTS = 1000
#: For others who write: of this process, and of other ones.
_LOOK_S = 0.01
LONGEST_WAIT_S = 30.0


def as_text(moment: datetime) -> str:
    """A time as the catalogue keeps it: fixed-width UTC text with milliseconds, `2026-11-20T09:15:00.000Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def as_time(text: str) -> datetime:
    """The time that `as_text` wrote, as an aware UTC datetime."""
    return datetime.fromisoformat(text)


def is_refusal(error: Exception) -> bool:
    """Whether a guard of the schema refused a row: a unique key, a check, a trigger."""
    return isinstance(error, sqlite.IntegrityError)


def _what_to_do(error: Exception) -> str:
    """The way out of a file that no waiting mends."""
    is_lost = any(words in str(error) for words in ("malformed", "not a database"))
    return "; `archiver restore` or `archiver rebuild` makes another" if is_lost else ""


def has_wal_fix(version: tuple[int, ...]) -> bool:
    """Whether this SQLite is free of the WAL-reset race (fixed in 3.51.3, 3.50.7 and 3.44.6)."""
    return version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Hold a lock on the catalogue's folder, under which connections are opened: changing the journal of a new file
    fails at once where others have it open, and SQLite does not wait for them; and no file changes its name then."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise Unusable(f"cannot open the folder {folder}: {error.strerror}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


class Database:
    """The catalogue file. Threads may share an instance: none meets another in a connection."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        self._all: list[tuple[int, Connection]] = []
        self._free: list[tuple[int, Connection]] = []
        self._opening = threading.Lock()
        self._writing = threading.Lock()
        self._wal = has_wal_fix(sqlite.sqlite_version_info)

    def create_file(self) -> None:
        """Make the file where there is none, readable by its owner alone: SQLite's journals inherit the mode.

        Its first page is written before anybody else can look: a file of no bytes is none that was just made, but one
        that lost everything, and work on it would pay again for what it knew."""
        if not self.path.parent.is_dir():
            raise Unusable(f"cannot make the catalogue {self.path}: there is no such folder")
        with locked_folder(self.path.parent):
            try:
                flags = os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                os.close(os.open(self.path, flags, stat.S_IRUSR | stat.S_IWUSR))
            except FileExistsError:
                return
            except OSError as error:
                raise Unusable(f"cannot make the catalogue {self.path}: {error.strerror}") from error
            with self._fit_to_be("made"), closing(sqlite.connect(self.path)) as connection:
                connection.execute("pragma user_version=0")

    @property
    def connection(self) -> Connection:
        """This thread's connection, which it keeps from now on: that of its transaction, if one is open."""
        held = self._held() or self._take()
        self._local.held, self._local.keeps = held, True
        return held[1]

    def keep(self) -> None:
        """Before temporary tables are made, which lie in a connection: this thread keeps its own from now on."""
        _ = self.connection

    @contextmanager
    def _lent(self) -> Iterator[Connection]:
        """The connection that this thread has, else any that is free until the end of the block."""
        if (mine := self._held()) is not None:
            yield mine[1]
            return
        free, local = self._free, self._local  # others than those of now once somebody closes
        held = local.held = self._take()
        local.keeps = False
        try:
            yield held[1]
        finally:
            if not local.keeps:
                local.held = None
                free.append(held)

    def _held(self) -> tuple[int, Connection] | None:
        """What this thread has. After a fork the child opens its own: SQLite's must not be inherited."""
        held: tuple[int, Connection] | None = getattr(self._local, "held", None)
        return held if held is not None and held[0] == os.getpid() else None

    def _take(self) -> tuple[int, Connection]:
        """The one that was free last, since it knows most statements, or a new one. Who would open a new one waits for
        whoever does: meanwhile one is given back. Where no more can be opened (too many open files), the next one that
        is given back serves: between a request that is committed and its sending, nothing may fail for want of one."""
        if (found := self._pop()) is None:
            with self._opening:
                if (found := self._pop()) is None:
                    try:
                        found = os.getpid(), self._open()
                    except Unusable:
                        if (found := self._given_back()) is None:
                            raise
                    else:
                        self._all.append(found)
        return found

    def _given_back(self) -> tuple[int, Connection] | None:
        """Wait for a connection of another thread. None when there is none, or none comes."""
        pause = threading.Event()
        for _ in range(round(LONGEST_WAIT_S / _LOOK_S) if self._all else 0):
            if (found := self._pop()) is not None:
                return found
            pause.wait(_LOOK_S)
        return None

    def _pop(self) -> tuple[int, Connection] | None:
        process = os.getpid()
        with suppress(IndexError):
            while (found := self._free.pop())[0] != process:
                pass  # inherited by a fork; `_all` keeps it from being closed
            return found
        return None

    def _open(self) -> Connection:
        with self._fit_to_be("used"), locked_folder(self.path.parent):
            connection = sqlite.connect(
                f"{self.path.absolute().as_uri()}?mode=rw",
                uri=True,
                isolation_level=None,
                timeout=LONGEST_WAIT_S,
                check_same_thread=False,  # only so that close() may close them all
                cached_statements=MOST_STATEMENTS,
            )
            try:
                self._set_up(connection)
            except BaseException:
                connection.close()
                raise
        return connection

    def _set_up(self, connection: Connection) -> None:
        connection.row_factory = Row
        # Before the journal mode, which would change a foreign file. The tables before the mark: both are committed at
        # once, so that whoever sees the tables of a process that migrates right now sees the mark too.
        has_tables = connection.execute("select 1 from sqlite_master limit 1").fetchone() is not None
        mark = connection.execute("pragma application_id").fetchone()[0]
        if mark not in (0, APPLICATION_ID) or (mark == 0 and has_tables):
            raise Unusable(f"{self.path} is a database, but no catalogue of archiver's")
        wanted = "wal" if self._wal else "truncate"
        if (mode := connection.execute(f"pragma journal_mode={wanted}").fetchone()[0]) != wanted:
            # SQLite says so without an error; what is left would lose commits in a power cut.
            raise Unusable(f"the catalogue {self.path} cannot keep a {wanted} journal, only {mode}: use a local disk")
        for pragma in (
            "synchronous=full",
            "fullfsync=on",
            "foreign_keys=on",
            "secure_delete=on",
            "cell_size_check=on",
            "journal_size_limit=67108864",
        ):
            connection.execute(f"pragma {pragma}")

    @contextmanager
    def _fit_to_be(self, verb: str) -> Iterator[None]:
        """Locked, full, damaged and unreadable are `Unusable`; what a guard refused, and our own mistakes, are not."""
        try:
            yield
        except sqlite.DatabaseError as error:
            if type(error) not in (sqlite.DatabaseError, sqlite.OperationalError):
                raise
            raise Unusable(f"the catalogue {self.path} cannot be {verb}: {error}{_what_to_do(error)}") from error

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One write transaction: BEGIN IMMEDIATE, so that a busy database is waited for and not refused at once. The
        threads of a process wait for each other here: SQLite would have them look again after up to 100 ms."""
        is_our_turn = self._writing.acquire(timeout=LONGEST_WAIT_S)
        try:
            with self._lent() as connection, self._fit_to_be("written"):
                connection.execute("begin immediate")
                try:
                    yield connection
                    connection.execute("commit")
                except BaseException:
                    self._rollback(connection)
                    raise
        finally:
            if is_our_turn:
                self._writing.release()

    @staticmethod
    def _rollback(connection: Connection) -> None:
        if connection.in_transaction:  # a full disk makes SQLite roll back by itself
            connection.execute("rollback")

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection, for what is more than a question and writes nothing."""
        with self._lent() as connection, self._fit_to_be("read"):
            yield connection

    def rows(self, statement: str, parameters: dict[str, Any] | tuple[Any, ...] = ()) -> list[Any]:
        """All rows of a read."""
        with self._lent() as connection, self._fit_to_be("read"):
            return list(connection.execute(statement, parameters))

    def scratch(self, statement: str, rows: Iterable[Any] = ((),)) -> None:
        """Write into temporary tables of this thread's connection: they lie in a file of their own, and nobody who
        works on the catalogue waits for it."""
        connection = self.connection
        with self._fit_to_be("read"):
            connection.execute("begin")
            try:
                connection.executemany(statement, rows)
                connection.execute("commit")
            except BaseException:
                self._rollback(connection)
                raise

    def vacuum(self) -> None:
        """Write the file anew: what erased rows left in its pages goes. Others read meanwhile, and wait to write."""
        with self._lent() as connection, self._fit_to_be("written"):
            connection.execute("vacuum")

    def truncate_wal(self) -> None:
        """Move the write-ahead log into the file and empty it: scrubbed URLs stay readable in it otherwise."""
        if self._wal:
            with self._lent() as connection, self._fit_to_be("written"):
                connection.execute("pragma wal_checkpoint(truncate)").fetchall()

    def close(self) -> None:
        """Close every connection, but none that this process inherited by a fork."""
        connections, self._all, self._free, self._local = self._all, [], [], threading.local()
        for process, connection in connections:
            if process == os.getpid():
                connection.close()
