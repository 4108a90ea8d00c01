"""Balances of budgets: statements for the transactions of `generations`, which hold the money of one generation.

No function here opens a transaction: a reservation belongs into the one that commits `submitted`. That the balance
never exceeds its limit is also a CHECK of the table, for the day when this file is wrong.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime

from archiver.catalogue.database import Connection, Row, as_text
from archiver.core.budget import Purse, refusal
from archiver.core.pricing import Order


def reserve(db: Connection, purses: Sequence[Purse], cost_micro: int | None) -> Purse | None:
    """Take the expected cost out of every purse. Returns the first one without room, and takes nothing then.

    An unknown cost (None) fits into no purse; what costs nothing fits into every one.
    """
    taken: list[tuple[str, str]] = []
    for purse in purses:
        place = {"scope": purse.scope, "period": purse.period, "limit": purse.limit_micro, "cost": cost_micro}
        # A limit that was lowered below what is spent already stays at that: it leaves no room, and is no error.
        db.execute(
            """
            insert into budgets (scope, period, limit_micro) values (:scope, :period, :limit)
            on conflict (scope, period) do update set limit_micro = max(excluded.limit_micro, budgets.spent_micro)
            """,
            place,
        )
        has_room = (
            cost_micro == 0
            or db.execute(
                "update budgets set spent_micro = spent_micro + :cost"
                " where scope = :scope and period = :period and spent_micro + :cost <= :limit",
                place,
            ).rowcount
        )
        if not has_room:
            # Nobody is released: two that have no room would release each other for ever.
            _change(db, json.dumps(taken), -(cost_micro or 0))
            return purse
        taken.append((purse.scope, purse.period))
    return None


def settle(db: Connection, charged_to: str, change_micro: int) -> None:
    """Correct what a generation took out of its purses (`charged_to`, a JSON list of [scope, period]).

    Negative gives back, and lets those try again that found no room. What a provider delivered beyond the order was
    spent all the same: the row's limit follows.
    """
    if charged_to != "[]" and change_micro != 0:
        _change(db, charged_to, change_micro)
        if change_micro < 0:
            release(db)


def _change(db: Connection, charged_to: str, change_micro: int) -> None:
    db.execute(
        """
        update budgets set spent_micro = max(spent_micro + :change, 0),
            limit_micro = max(limit_micro, spent_micro + :change)
        where (scope, period) in (
            select json_extract(value, '$[0]'), json_extract(value, '$[1]') from json_each(:charged_to)
        )
        """,
        {"change": change_micro, "charged_to": charged_to},
    )


def release(db: Connection) -> None:
    """Let what waits for a budget try again; what still has no room waits again, and no event repeats it."""
    db.execute(
        "update generations set held = 0, not_before = null"
        " where state in ('planned', 'submitted', 'accepted') and state = 'planned' and held = 1"
    )


def as_charged(purses: Sequence[Purse]) -> str:
    """The purses as a generation's row names them."""
    return json.dumps([(purse.scope, purse.period) for purse in purses])


def hold(db: Connection, row: Row, purse: Purse, cost_micro: int | None, now: datetime) -> None:
    """Let a generation wait until the purse's next period, and with it all that would be refused for the same reason.

    An event tells of each, once a period: together, so that ten thousand prompts are not refused one by one.
    """
    reason = refusal(purse, row["provider"], cost_micro)
    same = """
        from generations where state in ('planned', 'submitted', 'accepted') and state = 'planned'
            and provider = :provider and n >= :n and (:every_job or job is :job)
            and (not_before is null or not_before <= :now)
    """
    values = {
        "provider": row["provider"],
        "n": row["n"],
        "job": row["job"],
        "every_job": not purse.scope.startswith("jobs."),
        "now": as_text(now),
        "until": as_text(purse.ends),
        "reason": reason,
    }
    db.execute(
        "insert into events (at, kind, generation_id, detail)"
        f" select :now, 'held', id, :reason {same} and error is not :reason",
        values,
    )
    db.execute(
        f"update generations set held = 1, not_before = :until, error = :reason where seq in (select seq {same})",
        values,
    )


def order_of(row: Row, at: datetime) -> Order:
    """What the price of a row of `generations` depends on when it is asked for at `at`."""
    return Order(
        model=str(row["model"] or ""),
        on=at.astimezone(UTC).date(),
        size=None if row["size"] is None else str(row["size"]),
        n=int(row["n"] or 1),
        parameters=json.loads(str(row["parameters"])),
        mode=str(row["mode"]),
    )
