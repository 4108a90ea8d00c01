"""Jobs and ticks: what was due, and who took it.

The unique tick row owns the spending: whoever inserts it plans its generations in the same transaction, and nobody
else ever does. Which ticks are due is decided elsewhere (`archiver.schedule`).
"""

from collections.abc import Sequence
from datetime import datetime

from archiver.catalogue.counters import Counters
from archiver.catalogue.database import Database, as_text, as_time
from archiver.catalogue.inserting import insert_generation
from archiver.catalogue.rows import Draft


class Ticks:
    """Jobs and their ticks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def see_job(self, name: str, schedule: str, now: datetime) -> datetime:
        """Remember when a job was first seen with this schedule; a changed schedule counts as seen anew."""
        with self._database.write() as db:
            db.execute(
                """
                insert into jobs (name, schedule, first_seen_at) values (:name, :schedule, :now)
                on conflict (name) do update set schedule = excluded.schedule, first_seen_at = excluded.first_seen_at
                where schedule <> excluded.schedule
                """,
                {"name": name, "schedule": schedule, "now": as_text(now)},
            )
            row = db.execute("select first_seen_at from jobs where name = ?", (name,)).fetchone()
        return as_time(row["first_seen_at"])

    def last(self, job: str) -> datetime | None:
        """The latest due time of a job that was ever claimed."""
        row = self._database.rows("select max(scheduled_for) as last from ticks where job = ?", (job,))[0]
        return as_time(row["last"]) if row["last"] else None

    def count(self, job: str) -> int:
        """How many ticks of a job were ever claimed."""
        return Counters(self._database).one("ticks", job)[0]

    def plan(self, job: str, scheduled_for: datetime, drafts: Sequence[Draft], now: datetime) -> bool:
        """Claim a tick and plan its generations. False when the tick was claimed before, by anybody: nothing
        changes."""
        with self._database.write() as db:
            tick = {"job": job, "due": as_text(scheduled_for), "now": as_text(now)}
            claimed = db.execute(
                "insert or ignore into ticks (job, scheduled_for, created_at) values (:job, :due, :now)", tick
            ).rowcount
            if claimed:
                for draft in drafts:
                    insert_generation(db, draft, "planned", now, scheduled_for)
        return bool(claimed)
