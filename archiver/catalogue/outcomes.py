"""What generations came to, what that cost, and an operator's word on an outcome that the house cannot know.

Reading, and three moves that a person asks for (or the start of a process): nothing here happens by itself, because to
ask again may pay twice.
"""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from archiver.catalogue.budgets import release
from archiver.catalogue.database import Database, as_text
from archiver.catalogue.rows import note
from archiver.core.budget import Purse
from archiver.core.states import GENERATION

_OPEN_OUTCOMES = ", ".join(f"'{state}'" for state in sorted(GENERATION["retry"].sources))


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
        return [
            dict(row)
            for row in self._database.rows(
                """
                select id as generation_id, state, prompt, job, provider, model, n,
                    coalesce(cost_micro, expected_micro) / 1e6 as price_usd,
                    created_at, submitted_at, answered_at, not_before, written_off_at, error
                from generations
                where (:states = '[]' or state in (select value from json_each(:states)))
                    and (:job is null or job = :job) and (:id is null or id = :id)
                order by seq desc limit :limit
                """,
                {"states": json.dumps(list(states)), "job": job, "id": generation_id, "limit": limit},
            )
        ]

    def retry(self, generation_id: str, detail: str, now: datetime) -> bool:
        """Plan an unknown or failed generation again: an operator pays again. What its first request may have cost
        stays in the budgets. False when it is in no such state."""
        with self._database.write() as db:
            moved = db.execute(
                f"""
                update generations set state = 'planned', owner = null, not_before = null, held = 0, attempts = 0,
                    error = null, handle = null, cost_micro = null, expected_micro = null, written_off_at = null
                where id = ? and state in ({_OPEN_OUTCOMES})
                """,
                (generation_id,),
            ).rowcount
            if moved:
                note(db, now, "resolved", generation_id=generation_id, detail=detail)
        return bool(moved)

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
