"""Asking, as the catalogue sees it: jobs, ticks and generations.

The unique tick row owns the spending: whoever inserts it plans its generations in the same transaction, and nobody
else ever does. A generation leaves `planned` by one guarded UPDATE, so that it is submitted by one process only.
"""

import json
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta

from archiver.catalogue import budgets
from archiver.catalogue.database import Connection, Database, as_text, as_time
from archiver.catalogue.fitness import FIT
from archiver.catalogue.rows import (
    Arrival,
    Draft,
    Standing,
    Submission,
    insert_arrival,
    insert_generation,
    note,
    submission_of,
)
from archiver.core.budget import Limit, applicable, purses
from archiver.core.pricing import cost_micro as cost_of
from archiver.core.states import GENERATION

# Spelled as in the partial index `generations_open`: SQLite would scan the whole table otherwise.
_OPEN = "state in ('planned', 'submitted', 'accepted')"


class Generations:
    """Jobs, ticks and generations."""

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

    def last_tick(self, job: str) -> datetime | None:
        """The latest due time of a job that was ever claimed."""
        row = self._database.rows("select max(scheduled_for) as last from ticks where job = ?", (job,))[0]
        return as_time(row["last"]) if row["last"] else None

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

    def add(self, drafts: Iterable[Draft], now: datetime) -> None:
        """Plan generations that belong to no tick."""
        with self._database.write() as db:
            for draft in drafts:
                insert_generation(db, draft, "planned", now, None)

    def begin_submit(
        self,
        provider: str,
        owner: str,
        now: datetime,
        *,
        job: str | None = None,
        ids: Sequence[str] | None = None,
        fit: Collection[str] | None = None,
        price_micro: int | None = None,
        limits: Sequence[Limit] = (),
    ) -> Submission | None:
        """Take the next planned generation of a provider that is due, and commit that it is being asked for.

        With `fit`, only one that wants no other stores. Its expected cost is taken out of every budget (`limits`) that
        holds for it, in the same transaction; what has no room waits for the next day or month, and the next one is
        tried.
        """
        scope = {"provider": provider, "job": job, "ids": None if ids is None else json.dumps(list(ids))}
        scope["fit"] = None if fit is None else json.dumps(sorted(fit))
        while True:
            with self._database.write() as db:
                row = db.execute(
                    f"""
                    select * from generations
                    where {_OPEN} and state = 'planned' and provider = :provider
                        and (not_before is null or not_before <= :now)
                        and (:job is null or job = :job)
                        and (:ids is null or id in (select value from json_each(:ids)))
                        and {FIT}
                    order by priority desc, seq limit 1
                    """,
                    {**scope, "now": as_text(now)},
                ).fetchone()
                if row is None:
                    return None
                cost = cost_of(price_micro, row["n"])
                due = purses(applicable(limits, provider, row["job"]), now)
                full = budgets.reserve(db, due, cost)
                if full is None:
                    return _begin(db, row["seq"], (cost, budgets.as_charged(due)), owner, now)
                budgets.hold(db, row, full, cost, now)

    def next_poll(self, provider: str, owner: str, now: datetime, again: datetime) -> Submission | None:
        """Take the next accepted generation that is due for a poll; nobody else polls it before `again`."""
        with self._database.write() as db:
            row = db.execute(
                f"""
                update generations set not_before = :again, owner = :owner
                where seq = (
                    select seq from generations where {_OPEN} and state = 'accepted' and provider = :provider
                        and (not_before is null or not_before <= :now or not_before > :ahead)
                    order by not_before limit 1
                ) returning *
                """,
                {
                    "again": as_text(again),
                    "owner": owner,
                    "now": as_text(now),
                    # Nobody waits that long: the clock was set back, and what is ready may die meanwhile.
                    "ahead": as_text(again + timedelta(minutes=1)),
                    "provider": provider,
                },
            ).fetchone()
        return None if row is None else submission_of(row)

    def withdraw(self, generation_id: str, owner: str, not_before: datetime, error: str, now: datetime) -> bool:
        """Back to `planned`: the provider was provably not asked, or charged nothing. The budgets have it back."""
        return self._move("withdraw", generation_id, owner, now, error=error, not_before=not_before, is_free=True)

    def fail(self, generation_id: str, owner: str, error: str, now: datetime, *, is_free: bool = False) -> bool:
        """The provider said no for good, or answered without an image. `is_free`: it provably charged nothing, and the
        budgets have it back."""
        return self._move("fail", generation_id, owner, now, error=error, is_free=is_free)

    def doubt(self, generation_id: str, owner: str, error: str, now: datetime) -> bool:
        """It was sent, and no answer came that we can read: it may have been charged. Never repeated by itself."""
        return self._move("doubt", generation_id, owner, now, error=error)

    def cancel(self, ids: Sequence[str], now: datetime) -> int:
        """Withdraw generations that nobody has asked for yet. Returns how many there were."""
        with self._database.write() as db:
            rows = db.execute(
                "update generations set state = 'cancelled' where state = 'planned'"
                " and id in (select value from json_each(?)) returning id",
                (json.dumps(list(ids)),),
            ).fetchall()
            for row in rows:
                note(db, now, "cancelled", generation_id=row["id"])
        return len(rows)

    def accept(self, generation_id: str, owner: str, handle: str, first_poll: datetime, now: datetime) -> bool:
        """The provider took the work; `handle` asks for it."""
        return self._move("accept", generation_id, owner, now, handle=handle, not_before=first_poll)

    def complete(
        self,
        generation_id: str,
        arrivals: Sequence[Arrival],
        *,
        answered_at: datetime,
        now: datetime,
        request_id: str | None = None,
        cost_micro: int | None = None,
    ) -> bool:
        """Record all images of an answer at once. False when it was recorded before: ingesting again changes
        nothing."""
        with self._database.write() as db:
            row = db.execute(
                f"""
                update generations set state = 'completed', answered_at = :answered, request_id = :request_id,
                    cost_micro = :cost, owner = null, not_before = null, error = null
                where id = :id and state in ({_sources("complete")})
                returning stores, n, expected_micro, charged_to
                """,
                {
                    "answered": as_text(answered_at),
                    "request_id": request_id,
                    "cost": cost_micro,
                    "id": generation_id,
                },
            ).fetchone()
            if row is None:
                return False
            if cost_micro is not None and row["expected_micro"] is not None:
                budgets.settle(db, row["charged_to"], cost_micro - row["expected_micro"])
            for arrival in arrivals:
                insert_arrival(db, generation_id, arrival, json.loads(row["stores"]), now)
            if len(arrivals) < row["n"]:
                detail = f"{len(arrivals)} of {row['n']} images came"
                note(db, now, "short", generation_id=generation_id, detail=detail)
        return True

    def standing(self, generation_id: str) -> Standing | None:
        """How one generation stands, None when there is no such."""
        rows = self._database.rows("select state, owner, provider from generations where id = ?", (generation_id,))
        return Standing(state=rows[0]["state"], owner=rows[0]["owner"], provider=rows[0]["provider"]) if rows else None

    def complain(self, generation_id: str, error: str, now: datetime) -> None:
        """Note on an accepted generation that a poll brought nothing readable; it is polled again."""
        with self._database.write() as db:
            changed = db.execute(
                "update generations set error = :error where id = :id and state = 'accepted' and error is not :error",
                {"error": error, "id": generation_id},
            ).rowcount
            if changed:
                note(db, now, "unreadable", generation_id=generation_id, detail=error)

    def submitted(self) -> list[tuple[Submission, str]]:
        """All generations in state `submitted`, with the owner that asked."""
        rows = self._database.rows(f"select * from generations where {_OPEN} and state = 'submitted'")
        return [(submission_of(row), row["owner"]) for row in rows]

    def _move(
        self,
        name: str,
        generation_id: str,
        owner: str,
        now: datetime,
        *,
        error: str | None = None,
        handle: str | None = None,
        not_before: datetime | None = None,
        is_free: bool = False,
    ) -> bool:
        with self._database.write() as db:
            moved = db.execute(
                f"""
                update generations set state = :target, error = :error, handle = coalesce(:handle, handle),
                    not_before = :not_before
                where id = :id and owner = :owner and state in ({_sources(name)})
                returning expected_micro, charged_to
                """,
                {
                    "target": GENERATION[name].target,
                    "error": error,
                    "handle": handle,
                    "not_before": as_text(not_before) if not_before else None,
                    "id": generation_id,
                    "owner": owner,
                },
            ).fetchone()
            if moved is None:
                return False
            if is_free:
                budgets.settle(db, moved["charged_to"], -(moved["expected_micro"] or 0))
                # Should its images come home late all the same, the purses are debited then.
                db.execute(
                    "update generations set cost_micro = 0, expected_micro = 0 where id = ? and state = 'failed'",
                    (generation_id,),
                )
            if name != "accept":
                note(db, now, GENERATION[name].target, generation_id=generation_id, detail=error)
        return True


def _begin(db: Connection, seq: int, charged: tuple[int | None, str], owner: str, now: datetime) -> Submission:
    row = db.execute(
        """
        update generations
        set state = 'submitted', owner = :owner, submitted_at = :now, attempts = attempts + 1, not_before = null,
            held = 0, expected_micro = :expected, charged_to = :charged_to
        where seq = :seq and state = 'planned' returning *
        """,
        {"seq": seq, "owner": owner, "now": as_text(now), "expected": charged[0], "charged_to": charged[1]},
    ).fetchone()
    return submission_of(row)


def _sources(move: str) -> str:
    return ", ".join(f"'{state}'" for state in sorted(GENERATION[move].sources))
