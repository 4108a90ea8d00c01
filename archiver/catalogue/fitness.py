"""Questions before money is spent: what is planned and under way, what waits in the spool, when a store last worked.

Read-only. What the answers mean is decided in `core.policy`.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from archiver.catalogue.database import Database, as_text, as_time
from archiver.catalogue.reusing import NOT_WAITING, UNLIKE

# Spelled as in the partial index `generations_open`: SQLite would scan the whole table otherwise.
_OPEN = "state in ('planned', 'submitted', 'accepted')"

#: Of a generation: it wants no store but those in `:fit`.
FIT = """
    (:fit is null or not exists (select 1 from json_each(generations.stores) as wants
        where wants.value not in (select value from json_each(:fit))))
"""


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
        rows = self._database.rows(
            f"""
            select stores, max(n) as n from generations
            where {_OPEN} and state = 'planned' and provider = :provider
                and (not_before is null or not_before <= :now)
                and (:job is null or job = :job) and (:ids is null or id in (select value from json_each(:ids)))
                and {UNLIKE}
            group by stores
            """,
            {
                "provider": provider,
                "now": as_text(now),
                "job": job,
                "ids": None if ids is None else json.dumps(list(ids)),
            },
        )
        if not rows:
            return None
        stores = dict.fromkeys(store for row in rows for store in json.loads(row["stores"]))
        return Wanted(stores=tuple(stores), images=max(row["n"] for row in rows))

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
        row = self._database.rows(
            f"""
            select min(coalesce(not_before, created_at)) as due from generations
            where {_OPEN} and state = :state and provider in (select value from json_each(:providers))
                and (:job is null or job = :job) and (:ids is null or id in (select value from json_each(:ids)))
                and (batch_id is null or state = 'planned') and {FIT} and {NOT_WAITING}
            """,
            {
                "now": None if now is None else as_text(now),
                "state": state,
                "providers": json.dumps(list(providers)),
                "job": job,
                "ids": None if ids is None else json.dumps(list(ids)),
                "fit": None if fit is None else json.dumps(sorted(fit)),
            },
        )[0]
        return as_time(row["due"]) if row["due"] else None

    def under_way(self) -> dict[str, tuple[int, int]]:
        """Per provider: how many requests are open, of any process, and for how many images."""
        rows = self._database.rows(
            f"select provider, count(*) as requests, sum(n) as images from generations"
            f" where {_OPEN} and state = 'submitted' and batch_id is null group by provider"
        )
        return {row["provider"]: (row["requests"], row["images"]) for row in rows}

    def spooled_bytes(self) -> int:
        """How many bytes wait in the spool for a store."""
        rows = self._database.rows("select coalesce(sum(size), 0) as size from images where state = 'spooled'")
        return int(rows[0]["size"])

    def last_confirmed(self, store: str) -> datetime | None:
        """When `store` last confirmed a copy, None when it never did."""
        rows = self._database.rows(
            "select max(confirmed_at) as at from copies where store = ? and confirmed_at is not null", (store,)
        )
        return as_time(rows[0]["at"]) if rows[0]["at"] else None
