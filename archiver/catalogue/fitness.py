"""Questions before money is spent: what is planned and under way, what waits in the spool, when a store last worked.

Read-only. What the answers mean is decided in `core.policy`.
"""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from archiver.catalogue.counters import Counters
from archiver.catalogue.database import Connection, Database, Row, as_text, as_time
from archiver.catalogue.reusing import NOT_WAITING, UNLIKE

# Spelled as in the partial index `generations_open`: SQLite would scan the whole table otherwise.
_OPEN = "state in ('planned', 'submitted', 'accepted')"

#: Of a generation: it wants no store but those in `:fit`.
FIT = """
    (:fit is null or not exists (select 1 from json_each(generations.stores) as wants
        where wants.value not in (select value from json_each(:fit))))
"""


#: So many that are due are sorted by their turn; where more are due, walking in their order soon comes to one.
MOST_SORTED = 1000
_PLANNED = "generations.state = 'planned' and generations.provider = :provider"
_IN_SCOPE = "(:job is null or generations.job = :job)"
_ONLY = "json_each(:ids) as chosen cross join generations on generations.id = chosen.value"
# A request is of the kind of those that want the same stores and as many images: there are few kinds. By kind, and in
# it by the time when they may be asked for, a million planned ones are one look at each kind.
_KINDS = "generations indexed by generations_wanted"
_FIRST_KIND = f"select stores, n from {_KINDS} where {_PLANNED} order by stores, n limit 1"
# Two looks: of a comparison of pairs, SQLite would use the first half and read every row with the same stores.
_NEXT_KIND = f"""
    select * from (
        select stores, n from {_KINDS} where {_PLANNED} and stores = :stores and n > :n order by n limit 1
    ) union all select * from (
        select stores, n from {_KINDS} where {_PLANNED} and stores > :stores order by stores, n limit 1
    ) limit 1
"""
_OF_KIND = f"""
    from {_KINDS} where {_PLANNED} and generations.stores = :stores and generations.n = :n and {_IN_SCOPE}
"""
_BY_TIME = "coalesce(generations.not_before, '')"
_ACCEPTED = """
    from generations indexed by generations_polls
    where generations.state = 'accepted' and generations.batch_id is null and generations.provider = :provider
"""


def due_seqs(db: Connection, given: Mapping[str, Any]) -> list[int] | None:
    """All planned generations of `:provider` that are due `:now`, if they are few; None when they are many."""
    found: list[int] = []
    for kind in _kinds(lambda statement, values: db.execute(statement, values).fetchall(), given):
        statement = f"select seq {_OF_KIND} and {_BY_TIME} <= :now limit :most"
        found += [row["seq"] for row in db.execute(statement, {**given, **kind, "most": MOST_SORTED + 1 - len(found)})]
        if len(found) > MOST_SORTED:
            return None
    return found


def _kinds(ask: Callable[[str, dict[str, Any]], list[Row]], given: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The stores and number of images of each kind of planned generation of `:provider`."""
    rows = ask(_FIRST_KIND, {**given})
    while rows:
        kind = {"stores": rows[0]["stores"], "n": rows[0]["n"]}
        yield kind
        rows = ask(_NEXT_KIND, {**given, **kind})


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the planned generations of a provider that are due want: all their stores, and the most images of one."""

    stores: tuple[str, ...]
    images: int


class Fitness:
    """Questions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def wanted(
        self, provider: str, now: datetime, *, job: str | None = None, ids: Sequence[str] | None = None
    ) -> Wanted | None:
        """What is planned and due of `provider` (and of that job, and among those ids), None when there is nothing."""
        given = {"provider": provider, "now": as_text(now), "job": job}
        if ids is None:
            due = f"select 1 {_OF_KIND} and {_BY_TIME} <= :now and {UNLIKE} limit 1"
            found = [kind for kind in _kinds(self._database.rows, given) if self._database.rows(due, {**given, **kind})]
        else:
            statement = f"""
                select generations.stores, max(generations.n) as n from {_ONLY}
                where {_PLANNED} and {_BY_TIME} <= :now and {_IN_SCOPE} and {UNLIKE} group by 1
            """
            found = [dict(row) for row in self._database.rows(statement, given | {"ids": json.dumps(list(ids))})]
        if not found:
            return None
        stores = dict.fromkeys(store for row in found for store in json.loads(row["stores"]))
        return Wanted(stores=tuple(stores), images=max(row["n"] for row in found))

    def next_due(
        self,
        state: str,
        *,
        providers: Sequence[str],
        job: str | None,
        ids: Sequence[str] | None,
        fit: Collection[str] | None = None,
        now: datetime | None = None,
    ) -> datetime | None:
        """When the next generation in `state` (`planned` or `accepted`) is due, None when there is none in scope. With
        `fit`, only of those that want no other stores; with `now`, of those that need not wait for an equal one."""
        given = {
            "now": None if now is None else as_text(now),
            "job": job,
            "ids": None if ids is None else json.dumps(list(ids)),
            "fit": None if fit is None else json.dumps(sorted(fit)),
        }
        due = [time for name in providers for time in self._next_due(state, given | {"provider": name}, ids is None)]
        return as_time(min(due)) if due else None

    def _next_due(self, state: str, given: dict[str, Any], in_order: bool) -> Iterator[str]:
        """The first of each kind, or of those that are chosen."""
        own = f"{_IN_SCOPE} and {FIT} and {NOT_WAITING}"
        at = "coalesce(generations.not_before, generations.created_at)"
        first = f"select {at} as due {{}} and {own} and {{}} order by {{}} limit 1"
        if not in_order:
            statements = [
                f"""
                select min({at}) as due from {_ONLY} where generations.state = '{state}' and {own}
                    and generations.provider = :provider and (generations.batch_id is null or '{state}' = 'planned')
                """
            ]
        elif state == "planned":
            # In the order of time: the first that may be asked for at once, and the first that must wait.
            statements = [first.format(_OF_KIND, f"{_BY_TIME} {turn}", _BY_TIME) for turn in ("= ''", "> ''")]
        else:
            turns = ("is null", "is not null")
            statements = [first.format(_ACCEPTED, f"generations.not_before {turn}", "not_before") for turn in turns]
        values = [given]
        if in_order and state == "planned":
            values = [given | kind for kind in _kinds(self._database.rows, given)]
        for value in values:
            for statement in statements:
                yield from (row["due"] for row in self._database.rows(statement, value) if row["due"])

    def under_way(self) -> dict[str, tuple[int, int]]:
        """Per provider: how many requests are open, of any process, and for how many images."""
        rows = self._database.rows(
            f"select provider, count(*) as requests, sum(n) as images from generations"
            f" where {_OPEN} and state = 'submitted' and batch_id is null group by provider"
        )
        return {row["provider"]: (row["requests"], row["images"]) for row in rows}

    def spooled_bytes(self) -> int:
        """How many bytes wait in the spool for a store."""
        return Counters(self._database).one("spool", "spooled")[1]

    def last_confirmed(self, store: str) -> datetime | None:
        """When `store` last confirmed a copy, None when it never did."""
        rows = self._database.rows(
            "select max(confirmed_at) as at from copies where store = ? and confirmed_at is not null", (store,)
        )
        return as_time(rows[0]["at"]) if rows[0]["at"] else None
