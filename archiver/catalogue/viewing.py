"""A copy of the catalogue for readers who take their time, and what a connection of somebody else's may do.

Where SQLite lacks the fix of the WAL-reset bug the journal is TRUNCATE, and whoever reads for long would keep archiver
from writing: such readers get a snapshot. Temporary URLs are passwords: no snapshot holds them, and on a guarded
connection their table cannot be read, nor can the raw pages of the file.
"""

import os
import stat
from pathlib import Path
from typing import Any

from archiver.catalogue.database import has_wal_fix, sqlite
from archiver.core.errors import Unusable

HIDDEN = frozenset({"urls", "sqlite_dbpage", "dbstat"})
_REACHES_OUT = frozenset({"load_extension", "readfile", "writefile", "edit", "fts3_tokenizer"})
#: What tools ask about a schema; none of them sets anything when it has no value.
_ASKED = frozenset({
    "cache_size", "compile_options", "data_version", "database_list", "encoding", "foreign_key_list", "foreign_keys",
    "function_list", "index_info", "index_list", "index_xinfo", "page_count", "page_size", "query_only",
    "recursive_triggers", "schema_version", "table_info", "table_list", "table_xinfo", "user_version",
})  # fmt: skip
_OF_A_TABLE = frozenset({"foreign_key_list", "index_info", "index_list", "index_xinfo", "table_info", "table_xinfo"})


def readers_need_a_snapshot() -> bool:
    """Whether a long read of the live file would hold up archiver."""
    return not has_wal_fix(sqlite.sqlite_version_info)


def snapshot(path: Path, target: Path) -> None:
    """Copy the catalogue at `path` into the new file `target`, readable by its owner alone, without temporary URLs."""
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, stat.S_IRUSR | stat.S_IWUSR))
    try:
        source = sqlite.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=30.0)
        copy = sqlite.connect(target, isolation_level=None)
        try:
            source.backup(copy)
            copy.execute("pragma journal_mode=off")
            copy.execute("pragma secure_delete=on")
            copy.execute("delete from urls")
            copy.execute("vacuum")  # of a page that was split or merged, stale bytes stay in the gap
        finally:
            copy.close()
            source.close()
    except sqlite.Error as error:
        target.unlink(missing_ok=True)
        raise Unusable(f"cannot make a snapshot of {path}: {error}") from error


def guard(connection: Any) -> None:
    """Let a connection read and ask about the schema, and nothing else; temporary URLs not at all."""
    connection.set_authorizer(_judge)


def _judge(action: int, first: str | None, second: str | None, *_: object) -> int:
    allowed = False
    if action in (sqlite.SQLITE_SELECT, getattr(sqlite, "SQLITE_RECURSIVE", 33)):
        allowed = True
    elif action == sqlite.SQLITE_READ:
        allowed = (first or "").lower() not in HIDDEN
    elif action == sqlite.SQLITE_FUNCTION:
        allowed = (second or "").lower() not in _REACHES_OUT
    elif action == sqlite.SQLITE_PRAGMA:
        name = (first or "").lower()
        allowed = name in _OF_A_TABLE or (name in _ASKED and second is None)
    return int(sqlite.SQLITE_OK if allowed else sqlite.SQLITE_DENY)
