"""The moment at which money is committed: one planned generation becomes submitted, and its cost is taken out of every
budget that holds for it. Statements for the transactions of `generations` and `batches`; none is opened here.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from archiver.catalogue import budgets
from archiver.catalogue.database import Connection, Row, as_text
from archiver.catalogue.fitness import FIT, due_seqs
from archiver.catalogue.reusing import UNLIKE
from archiver.catalogue.rows import Submission, submission_of
from archiver.core.budget import Limit, applicable, purses
from archiver.core.pricing import Order

#: So many are looked at in their order first: nearly always one of them may be asked for.
FIRST_LOOK = 50
_IN_ORDER = "generations indexed by generations_turn"
_NEXT = f"""
    select generations.* from {{walk}}
    where generations.state = 'planned' and generations.provider = :provider
        and (generations.not_before is null or generations.not_before <= :now)
        and (:job is null or generations.job = :job) and {FIT}
        and {UNLIKE}
    order by generations.priority desc, generations.seq limit 1
"""
_FIRST = """
    select seq from generations indexed by generations_turn where state = 'planned' and provider = :provider
    order by priority desc, seq limit :look
"""
_THESE = "json_each(:candidates) as chosen cross join generations on generations.seq = chosen.value"
_ONLY = "json_each(:ids) as chosen cross join generations on generations.id = chosen.value"


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
    row = _next(db, {**scope, "now": as_text(now)})
    if row is None:
        return None, False
    expected = cost(budgets.order_of(row, now))
    due = purses(applicable(limits, row["provider"], row["job"]), now)
    full = budgets.reserve(db, due, expected)
    if full is None:
        return _begin(db, row["seq"], (expected, budgets.as_charged(due)), owner, now), False
    budgets.hold(db, row, full, expected, now)
    return None, True


def _next(db: Connection, given: dict[str, Any]) -> Row | None:
    """The first that may be asked for: among a million that wait for tomorrow, without a look at each."""
    found: Row | None
    if given["ids"] is not None:
        found = db.execute(_NEXT.format(walk=_ONLY), given).fetchone()
        return found
    first = [row["seq"] for row in db.execute(_FIRST, given | {"look": FIRST_LOOK})]
    found = db.execute(_NEXT.format(walk=_THESE), given | {"candidates": json.dumps(first)}).fetchone()
    if found is not None or len(first) < FIRST_LOOK:
        return found
    due = due_seqs(db, given)
    walk = _IN_ORDER if due is None else _THESE
    found = db.execute(_NEXT.format(walk=walk), given | {"candidates": json.dumps(due)}).fetchone()
    return found


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
