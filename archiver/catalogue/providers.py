"""How things went with each provider: its last success, its last error, and what waits for it. Read-only."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from archiver.catalogue.database import Database, as_text
from archiver.core.alerting import MOST_COUNTED

_PAUSED = "generations indexed by generations_paused where state = 'planned' and held = 0 and not_before is not null"
# Every step of the recursion is one look into the index, however many requests wait for a provider.
_RESTING = f"""
    with recursive resting (provider) as (
        select min(provider) from {_PAUSED}
        union all
        select (select min(provider) from {_PAUSED} and provider > resting.provider)
        from resting where resting.provider is not null
    ) select provider from resting where provider is not null
"""
_WAITING = f"""
    select looked.*, (select error from generations where seq = newest) as error from (
        select count(*) as generations, min(not_before) as until, max(seq) as newest from (
            select not_before, seq from {_PAUSED} and provider = :provider and not_before > :now
            order by not_before limit {MOST_COUNTED}
        )
    ) as looked
"""


class Providers:
    """Questions about providers, by their names in the configuration."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def recent(self, names: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Of each: when it last answered, and the last error that still stands with the time of its request."""
        return {name: self._recent(name) for name in names}

    def _recent(self, name: str) -> dict[str, Any]:
        answered = self._database.rows(
            "select answered_at from generations indexed by generations_success"
            " where provider = ? and state = 'completed' and origin <> 'backfill' order by seq desc limit 1",
            (name,),
        )
        failed = self._database.rows(
            "select error, coalesce(submitted_at, created_at) as at from generations indexed by generations_errors"
            " where provider = ? and error is not null order by seq desc limit 1",
            (name,),
        )
        return {
            "last_success_at": answered[0]["answered_at"] if answered else None,
            "last_error": failed[0]["error"] if failed else None,
            "last_error_at": failed[0]["at"] if failed else None,
        }

    def waiting(self, now: datetime) -> dict[str, dict[str, Any]]:
        """What waits because a provider could not be asked or wanted a pause: how many generations (of very many, the
        first `MOST_COUNTED`: then there are as many or more), until when, why."""
        found = {}
        for name in [row["provider"] for row in self._database.rows(_RESTING)]:
            (row,) = self._database.rows(_WAITING, {"provider": name, "now": as_text(now)})
            if row["generations"]:
                found[name] = {"generations": row["generations"], "until": row["until"], "error": row["error"]}
        return found

    def trial(self, generation_id: str) -> dict[str, Any]:
        """One generation, as a trial of its provider shows it."""
        row = self._database.rows(
            """
            select id as generation_id, state, provider, model, size, submitted_at, answered_at, request_id, error,
                handle is not null as was_task, cost_micro / 1e6 as cost_usd,
                (julianday(answered_at) - julianday(submitted_at)) * 86400.0 as latency_s
            from generations where id = ?
            """,
            (generation_id,),
        )[0]
        return dict(row)
