"""A snapshot becomes the catalogue: what may have happened since it was taken must not happen, and be paid for, again.

The lost catalogue went on after the snapshot. What was planned may have been asked for, so it is in doubt, and a person
decides; ticks that came due may have been claimed, so they count as claimed. What is free (polling accepted work,
looking for a batch by its name) goes on. Which ticks came due is decided elsewhere.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from archiver.catalogue.database import Connection, Database, as_text, as_time
from archiver.catalogue.rows import note
from archiver.core.states import BATCH, GENERATION

_OPEN = "state in ('planned', 'submitted', 'accepted')"


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeSafe:
    """What was put in order: generations in doubt now, batches that are looked for by name, jobs whose ticks count as
    claimed."""

    in_doubt: int
    batches: int
    jobs: int


class Restoring:
    """A snapshot on its way to be the catalogue."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def jobs(self) -> set[str]:
        """Every job that was ever seen or had a tick."""
        return {row["job"] for row in self._database.rows("select name as job from jobs union select job from ticks")}

    def last(self) -> datetime | None:
        """When this catalogue was last restored; None when it never was, or is older than that question."""
        row = self._database.rows("select max(at) as at from events where kind = 'restored'")[0]
        return as_time(row["at"]) if row["at"] else None

    def make_safe(self, origin: str, taken: datetime, ticks: Mapping[str, datetime], now: datetime) -> MadeSafe:
        """Put a snapshot that was `taken` in order, in one transaction. `ticks` counts as claimed, and of every other
        job that is known the present moment. No process may be alive that owns anything in it."""
        reason = f"restored from a snapshot of {as_text(taken)}: it may have been asked for since, and charged"
        with self._database.write() as db:
            for table, ends in (("images", "claimed_until"), ("generations", "polled_until")):
                column = "claimed_by = null, " if table == "images" else ""
                db.execute(f"update {table} set {column}{ends} = null where {ends} is not null")
            batches = _look_for(db, reason, now)
            in_doubt = _doubt(db, reason, taken, now)
            jobs = {row["job"] for row in db.execute("select name as job from jobs union select job from ticks")}
            marks = {**dict.fromkeys(jobs, now), **ticks}
            db.executemany(
                "insert or ignore into ticks (job, scheduled_for, created_at) values (?, ?, ?)",
                [(job, as_text(due), as_text(now)) for job, due in marks.items()],
            )
            told = f"{origin}, taken {as_text(taken)}; {in_doubt} generations in doubt"
            note(db, now, "restored", detail=told)
        return MadeSafe(in_doubt=in_doubt, batches=batches, jobs=len(marks))


def _look_for(db: Connection, reason: str, now: datetime) -> int:
    """A batch that was gathered may have been ordered since: its provider is asked for it by its name, as for one whose
    order was not answered."""
    gathered = db.execute(
        f"update batches set state = '{BATCH['order'].target}', submitted_at = ?, error = ?"
        " where state = 'gathered' returning id",
        (as_text(now), reason),
    ).fetchall()
    db.execute(
        "update batches set leased_until = null, not_before = null where state in ('ordered', 'accepted', 'ended')"
    )
    return len(gathered)


def _doubt(db: Connection, reason: str, taken: datetime, now: datetime) -> int:
    """What was planned, or was being asked for by somebody who is gone."""
    rows = db.execute(
        f"""
        select id, state from generations where {_OPEN} and state in ('planned', 'submitted')
            and (batch_id is null or batch_id not in (select id from batches where state = 'ordered'))
        """
    ).fetchall()
    ids = json.dumps([row["id"] for row in rows])
    these = "id in (select value from json_each(:ids))"
    db.execute(
        f"update generations set state = '{GENERATION['submit'].target}', held = 0, batch_id = null"
        f" where state = 'planned' and {these}",
        {"ids": ids},
    )
    db.execute(
        f"""
        update generations set state = '{GENERATION["doubt"].target}', owner = null, not_before = null, error = :reason,
            submitted_at = coalesce(submitted_at, :taken)
        where state = 'submitted' and {these}
        """,
        {"ids": ids, "reason": reason, "taken": as_text(taken)},
    )
    # Whoever asks for unknown outcomes again by themselves leaves these alone: see `Outcomes.retry_once`.
    for row in rows:
        note(db, now, "restored", generation_id=row["id"], detail=reason)
    waiting = db.execute(
        f"select id from generations where {_OPEN} and state = 'submitted' and batch_id is not null"
    ).fetchall()
    for row in waiting:
        note(db, now, "restored", generation_id=row["id"], detail=reason)
    return len(rows)
