"""The schema of a catalogue file: brought up to date, or refused because a newer archiver made it.

The history is in `migrations`, the views in `views.sql`. A file carries a stamp (its `user_version`) of both as they
were when it was last brought up to date, so that opening it again loads no library for that. It holds no migration.
"""

import re
from importlib import resources
from importlib.abc import InspectLoader
from importlib.util import find_spec
from typing import Any
from zlib import crc32

from archiver.catalogue.database import APPLICATION_ID, Database
from archiver.core.errors import Unusable

#: Of the table itself: when it is damaged, an index would hide that.
_APPLIED = "select name from _sqlite_migrations not indexed where migration_set = 'archiver' order by rowid"
_VIEW = re.compile(r"create view (\w+)")


def migrate(database: Database) -> None:
    """Bring the schema up to date; refuse a catalogue of a newer archiver.

    Two processes may try at once: the whole is one transaction.
    """
    views, history = resources.files("archiver.catalogue").joinpath("views.sql").read_text("utf-8"), _history()
    if _is_stamped(database, views, history):
        return
    from sqlite_utils import Database as Tables

    from archiver.catalogue.migrations import migrations

    newest(database)
    with database.write() as writer:
        tables: Any = Tables(writer, recursive_triggers=False)
        writer.execute(f"pragma application_id={APPLICATION_ID}")
        migrations.apply(tables)
        for statement in views.split(";\n"):
            if named := _VIEW.search(statement):  # a view that the user added stays
                writer.execute(f"drop view if exists {named[1]}")
                writer.execute(statement)
        applied = [row[0] for row in writer.execute(_APPLIED)]
        writer.execute(f"pragma user_version={_stamp(views, history, applied)}")


def newest(database: Database) -> tuple[str, tuple[str, ...]]:
    """The newest migration that was applied (empty: none was), and those that wait. Refuses as `migrate` does, and
    changes nothing."""
    from sqlite_utils import Database as Tables

    from archiver.catalogue.migrations import migrations

    with database.reading() as connection:
        tables: Any = Tables(connection, recursive_triggers=False)
        names = tuple(migration.name for migration in migrations.pending(tables))
        applied = {migration.name for migration in migrations.applied(tables)}
    known = {migration.name for migration in migrations.pending(Tables(memory=True))}
    if applied - known:
        raise Unusable(f"{database.path} was made by a newer archiver ({max(applied - known)}): upgrade this one")
    return max(applied, default=""), names


def _is_stamped(database: Database, views: str, history: str) -> bool:
    """Whether this archiver, with this history and these views, brought the file up to date, and nobody else since."""
    if not history or not database.rows("select 1 from sqlite_master where name = '_sqlite_migrations'"):
        return False
    applied = [row["name"] for row in database.rows(_APPLIED)]
    return bool(database.rows("pragma user_version")[0][0] == _stamp(views, history, applied))


def _stamp(views: str, history: str, applied: list[str]) -> int:
    """A 31-bit number for the texts of views and history, and for the migrations that were applied."""
    return crc32("\n".join((views, history, *applied)).encode()) & 0x7FFFFFFF


def _history() -> str:
    """The text that lists all migrations; empty where only compiled code is installed. It is not imported: that would
    load the library."""
    spec = find_spec("archiver.catalogue.migrations")
    loader = spec.loader if spec is not None else None
    return (loader.get_source("archiver.catalogue.migrations") or "") if isinstance(loader, InspectLoader) else ""
