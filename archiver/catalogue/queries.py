"""People's own SQL: on a connection that can only read, for so long and for so many rows.

SQLite itself refuses what is not a question: the file is opened read-only, and an authorizer allows nothing but
reading. Temporary URLs are passwords: their table cannot be read here.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from archiver.catalogue.database import sqlite
from archiver.core.errors import UsageError

#: SQLite asks so often, counted in its own steps, whether it may go on.
_STEPS = 10_000
_HIDDEN = frozenset({"urls"})
_REACHES_OUT = frozenset({"load_extension", "readfile", "writefile", "edit", "fts3_tokenizer"})


def _judge(action: int, first: str | None, second: str | None, *_: object) -> int:
    """SQLite's question what a statement may do."""
    if action in (sqlite.SQLITE_SELECT, getattr(sqlite, "SQLITE_RECURSIVE", 33)):
        return int(sqlite.SQLITE_OK)
    if action == sqlite.SQLITE_READ and first not in _HIDDEN:
        return int(sqlite.SQLITE_OK)
    if action == sqlite.SQLITE_PRAGMA and first == "data_version" and second is None:  # FTS5 itself asks this one
        return int(sqlite.SQLITE_OK)
    if action == sqlite.SQLITE_FUNCTION and (second or "").lower() not in _REACHES_OUT:
        return int(sqlite.SQLITE_OK)
    return int(sqlite.SQLITE_DENY)


def ask(
    path: Path, statement: str, *, limit: int, seconds: float, elapsed: Callable[[], float]
) -> tuple[list[str], list[tuple[Any, ...]], bool]:
    """The names of the columns, at most `limit` rows, and whether there are more.

    Raises UsageError for SQL that SQLite does not take, that is no question, or that takes longer than `seconds`.
    """
    connection = sqlite.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=seconds)
    ends = elapsed() + seconds
    try:
        connection.execute("pragma query_only=on")
        connection.execute("pragma trusted_schema=off")
        connection.execute("select 1 from prompts limit 0")  # FTS5 sets itself up before the judge looks
        connection.set_authorizer(_judge)
        connection.set_progress_handler(lambda: int(elapsed() > ends), _STEPS)
        cursor = connection.execute(statement)
        rows: Sequence[Any] = cursor.fetchmany(limit + 1)
        if cursor.description is None:
            raise UsageError("this is no question: write SELECT ... or WITH ... SELECT ...")
        names = _different([column[0] for column in cursor.description])
        return names, [tuple(row) for row in rows[:limit]], len(rows) > limit
    except (sqlite.Error, sqlite.Warning, ValueError, MemoryError) as error:  # ValueError: a NUL in the statement
        raise UsageError(_reason(error, seconds)) from None
    finally:
        connection.close()


def _reason(error: BaseException, seconds: float) -> str:
    text = str(error) or type(error).__name__
    if "interrupted" in text:
        return f"the question takes longer than {seconds:g} s; ask for less"
    if "not authorized" in text or "denied" in text or "prohibited" in text or "readonly" in text:
        return f"only SELECT and WITH are allowed here, and no temporary URLs ({text})"
    return f"SQLite does not take this: {text}"


def _different(names: Sequence[str]) -> list[str]:
    """Names of columns, none twice: a row is told by them."""
    found: list[str] = []
    for name in names:
        number, one = 1, name
        while one in found:
            number += 1
            one = f"{name}_{number}"
        found.append(one)
    return found
