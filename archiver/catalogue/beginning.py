"""The moment at which money is committed: one planned generation becomes submitted, and its cost is taken out of every
budget that holds for it. Statements for the transactions of `generations` and `batches`; none is opened here.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from archiver.catalogue import budgets
from archiver.catalogue.database import Connection, as_text
from archiver.catalogue.fitness import FIT
from archiver.catalogue.reusing import UNLIKE
from archiver.catalogue.rows import Submission, submission_of
from archiver.core.budget import Limit, applicable, purses
from archiver.core.pricing import Order

# Spelled as in the partial index `generations_open`: SQLite would scan the whole table otherwise.
_OPEN = "state in ('planned', 'submitted', 'accepted')"


def begin_next(
    db: Connection,
    scope: Mapping[str, str | None],
    owner: str,
    now: datetime,
    *,
    cost: Callable[[Order], int | None],
    limits: Sequence[Limit],
) -> tuple[Submission | None, bool]:
    """Begin the next planned generation in scope, inside the caller's transaction. None when there is none; and
    whether one was held, because a budget has no room for it: then there may be another."""
    row = db.execute(
        f"""
        select * from generations
        where {_OPEN} and state = 'planned' and provider = :provider
            and (not_before is null or not_before <= :now)
            and (:job is null or job = :job)
            and (:ids is null or id in (select value from json_each(:ids)))
            and {FIT} and {UNLIKE}
        order by priority desc, seq limit 1
        """,
        {**scope, "now": as_text(now)},
    ).fetchone()
    if row is None:
        return None, False
    expected = cost(budgets.order_of(row, now))
    due = purses(applicable(limits, row["provider"], row["job"]), now)
    full = budgets.reserve(db, due, expected)
    if full is None:
        return _begin(db, row["seq"], (expected, budgets.as_charged(due)), owner, now), False
    budgets.hold(db, row, full, expected, now)
    return None, True


def _begin(db: Connection, seq: int, charged: tuple[int | None, str], owner: str, now: datetime) -> Submission:
    row = db.execute(
        """
        update generations
        set state = 'submitted', owner = :owner, submitted_at = :now, attempts = attempts + 1, not_before = null,
            denied_at = null, held = 0, expected_micro = :expected, charged_to = :charged_to, batch_id = null,
            mode = 'now'
        where seq = :seq and state = 'planned' returning *
        """,
        {"seq": seq, "owner": owner, "now": as_text(now), "expected": charged[0], "charged_to": charged[1]},
    ).fetchone()
    return submission_of(row)
