"""Batches: generations that are asked for together, and move together until the output of the batch is taken in.

Every move of a batch and of all its generations is one transaction, guarded by the batch's state and by its owner: what
an owner that lost its lease says changes nothing. Once it is over, each generation goes its own way (`generations`).
"""

import json
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

from archiver.catalogue import budgets
from archiver.catalogue.batch_reports import BatchRow, batch_row
from archiver.catalogue.beginning import begin_next
from archiver.catalogue.database import Connection, Database, Row, as_text, as_time
from archiver.catalogue.rows import Submission, note
from archiver.core.batching import BatchState
from archiver.core.budget import Limit
from archiver.core.pricing import Order
from archiver.core.states import BATCH, GENERATION

#: Whose turn it is now. A lease that ends later than any lease does was given before the clock was set back.
_DUE = """
    state in ('ordered', 'accepted', 'ended') and (not_before is null or not_before <= :now or not_before > :ahead)
    and (leased_until is null or leased_until <= :now or leased_until > :ahead)
"""


class Batches:
    """Batches."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def gather(
        self,
        batch_id: str,
        provider: str,
        owner: str,
        now: datetime,
        *,
        quiet_for: timedelta,
        most: Callable[[str | None], int],
        until: datetime,
        job: str | None = None,
        ids: Sequence[str] | None = None,
        fit: Collection[str] | None = None,
        cost: Callable[[Order], int | None] = lambda _: None,
        limits: Sequence[Limit] = (),
    ) -> list[Submission]:
        """Take planned generations of a provider that are due, as `Generations.begin_submit` takes one, into a new
        batch; all of it is one transaction, before anything is sent. `most` tells how many with images of a size go
        into one. Nothing while fewer are there and the newest is younger than `quiet_for`. `until` ends the lease.
        """
        scope = {"provider": provider, "job": job, "ids": None if ids is None else json.dumps(list(ids))}
        scope["fit"] = None if fit is None else json.dumps(sorted(fit))
        with self._database.write() as db:
            waiting = _waiting(db, scope, now)
            if not waiting:
                return []
            room = min(most(row["size"]) for row in waiting)
            age = now - as_time(max(row["newest"] for row in waiting))
            if sum(row["count"] for row in waiting) < room and timedelta(0) <= age < quiet_for:
                return []
            taken: list[Submission] = []
            while len(taken) < room:
                submission, is_held = begin_next(db, scope, owner, now, cost=cost, limits=limits)
                if submission is not None:
                    taken.append(submission)
                elif not is_held:
                    break
            if taken:
                db.execute(
                    "insert into batches (id, provider, state, n, created_at, owner, leased_until)"
                    " values (?, ?, 'gathered', ?, ?, ?, ?)",
                    (batch_id, provider, len(taken), as_text(now), owner, as_text(until)),
                )
                _each(db, "update generations set batch_id = :batch, mode = 'batch'", batch_id, taken)
        return taken

    def order(self, batch_id: str, owner: str, now: datetime, until: datetime) -> bool:
        """Commit that the batch is being ordered: from here on it may be charged. `until` ends the lease."""
        with self._database.write() as db:
            if _move(db, "order", batch_id, owner, submitted_at=as_text(now), leased_until=as_text(until)) is None:
                return False
            # Some may have left it since it was gathered.
            db.execute(
                "update batches set n = (select count(*) from generations where batch_id = :id and state = 'submitted')"
                " where id = :id",
                {"id": batch_id},
            )
        return True

    def withdraw(self, batch_id: str, owner: str, not_before: datetime, error: str, now: datetime) -> bool:
        """Provably not ordered: every generation that it has is planned again, and the budgets have it back."""
        with self._database.write() as db:
            if _move(db, "withdraw", batch_id, owner, error=error, leased_until=None) is None:
                return False
            _members(db, "withdraw", batch_id, now, error=error, is_free=True, not_before=as_text(not_before))
        return True

    def refuse(self, batch_id: str, owner: str, error: str, now: datetime) -> bool:
        """The provider will never make it, and charged nothing: every generation that it has failed."""
        with self._database.write() as db:
            if _move(db, "withdraw", batch_id, owner, error=error, leased_until=None) is None:
                return False
            _members(db, "fail", batch_id, now, error=error, is_free=True)
        return True

    def doubt(self, batch_id: str, owner: str, error: str, now: datetime) -> bool:
        """It was ordered, and nobody knows whether the provider took it: all of it may be charged, and none of it is
        repeated by itself."""
        with self._database.write() as db:
            if _move(db, "doubt", batch_id, owner, error=error, leased_until=None) is None:
                return False
            _members(db, "doubt", batch_id, now, error=error)
        return True

    def accept(self, batch_id: str, owner: str, handle: str, again: datetime, now: datetime) -> bool:
        """The provider took it; `handle` asks for it, first at `again`."""
        values = {"handle": handle, "accepted_at": as_text(now), "not_before": as_text(again)}
        with self._database.write() as db:
            if _move(db, "accept", batch_id, owner, error=None, leased_until=None, **values) is None:
                return False
            _members(db, "accept", batch_id, now, handle=handle)
        return True

    def end(self, batch_id: str, owner: str, state: BatchState, now: datetime) -> bool:
        """The provider is done with it. Whoever says so goes on with it: the lease stays."""
        values = _said(state, now) | {
            "files": json.dumps(state.files),
            "rest_is_free": int(state.rest_is_free),
            "ended_at": as_text(now),
        }
        with self._database.write() as db:
            if _move(db, "end", batch_id, owner, **values) is None:
                return False
            _adopt(db, batch_id, owner)
        return True

    def collect(self, batch_id: str, owner: str, now: datetime) -> bool:
        """Every line was taken in."""
        with self._database.write() as db:
            values = {"collected_at": as_text(now), "error": None, "leased_until": None, "not_before": None}
            return _move(db, "collect", batch_id, owner, **values) is not None

    def take(
        self, provider: str, owner: str, now: datetime, until: datetime, *, longest: timedelta = timedelta(0)
    ) -> BatchRow | None:
        """Take the next batch of a provider that is to be looked at; nobody else does before `until`, or before it is
        put back. `longest` is the longest pause between two looks."""
        with self._database.write() as db:
            row = db.execute(
                f"""
                update batches set owner = :owner, leased_until = :until where id = (
                    select id from batches where provider = :provider and {_DUE}
                    order by state = 'ended' desc, not_before limit 1
                ) returning *
                """,
                {
                    "provider": provider,
                    "owner": owner,
                    "now": as_text(now),
                    "until": as_text(until),
                    "ahead": as_text(max(until, now + longest) + timedelta(minutes=1)),
                },
            ).fetchone()
            if row is None:
                return None
            if row["state"] == "ended":
                _adopt(db, row["id"], owner)
        return batch_row(row)

    def hold(self, batch_id: str, owner: str, until: datetime) -> bool:
        """Go on with a batch that this owner has. False when somebody else has it by now."""
        with self._database.write() as db:
            statement = "update batches set leased_until = ? where id = ? and owner = ? and leased_until is not null"
            return bool(db.execute(statement, (as_text(until), batch_id, owner)).rowcount)

    def put_back(
        self,
        batch_id: str,
        owner: str,
        again: datetime,
        now: datetime,
        *,
        state: BatchState | None = None,
        error: str | None = None,
    ) -> bool:
        """It is looked at again at `again`. `state` is what the provider said now."""
        values: dict[str, Any] = {"not_before": as_text(again), "leased_until": None, "error": error}
        values |= _said(state, now) if state else {}
        with self._database.write() as db:
            return _set(db, batch_id, owner, values) is not None

    def free(self, owner: str, now: datetime) -> int:
        """What an owner that is gone had in its hands is due now. Returns how many there were."""
        with self._database.write() as db:
            statement = (
                "update batches set leased_until = null, not_before = ?"
                " where state in ('ordered', 'accepted', 'ended') and leased_until is not null and owner = ?"
            )
            return int(db.execute(statement, (as_text(now), owner)).rowcount)


def _waiting(db: Connection, scope: dict[str, str | None], now: datetime) -> list[Row]:
    """What is planned and due, by size; a look from far away: what one may not ask for is found out one by one."""
    found: list[Row] = db.execute(
        """
        select size, count(*) as count, max(created_at) as newest from generations
        where state in ('planned', 'submitted', 'accepted') and state = 'planned' and provider = :provider
            and (not_before is null or not_before <= :now) and (:job is null or job = :job)
            and (:ids is null or id in (select value from json_each(:ids)))
        group by size
        """,
        {**scope, "now": as_text(now)},
    ).fetchall()
    return found


def _adopt(db: Connection, batch_id: str, owner: str) -> None:
    """Whoever takes the output in writes the ends of its generations under its own name."""
    db.execute("update generations set owner = ? where batch_id = ? and state = 'accepted'", (owner, batch_id))


def _move(db: Connection, name: str, batch_id: str, owner: str, **values: Any) -> Row | None:
    """One transition of a batch."""
    sources = ", ".join(f"'{state}'" for state in sorted(BATCH[name].sources))
    return _set(db, batch_id, owner, {"state": BATCH[name].target, **values}, f" and state in ({sources})")


def _set(db: Connection, batch_id: str, owner: str, values: dict[str, Any], guard: str = "") -> Row | None:
    columns = ", ".join(f"{name} = :{name}" for name in values)
    row: Row | None = db.execute(
        f"update batches set {columns} where id = :batch and owner = :who{guard} returning *",
        {**values, "batch": batch_id, "who": owner},
    ).fetchone()
    return row


def _members(
    db: Connection,
    name: str,
    batch_id: str,
    now: datetime,
    *,
    error: str | None = None,
    handle: str | None = None,
    not_before: str | None = None,
    is_free: bool = False,
) -> None:
    """The same transition of every generation that a batch still has."""
    target, sources = GENERATION[name].target, ", ".join(f"'{state}'" for state in sorted(GENERATION[name].sources))
    rows = db.execute(
        f"""
        update generations set state = :target, error = :error, not_before = :not_before, handle = :handle,
            batch_id = case :target when 'planned' then null else batch_id end
        where batch_id = :batch and state in ({sources}) returning id, expected_micro, charged_to
        """,
        {"target": target, "error": error, "not_before": not_before, "handle": handle, "batch": batch_id},
    ).fetchall()
    for row in rows:
        if is_free:
            budgets.settle(db, row["charged_to"], -(row["expected_micro"] or 0))
        if name != "accept":
            note(db, now, target, generation_id=row["id"], detail=error)
    if is_free and target == "failed":
        db.execute(
            "update generations set cost_micro = 0, expected_micro = 0 where batch_id = ? and state = 'failed'",
            (batch_id,),
        )


def _each(db: Connection, change: str, batch_id: str, taken: Sequence[Submission]) -> None:
    ids = json.dumps([submission.ask.generation_id for submission in taken])
    db.execute(f"{change} where id in (select value from json_each(:ids))", {"batch": batch_id, "ids": ids})


def _said(state: BatchState, now: datetime) -> dict[str, Any]:
    return {
        "said": state.word,
        "done": state.done,
        "failed": state.failed,
        "expires_at": as_text(state.expires_at) if state.expires_at else None,
        "polled_at": as_text(now),
        "error": state.error,
    }
