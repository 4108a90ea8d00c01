"""What somebody may have to be told of, and what they were told: the facts of alerts, and their memory.

It reads and remembers; which facts are a condition, and when to say it again, is decided by `core.alerting`.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from archiver.catalogue.batch_reports import BatchReports
from archiver.catalogue.counters import Counters
from archiver.catalogue.database import Database, as_text, as_time
from archiver.catalogue.keys import Keys
from archiver.catalogue.reports import half_life
from archiver.core.alerting import (
    AT_RISK_SHARE,
    BUDGET,
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


class Watching:
    """Facts and memory of alerts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def facts(self, now: datetime, purses: Sequence[Purse] = ()) -> Facts:
        """How things stand at `now`, as far as somebody may have to be told. `purses` are the budgets, as they are
        now."""
        times = {"now": as_text(now), "since": as_text(now - RECENT), "share": AT_RISK_SHARE}
        return Facts(
            failing=self._failing(times),
            unknown=self._unknown(),
            waiting=self._waiting(),
            lost=self._count(
                f"select {_JOB} as job, count(distinct i.id) as images from events as e"
                " join images as i on i.id = e.image_id join generations as g on g.id = i.generation_id"
                " where e.kind = 'lost' and e.at >= :since and i.state = 'lost' group by 1 order by 1",
                times,
            ),
            odd=self._count(
                f"select {_JOB} as job, count(*) as images from images as i indexed by images_odd"
                " join generations as g on g.id = i.generation_id"
                " where i.state = 'stored' and i.archived_at >= :since and i.verdict <> 'ok' group by 1 order by 1",
                times,
            ),
            spooled=Counters(self._database).one("spool", "spooled")[1],
            keys=Keys(self._database).refused(now),
            budgets=self._budgets(purses),
            uncollected=BatchReports(self._database).uncollected(),
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

    def _failing(self, times: Mapping[str, Any]) -> tuple[Failing, ...]:
        rows = self._database.rows(
            f"""
            select {_JOB} as job, count(*) as images, max({_USED}) as used, min(i.deadline) as deadline,
                max(i.error) as error
            from images as i indexed by images_risk join generations as g on g.id = i.generation_id
            where i.state = 'pending' and {half_life("i")} <= :now and i.attempts > 0 and {_USED} > :share
            group by 1 order by 1
            """,
            dict(times),
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
            where state = 'unknown' and written_off_at is null group by 1 order by 1
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

    def _waiting(self) -> tuple[Waiting, ...]:
        """The settler begins each store's part of an image's error with the store's name."""
        rows = self._database.rows(
            """
            select c.store as store, count(*) as images, min(i.fetched_at) as since, max(i.error) as error
            from images as i indexed by images_unconfirmed join copies as c on c.image_id = i.id
            where i.state in ('pending', 'spooled') and i.fetched_at is not null and i.error is not null
                and c.state = 'wanted'
                and '; ' || i.error like '%; ' || c.store || ': %'
            group by 1 order by 1
            """
        )
        return tuple(
            Waiting(store=row["store"], images=row["images"], since=as_time(row["since"]), error=row["error"])
            for row in rows
        )

    def _count(self, statement: str, times: Mapping[str, Any]) -> tuple[Count, ...]:
        return tuple(Count(job=row["job"], images=row["images"]) for row in self._database.rows(statement, dict(times)))
