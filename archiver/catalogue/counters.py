"""Numbers that are kept, not counted: rows by state, copies by store, ticks by job, what was archived in which hour.

Triggers of the schema keep them in the transaction of the change itself, so that a status costs the same however many
rows there are. It reads, and can count everything again to prove them; only `mend` changes one.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from archiver.catalogue.database import Connection, Database, as_text
from archiver.core.states import states

#: What every counter must be: what it counts, by which key, how many rows and bytes, the slow way.
RECOUNT = """
    select 'images' as name, state as key, count(*) as value, 0 as size from images group by state
    union all select 'generations', state, count(*), 0 from generations group by state
    union all select 'copies', store, count(*), 0 from copies where state = 'confirmed' group by store
    union all select 'ticks', job, count(*), 0 from ticks group by job
    union all select 'spool', state, count(*), coalesce(sum(size), 0)
        from images where state = 'spooled' group by state
    union all select 'archived', substr(archived_at, 1, 13), count(*), coalesce(sum(size), 0)
        from images where archived_at is not null group by 2
"""
# A counter of nothing may be there as 0, or not be there.
_DIFFERENCES = f"""
    select name, key, sum(kept) as kept, sum(counted) as counted, sum(kept_bytes) as kept_bytes,
        sum(counted_bytes) as counted_bytes
    from (
        select name, key, value as kept, 0 as counted, size as kept_bytes, 0 as counted_bytes from counters
        union all select name, key, 0, value, 0, size from ({RECOUNT})
    ) group by name, key having sum(kept) <> sum(counted) or sum(kept_bytes) <> sum(counted_bytes) order by name, key
"""
_STATES = ", ".join(f"'{state}'" for state in states("image"))
HOUR = len("2026-11-20T09")


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A counter that does not say what a recount says."""

    name: str
    key: str
    kept: int
    counted: int
    kept_bytes: int = 0
    counted_bytes: int = 0


class Counters:
    """Counters."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, name: str) -> dict[str, int]:
        """The counters of one name (`images`, `generations`: by state, `copies`: confirmed ones by store, `ticks`: by
        job, `archived`: images by hour) that are not 0, in the order of their keys."""
        statement = "select key, value from counters where name = ? and value <> 0 order by key"
        return {row["key"]: row["value"] for row in self._database.rows(statement, (name,))}

    def one(self, name: str, key: str) -> tuple[int, int]:
        """One counter and its bytes; 0 when nothing was ever counted."""
        rows = self._database.rows("select value, size from counters where name = ? and key = ?", (name, key))
        return (rows[0]["value"], rows[0]["size"]) if rows else (0, 0)

    def archived_since(self, moment: datetime) -> tuple[int, int]:
        """How many images were archived since a moment, and their bytes: whole hours by their counters, and what lies
        in the hour of that moment image by image."""
        since = as_text(moment)
        (row,) = self._database.rows(
            f"""
            select sum(n) as n, sum(bytes) as bytes from (
                select coalesce(sum(value), 0) as n, coalesce(sum(size), 0) as bytes from counters
                where name = 'archived' and key > :hour
                union all
                select count(*), coalesce(sum(size), 0) from images
                where state in ({_STATES}) and archived_at >= :since and archived_at < :next
            )
            """,
            {"hour": since[:HOUR], "since": since, "next": as_text(moment + timedelta(hours=1))[:HOUR]},
        )
        return row["n"], row["bytes"]

    def differences(self) -> list[Difference]:
        """The counters that are not what a recount says; it reads every row of the catalogue. Empty in health."""
        return [Difference(**dict(row)) for row in self._database.rows(_DIFFERENCES)]

    def mend(self) -> list[Difference]:
        """Let the counters say what a recount says. Returns what was wrong."""
        with self._database.write() as db:
            found = [Difference(**dict(row)) for row in db.execute(_DIFFERENCES)]
            _write(db, found)
        return found


def _write(db: Connection, differences: list[Difference]) -> None:
    db.executemany(
        "insert into counters (name, key, value, size) values (?, ?, ?, ?)"
        " on conflict (name, key) do update set value = excluded.value, size = excluded.size",
        [(one.name, one.key, one.counted, one.counted_bytes) for one in differences],
    )
