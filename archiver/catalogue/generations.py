"""Asking, as the catalogue sees it: what becomes of a generation.

A generation leaves `planned` by one guarded UPDATE, so that it is submitted by one process only, and each of its moves
is one transaction. Ticks, which plan generations, are in `ticks`; what an operator says of them is in `outcomes`.
"""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime

from archiver.catalogue import budgets
from archiver.catalogue.beginning import begin_next
from archiver.catalogue.database import Database, as_text, as_time
from archiver.catalogue.inserting import insert_arrival, insert_generation
from archiver.catalogue.rows import Arrival, Draft, Standing, Submission, note, submission_of
from archiver.core.budget import Limit
from archiver.core.model import Json
from archiver.core.pricing import Order
from archiver.core.states import GENERATION

# Spelled as in the partial index `generations_open`: SQLite would scan the whole table otherwise.
_OPEN = "state in ('planned', 'submitted', 'accepted')"


class Generations:
    """Generations."""

    def __init__(self, database: Database) -> None:
        self._database = database

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
        cost: Callable[[Order], int | None] = lambda _: None,
        limits: Sequence[Limit] = (),
    ) -> Submission | None:
        """Take the next planned generation of a provider that is due, and commit that it is being asked for.

        With `fit`, only one that wants no other stores; never one for which an equal one serves, or may. Its expected
        cost (micro-USD, as `cost` says; None is unknown) is taken out of every budget (`limits`) that holds for it, in
        the same transaction; what has no room waits for the next day or month, and the next one is tried.
        """
        scope = {"provider": provider, "job": job, "ids": None if ids is None else json.dumps(list(ids))}
        scope["fit"] = None if fit is None else json.dumps(sorted(fit))
        is_held = True
        while is_held:
            with self._database.write() as db:
                submission, is_held = begin_next(db, scope, owner, now, cost=cost, limits=limits)
        return submission

    def withdraw(self, generation_id: str, owner: str, not_before: datetime, error: str, now: datetime) -> bool:
        """Back to `planned`: the provider was provably not asked, or charged nothing. The budgets have it back."""
        return self._move("withdraw", generation_id, owner, now, error=error, not_before=not_before, is_free=True)

    def fail(
        self,
        generation_id: str,
        owner: str,
        error: str,
        now: datetime,
        *,
        is_free: bool = False,
        answer: tuple[str | None, datetime | None] = (None, None),
    ) -> bool:
        """The provider said no for good, or answered without an image. `is_free`: it provably charged nothing, and the
        budgets have it back. `answer`: the provider's own id of the request, and when it answered; for a refund."""
        return self._move("fail", generation_id, owner, now, error=error, is_free=is_free, answer=answer)

    def doubt(
        self,
        generation_id: str,
        owner: str,
        error: str,
        now: datetime,
        *,
        answer: tuple[str | None, datetime | None] = (None, None),
    ) -> bool:
        """It was sent, and no answer came that we can read: it may have been charged. Never repeated by itself."""
        return self._move("doubt", generation_id, owner, now, error=error, answer=answer)

    def cancel(self, ids: Sequence[str], now: datetime) -> int:
        """Withdraw generations that wait to be asked for. Returns how many there were. One that was asked for before
        and may have been charged says so."""
        with self._database.write() as db:
            rows = db.execute(
                """
                update generations set state = 'cancelled', error = coalesce((
                    select 'asked before, and may have been charged: ' || coalesce(e.error, e.state)
                    from earlier_requests as e where e.generation_id = generations.id order by e.id desc limit 1
                ), error)
                where state = 'planned' and id in (select value from json_each(?)) returning id, error
                """,
                (json.dumps(list(ids)),),
            ).fetchall()
            for row in rows:
                note(db, now, "cancelled", generation_id=row["id"], detail=row["error"])
        return len(rows)

    def accept(
        self,
        generation_id: str,
        owner: str,
        handle: str,
        first_poll: datetime,
        now: datetime,
        *,
        request_id: str | None = None,
    ) -> bool:
        """The provider took the work; `handle` asks for it."""
        answer = (request_id, None)
        return self._move("accept", generation_id, owner, now, handle=handle, not_before=first_poll, answer=answer)

    def complete(
        self,
        generation_id: str,
        arrivals: Sequence[Arrival],
        *,
        answered_at: datetime,
        now: datetime,
        request_id: str | None = None,
        cost_micro: int | None = None,
        reply: str | None = None,
        facts: Mapping[str, Json] | None = None,
        is_late: bool = False,
    ) -> bool:
        """Record all images of an answer at once. False when it was recorded before: ingesting again changes nothing;
        and when it `is_late` and the generation is just being asked for anew: that request has an answer of its own."""
        came = sum(arrival.role == "final" for arrival in arrivals)
        with self._database.write() as db:
            # Planned again, and answered after all: it was that request, and no other one was paid for.
            db.execute(
                "delete from earlier_requests where id = (select max(e.id) from earlier_requests as e"
                " join generations as g on g.id = e.generation_id where g.id = ? and g.state = 'planned')",
                (generation_id,),
            )
            row = db.execute(
                f"""
                update generations set state = 'completed', answered_at = :answered,
                    request_id = coalesce(:request_id, request_id),
                    cost_micro = :cost, owner = null, not_before = null, error = null, reply = :reply, facts = :facts,
                    came = :came, handle = case state when 'submitted' then null else handle end
                where id = :id and state in ({_sources("complete")})
                    and not (state = 'planned' and submitted_at is null) and not (:is_late and state = 'submitted')
                returning stores, n, expected_micro, charged_to
                """,
                {
                    "answered": as_text(answered_at),
                    "request_id": request_id,
                    "cost": cost_micro,
                    "reply": reply,
                    "facts": json.dumps(dict(facts or {}), ensure_ascii=False),
                    "came": came,
                    "is_late": is_late,
                    "id": generation_id,
                },
            ).fetchone()
            if row is None:
                return False
            if cost_micro is not None and row["expected_micro"] is not None:
                budgets.settle(db, row["charged_to"], cost_micro - row["expected_micro"])
            for arrival in arrivals:
                insert_arrival(db, generation_id, arrival, json.loads(row["stores"]), now)
            if came < row["n"]:
                note(db, now, "short", generation_id=generation_id, detail=f"{came} of {row['n']} images came")
        return True

    def order(self, generation_id: str) -> Order | None:
        """What the price of a generation depends on, as of the moment when it was last asked for."""
        rows = self._database.rows("select * from generations where id = ?", (generation_id,))
        return budgets.order_of(rows[0], as_time(rows[0]["submitted_at"] or rows[0]["created_at"])) if rows else None

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
        """All generations in state `submitted`, with the owner that asked; those in a batch move with it."""
        rows = self._database.rows(
            f"select * from generations where {_OPEN} and state = 'submitted' and batch_id is null"
        )
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
        answer: tuple[str | None, datetime | None] = (None, None),
    ) -> bool:
        request_id, answered_at = answer
        with self._database.write() as db:
            moved = db.execute(
                f"""
                update generations set state = :target, error = :error, handle = coalesce(:handle, handle),
                    not_before = :not_before, polled_until = null, request_id = coalesce(request_id, :request_id),
                    answered_at = coalesce(:answered_at, answered_at),
                    batch_id = case :target when 'planned' then null else batch_id end
                where id = :id and owner = :owner and state in ({_sources(name)})
                returning expected_micro, charged_to
                """,
                {
                    "target": GENERATION[name].target,
                    "error": error,
                    "handle": handle,
                    "not_before": as_text(not_before) if not_before else None,
                    "request_id": request_id,
                    "answered_at": as_text(answered_at) if answered_at else None,
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


def _sources(move: str) -> str:
    return ", ".join(f"'{state}'" for state in sorted(GENERATION[move].sources))
