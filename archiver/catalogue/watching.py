"""What somebody may have to be told of, and what they were told: the facts of alerts, and their memory.

It reads and remembers; which facts are a condition, and when to say it again, is decided by `core.alerting`. Of images
it looks at no more than `MOST_COUNTED` of a kind, and says so when there are more: it is asked twice a minute.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime

from archiver.catalogue.batch_reports import BatchReports
from archiver.catalogue.counters import Counters
from archiver.catalogue.database import Database, as_text, as_time
from archiver.catalogue.keys import Keys
from archiver.catalogue.reports import half_life
from archiver.core.alerting import (
    AT_RISK_SHARE,
    BUDGET,
    MOST_COUNTED,
    RECENT,
    Alert,
    Count,
    Facts,
    Failing,
    Spent,
    Told,
    Unknown,
    Waiting,
)
from archiver.core.budget import Purse

_USED = """
    (julianday(:now) - julianday(i.created_at)) / max(julianday(i.deadline) - julianday(i.created_at), 1e-6)
"""
_JOB = "coalesce(g.job, g.origin)"
# By the kind of the alerts, the images that each looks at, the first of many by its index: what waits longest, and what
# was lost or came most recently. Without the names of the indexes, SQLite would look at all that was ever lost. A limit
# that is a parameter would have it compile the statement anew whenever it is asked.
_LOOKS = {
    "at-risk": f"""
        select i.seq from images as i indexed by images_risk
        where i.state = 'pending' and {half_life("i")} <= :now order by {half_life("i")} limit {MOST_COUNTED}
    """,
    "store": f"""
        select i.seq from images as i indexed by images_unconfirmed
        where i.state in ('pending', 'spooled') and i.fetched_at is not null and i.error is not null
        order by i.fetched_at limit {MOST_COUNTED}
    """,
    "lost": f"""
        select i.seq from (
            select e.image_id from events as e indexed by events_lost
            where e.kind = 'lost' and e.at >= :since order by e.at desc limit {MOST_COUNTED}
        ) as recent cross join images as i on i.id = recent.image_id
    """,
    "odd": f"""
        select i.seq from images as i indexed by images_odd
        where i.state = 'stored' and i.archived_at >= :since and i.verdict <> 'ok'
        order by i.archived_at desc limit {MOST_COUNTED}
    """,
}
# One after the other, whatever SQLite thinks of the tables: it has no statistics.
_SEEN = """
    json_each(:seen) as seen cross join images as i on i.seq = seen.value
    cross join generations as g on g.id = i.generation_id
"""


class Watching:
    """Facts and memory of alerts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def facts(self, now: datetime, purses: Sequence[Purse] = ()) -> Facts:
        """How things stand at `now`, as far as somebody may have to be told. `purses` are the budgets, as they are
        now."""
        given = {"now": as_text(now), "since": as_text(now - RECENT)}
        seen = {kind: [row["seq"] for row in self._database.rows(look, given)] for kind, look in _LOOKS.items()}
        return Facts(
            failing=self._failing(seen["at-risk"], now),
            unknown=self._unknown(),
            waiting=self._waiting(seen["store"]),
            lost=self._count(seen["lost"], "i.state = 'lost'"),
            odd=self._count(seen["odd"], "i.verdict <> 'ok'"),
            spooled=Counters(self._database).one("spool", "spooled")[1],
            keys=Keys(self._database).refused(now),
            budgets=self._budgets(purses),
            uncollected=BatchReports(self._database).uncollected(),
            crowded=frozenset(kind for kind, seqs in seen.items() if len(seqs) >= MOST_COUNTED),
        )

    def told(self) -> dict[tuple[str, str], Told]:
        """What is remembered, by kind and subject."""
        return {
            (row["kind"], row["subject"]): Told(
                level=row["level"],
                logged_at=as_time(row["logged_at"]) if row["logged_at"] else None,
                sent_at=as_time(row["sent_at"]) if row["sent_at"] else None,
            )
            for row in self._database.rows("select kind, subject, level, logged_at, sent_at from alerts")
        }

    def remember(self, standing: Mapping[Alert, Told], now: datetime) -> None:
        """Keep what was told of the alerts that stand now, and forget those that do not: they have cleared."""
        with self._database.write() as db:
            names = {(alert.kind, alert.subject) for alert in standing}
            gone = [tuple(row) for row in db.execute("select kind, subject from alerts") if tuple(row) not in names]
            db.executemany("delete from alerts where kind = ? and subject = ?", gone)
            db.executemany(
                """
                insert into alerts (kind, subject, level, text, since, logged_at, sent_at) values (?, ?, ?, ?, ?, ?, ?)
                on conflict (kind, subject) do update set level = excluded.level, text = excluded.text,
                    logged_at = excluded.logged_at, sent_at = excluded.sent_at
                """,
                [
                    (
                        alert.kind,
                        alert.subject,
                        alert.level,
                        alert.text,
                        as_text(now),
                        as_text(told.logged_at) if told.logged_at else None,
                        as_text(told.sent_at) if told.sent_at else None,
                    )
                    for alert, told in standing.items()
                ],
            )

    def _failing(self, seen: Sequence[int], now: datetime) -> tuple[Failing, ...]:
        rows = self._database.rows(
            f"""
            select {_JOB} as job, count(*) as images, max({_USED}) as used, min(i.deadline) as deadline,
                max(i.error) as error
            from {_SEEN} where i.state = 'pending' and i.attempts > 0 and {_USED} > :share group by 1 order by 1
            """,
            {"seen": json.dumps(seen), "now": as_text(now), "share": AT_RISK_SHARE},
        )
        return tuple(
            Failing(
                job=row["job"],
                images=row["images"],
                used=row["used"],
                deadline=as_time(row["deadline"]),
                error=row["error"] or "none was told",
            )
            for row in rows
        )

    def _unknown(self) -> tuple[Unknown, ...]:
        rows = self._database.rows(
            """
            select coalesce(provider, 'none') as provider, count(*) as generations,
                coalesce(sum(coalesce(cost_micro, expected_micro)), 0) as cost,
                sum(coalesce(cost_micro, expected_micro) is null) as unpriced
            from generations indexed by generations_doubtful
            where state = 'unknown' and written_off_at is null
            group by generations.provider order by generations.provider
            """
        )
        return tuple(
            Unknown(
                provider=row["provider"],
                generations=row["generations"],
                cost_micro=row["cost"],
                unpriced=row["unpriced"],
            )
            for row in rows
        )

    def _budgets(self, purses: Sequence[Purse]) -> tuple[Spent, ...]:
        rows = self._database.rows(
            """
            select b.scope, b.period, b.spent_micro, exists (
                select 1 from alerts as a where a.kind = :kind and a.subject = b.scope || ' ' || b.period) as told
            from budgets as b where b.period in (select value from json_each(:periods)) order by b.scope, b.period
            """,
            {"kind": BUDGET, "periods": json.dumps(sorted({purse.period for purse in purses}))},
        )
        limits = {(purse.scope, purse.period): purse.limit_micro for purse in purses}
        return tuple(
            Spent(
                scope=row["scope"],
                period=row["period"],
                spent_micro=row["spent_micro"],
                limit_micro=limits[row["scope"], row["period"]],
                is_told=bool(row["told"]),
            )
            for row in rows
            if (row["scope"], row["period"]) in limits
        )

    def _waiting(self, seen: Sequence[int]) -> tuple[Waiting, ...]:
        """The settler begins each store's part of an image's error with the store's name."""
        rows = self._database.rows(
            """
            select c.store as store, count(*) as images, min(i.fetched_at) as since, max(i.error) as error
            from json_each(:seen) as seen cross join images as i on i.seq = seen.value
            cross join copies as c on c.image_id = i.id
            where i.state in ('pending', 'spooled') and i.fetched_at is not null and i.error is not null
                and c.state = 'wanted'
                and '; ' || i.error like '%; ' || c.store || ': %'
            group by 1 order by 1
            """,
            {"seen": json.dumps(seen)},
        )
        return tuple(
            Waiting(store=row["store"], images=row["images"], since=as_time(row["since"]), error=row["error"])
            for row in rows
        )

    def _count(self, seen: Sequence[int], condition: str) -> tuple[Count, ...]:
        rows = self._database.rows(
            f"select {_JOB} as job, count(distinct i.seq) as images from {_SEEN} where {condition}"
            " group by 1 order by 1",
            {"seen": json.dumps(seen)},
        )
        return tuple(Count(job=row["job"], images=row["images"]) for row in rows)
