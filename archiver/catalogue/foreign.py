"""Databases of other programs, as a source of a backfill: opened read-only and immutable, one question, row by row.

Nothing is written beside the file, no lock is taken, and nothing is asked but what can only read.
"""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from archiver.catalogue.database import Connection, sqlite
from archiver.core.errors import UsageError

_AT_ONCE = 500
_READS = frozenset({"SQLITE_SELECT", "SQLITE_READ", "SQLITE_FUNCTION", "SQLITE_RECURSIVE"})
_REACHES_OUT = frozenset({"load_extension", "readfile", "writefile", "edit"})


def tables(path: Path) -> list[str]:
    """The names of its tables and views. Raises UsageError when it is no database."""
    statement = "select name from sqlite_master where type in ('table', 'view') order by name"
    return [str(row["name"]) for row in rows(path, statement)]


def has_journal(path: Path) -> bool:
    """Whether there is a write-ahead log beside it, whose rows an immutable file does not show."""
    journal = path.with_name(path.name + "-wal")
    return journal.is_file() and journal.stat().st_size > 0


def rows(path: Path, statement: str) -> Iterator[dict[str, Any]]:
    """The rows of a question; bytes become text, and what is null or empty is left out. Raises UsageError."""
    try:
        with closing(_open(path)) as connection:
            cursor = connection.execute(statement)
            names = [column[0] for column in cursor.description or ()]
            if not names:
                raise UsageError("--query is no question: write SELECT ... or WITH ... SELECT ...")
            while batch := cursor.fetchmany(_AT_ONCE):
                for row in batch:
                    yield {
                        name: _plain(value) for name, value in zip(names, row, strict=True) if value not in (None, "")
                    }
    except (sqlite.Error, sqlite.Warning, ValueError) as error:
        raise UsageError(f"--query on {path.name}: {error}") from None


def _open(path: Path) -> Connection:
    connection: Connection = sqlite.connect(
        f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True, isolation_level=None
    )
    connection.text_factory = lambda data: data.decode("utf-8", "replace")
    allowed = {getattr(sqlite, name, 33) for name in _READS}

    def judge(action: int, _first: str | None, second: str | None, *_: object) -> int:
        is_fine = action in allowed and (second or "").lower() not in _REACHES_OUT
        return int(sqlite.SQLITE_OK if is_fine else sqlite.SQLITE_DENY)

    connection.set_authorizer(judge)
    return connection


def _plain(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
