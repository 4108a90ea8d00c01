"""What generations came to, what that cost, and an operator's word on an outcome that the house cannot know.

Reading, and three moves that a person asks for (or the start of a process): nothing here happens by itself, because to
ask again may pay twice.
"""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from archiver.catalogue.budgets import release
from archiver.catalogue.database import Connection, Database, as_text
from archiver.catalogue.rows import note
from archiver.core.budget import Purse
from archiver.core.states import GENERATION

_OPEN_OUTCOMES = ", ".join(f"'{state}'" for state in sorted(GENERATION["retry"].sources))


_LISTED = """
    select seq, id as generation_id, state, prompt, job, provider, model, n,
        coalesce(cost_micro, expected_micro) / 1e6 as price_usd,
        created_at, submitted_at, answered_at, not_before, written_off_at, error
    from generations
"""


class Outcomes:
    """The money side of generations."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def generations(
        self,
        *,
        states: Sequence[str] = (),
        job: str | None = None,
        limit: int,
        generation_id: str | None = None,
    ) -> list[dict[str, Any]]:
        """The newest generations first. `price_usd` is what one did cost, else what it was expected to cost when it was
        asked for; None is unknown, and never free."""
        given = {"job": job, "id": generation_id, "limit": limit} | {f"state{n}": one for n, one in enumerate(states)}
        own = "" if job is None else " and job = :job"
        if generation_id is not None:
            listed = [f"{_LISTED} where id = :id"]
        elif states and "completed" not in states:
            # Each state in the order of its index: those that are not completed are few, or all of one kind.
            rare = f"{_LISTED} indexed by generations_other where state <> 'completed' and state = "
            listed = [f"{rare}:state{number}{own} order by seq desc limit :limit" for number in range(len(states))]
        elif states:
            places = ", ".join(f":state{number}" for number in range(len(states)))
            listed = [f"{_LISTED} where state in ({places}){own} order by seq desc limit :limit"]
        else:
            listed = [f"{_LISTED} where true{own} order by seq desc limit :limit"]
        parts = " union all ".join(f"select * from ({one})" for one in listed)
        rows = [dict(row) for row in self._database.rows(f"{parts} order by seq desc limit :limit", given)]
        for row in rows:
            del row["seq"]
        return rows

    def retry(self, generation_id: str, detail: str, now: datetime) -> bool:
        """Plan an unknown or failed generation again: an operator pays again. What its first request may have cost
        stays in the budgets, and so does its handle: until it is asked for again, its images may still come home. False
        when it is in no such state."""
        with self._database.write() as db:
            moved = _plan_again(db, generation_id)
            if moved:
                note(db, now, "resolved", generation_id=generation_id, detail=detail)
        return moved

    def retry_once(self, generation_id: str, now: datetime) -> bool:
        """Plan a generation of unknown outcome again because its provider's settings say so: as `retry`, but only once
        in its life, and never when its outcome was lost with a catalogue. False when it was before, or is in no such
        state."""
        with self._database.write() as db:
            may = db.execute(
                "select 1 from generations where id = :id and state = 'unknown' and not exists"
                " (select 1 from events where generation_id = :id and kind in ('asked-again', 'restored'))",
                {"id": generation_id},
            ).fetchone()
            if may is None or not _plan_again(db, generation_id):
                return False
            detail = 'on_unknown = "retry": asked once more; both requests count as spent'
            note(db, now, "asked-again", generation_id=generation_id, detail=detail)
        return True

    def write_off(self, generation_id: str, detail: str, now: datetime) -> bool:
        """An operator knows of an unknown or failed generation and does not want it repeated: it no longer counts as
        open, and still as spent. False when it is in no such state, or was written off before."""
        with self._database.write() as db:
            changed = db.execute(
                "update generations set written_off_at = ?"
                f" where id = ? and state in ({_OPEN_OUTCOMES}) and written_off_at is null",
                (as_text(now), generation_id),
            ).rowcount
            if changed:
                note(db, now, "written-off", generation_id=generation_id, detail=detail)
        return bool(changed)

    def release_held(self) -> None:
        """Let what waits for a budget try again: a limit may have changed since."""
        with self._database.write() as db:
            release(db)

    def balances(self, purses: Sequence[Purse]) -> list[dict[str, Any]]:
        """What is spent of each purse, in US dollars, in the order given."""
        spent = {
            (row["scope"], row["period"]): row["spent_micro"]
            for row in self._database.rows(
                "select scope, period, spent_micro from budgets"
                " where period in (select value from json_each(?)) order by scope, period",
                (json.dumps(sorted({purse.period for purse in purses})),),
            )
        }
        return [
            {
                "scope": purse.scope,
                "period": purse.period,
                "spent_usd": spent.get((purse.scope, purse.period), 0) / 1e6,
                "limit_usd": purse.limit_micro / 1e6,
            }
            for purse in purses
        ]


def _plan_again(db: Connection, generation_id: str) -> bool:
    # What cost nothing (0) leaves no trace; what may have been charged stays in the reports of money.
    db.execute(
        f"""
        insert into earlier_requests
            (generation_id, state, submitted_at, answered_at, request_id, expected_micro, error)
        select id, state, submitted_at, answered_at, request_id, coalesce(cost_micro, expected_micro), error
        from generations
        where id = ? and state in ({_OPEN_OUTCOMES}) and submitted_at is not null
            and coalesce(cost_micro, expected_micro) is not 0
        """,
        (generation_id,),
    )
    moved = db.execute(
        f"""
        update generations set state = 'planned', owner = null, not_before = null, held = 0, attempts = 0,
            error = null, cost_micro = null, expected_micro = null, written_off_at = null,
            request_id = null, answered_at = null
        where id = ? and state in ({_OPEN_OUTCOMES})
        """,
        (generation_id,),
    ).rowcount
    return bool(moved)
