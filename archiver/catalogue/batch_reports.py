"""Questions about batches: for the pipeline, for people and for alerts. Read-only."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from archiver.catalogue.database import Database, Row, as_time
from archiver.core.alerting import Uncollected

_LIVE = "state in ('gathered', 'ordered', 'accepted', 'ended')"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRow:
    """A batch in the hands of this process."""

    id: str
    provider: str
    state: str
    created_at: datetime
    submitted_at: datetime | None = None
    handle: str | None = None
    files: tuple[str, ...] = ()
    rest_is_free: bool = False
    expires_at: datetime | None = None


def batch_row(row: Row) -> BatchRow:
    """A row of `batches`."""
    return BatchRow(
        id=row["id"],
        provider=row["provider"],
        state=row["state"],
        created_at=as_time(row["created_at"]),
        submitted_at=as_time(row["submitted_at"]) if row["submitted_at"] else None,
        handle=row["handle"],
        files=tuple(json.loads(row["files"])),
        rest_is_free=bool(row["rest_is_free"]),
        expires_at=as_time(row["expires_at"]) if row["expires_at"] else None,
    )


class BatchReports:
    """Questions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def waits(self, batch_id: str, generation_id: str) -> bool:
        """Whether a generation of this batch still waits for its line."""
        return bool(
            self._database.rows(
                "select 1 from generations where id = ? and batch_id = ? and state = 'accepted'",
                (generation_id, batch_id),
            )
        )

    def members(self, batch_id: str, state: str) -> list[str]:
        """The generations of a batch that are in one state; `accepted` are those that still wait for their lines."""
        rows = self._database.rows(
            "select id from generations where batch_id = ? and state = ? order by seq", (batch_id, state)
        )
        return [row["id"] for row in rows]

    def owners(self) -> list[str]:
        """Every owner that has a batch in its hands, or died with one."""
        rows = self._database.rows(f"select distinct owner from batches where {_LIVE} and leased_until is not null")
        return [row["owner"] for row in rows]

    def gathered(self, owner: str) -> list[str]:
        """The batches that an owner has gathered and not ordered."""
        rows = self._database.rows("select id from batches where state = 'gathered' and owner = ?", (owner,))
        return [row["id"] for row in rows]

    def unfinished(self) -> set[str]:
        """The batches whose output is still needed, or may come."""
        return {row["id"] for row in self._database.rows(f"select id from batches where {_LIVE}")}

    def over(self, batch_ids: Sequence[str]) -> set[str]:
        """Those of the batches that are known, and whose output is no longer needed and will not come."""
        statement = f"select id from batches where id in (select value from json_each(?)) and not ({_LIVE})"
        return {row["id"] for row in self._database.rows(statement, (json.dumps(list(batch_ids)),))}

    def next_due(
        self, providers: Sequence[str], *, job: str | None = None, ids: Sequence[str] | None = None
    ) -> datetime | None:
        """When the next batch of these providers is to be looked at (with generations of that job, or among those ids),
        None when there is none."""
        row = self._database.rows(
            """
            select min(max(coalesce(not_before, ''), coalesce(leased_until, ''), created_at)) as due from batches
            where state in ('ordered', 'accepted', 'ended') and provider in (select value from json_each(:providers))
                and ((:job is null and :ids is null) or exists (
                    select 1 from generations as g where g.batch_id = batches.id and (:job is null or g.job = :job)
                        and (:ids is null or g.id in (select value from json_each(:ids)))))
            """,
            {
                "providers": json.dumps(list(providers)),
                "job": job,
                "ids": None if ids is None else json.dumps(list(ids)),
            },
        )[0]
        return as_time(row["due"]) if row["due"] else None

    def holding(self, generation_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Of these generations, those that are in a batch which is not over yet, each with its batch."""
        rows = self._database.rows(
            f"""
            select g.id as generation_id, b.id as batch_id, b.provider, b.state, b.not_before, b.error
            from generations as g join batches as b on b.id = g.batch_id
            where g.id in (select value from json_each(?)) and g.state in ('submitted', 'accepted') and b.{_LIVE}
            """,
            (json.dumps(list(generation_ids)),),
        )
        return {row["generation_id"]: dict(row) for row in rows}

    def listed(self, *, all_of_them: bool, limit: int = 1000) -> list[dict[str, Any]]:
        """Batches for people, the newest first; without `all_of_them`, those that are not over, or in doubt."""
        rows = self._database.rows(
            f"""
            select b.id, b.provider, b.state, b.handle, b.said, b.n,
                (select count(*) from generations where batch_id = b.id and state = 'completed') as done,
                (select count(*) from generations where batch_id = b.id and state = 'failed') as failed,
                b.created_at, b.submitted_at, b.ended_at, b.collected_at, b.expires_at, b.not_before, b.error
            from batches as b where :all or b.{_LIVE} or b.state = 'unknown'
            order by b.created_at desc, b.id desc limit :limit
            """,
            {"all": all_of_them, "limit": limit},
        )
        return [dict(row) for row in rows]

    def uncollected(self) -> tuple[Uncollected, ...]:
        """Batches that are over and whose output was not taken in."""
        rows = self._database.rows("select * from batches where state = 'ended' and expires_at is not null order by id")
        return tuple(
            Uncollected(
                batch=row["id"],
                provider=row["provider"],
                generations=row["n"],
                expires=as_time(row["expires_at"]),
                error=row["error"] or "",
            )
            for row in rows
        )
