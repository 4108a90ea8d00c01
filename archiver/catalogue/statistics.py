"""How it went: requests, their success, how long answers and copies took, attempts, errors by kind.

Counts and times alone; what they are worth is decided by `core.grading`. It changes nothing.
"""

from datetime import datetime
from typing import Any

from archiver.catalogue.database import Database, as_text

_SENT = "submitted_at >= :since and submitted_at is not null and (:provider is null or provider = :provider)"
_ASKED = f"""
    select (julianday(answered_at) - julianday(submitted_at)) * 86400 as s from generations
    where {_SENT} and mode = 'now' and state = 'completed' and answered_at is not null
"""
_KEPT = f"""
    select (julianday(i.archived_at) - julianday(g.answered_at)) * 86400 as s
    from generations as g cross join images as i on i.generation_id = g.id
    where {_SENT.replace("provider = ", "g.provider = ")} and g.answered_at is not null and i.archived_at is not null
"""


class Statistics:
    """Sums over a time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def since(self, moment: datetime, provider: str | None = None) -> dict[str, Any]:
        """Everything since a moment; a request counts by the time when it was sent."""
        given = {"since": as_text(moment), "provider": provider}
        return {
            "requests": self._requests(given),
            "asked_to_answered_s": self._times(_ASKED, given),
            "answered_to_archived_s": self._times(_KEPT, given),
            "attempts": self._counted(f"select attempts as name from generations where {_SENT}", given),
            "copy_attempts": self._counted(
                "select i.attempts as name from generations as g cross join images as i on i.generation_id = g.id"
                f" where {_SENT.replace('provider = ', 'g.provider = ')} and i.attempts > 0",
                given,
            ),
            "errors": self._errors(given),
        }

    def _requests(self, given: dict[str, Any]) -> list[dict[str, Any]]:
        rows = self._database.rows(
            f"""
            select coalesce(provider, '') as provider, count(*) as total, sum(state = 'completed') as successful,
                sum(state = 'failed') as failed, sum(state = 'unknown') as unknown,
                sum(state in ('planned', 'submitted', 'accepted')) as open
            from generations where {_SENT} group by 1 order by 1
            """,
            given,
        )
        return [dict(row) for row in rows]

    def _times(self, source: str, given: dict[str, Any]) -> dict[str, Any]:
        n, mean = self._database.rows(f"select count(*), avg(s) from ({source})", given)[0]
        found: dict[str, Any] = {"n": n, "mean": None if mean is None else round(mean, 3)}
        for name, share in (("p50", 0.50), ("p95", 0.95)):
            # The nearest rank: the value below which, or at which, this share of all lies.
            at = {"rank": max(0, -int(-n * share // 1) - 1)}
            rows = self._database.rows(f"{source} order by s limit 1 offset :rank", given | at)
            found[name] = round(rows[0][0], 3) if rows else None
        return found

    def _counted(self, source: str, given: dict[str, Any]) -> dict[str, int]:
        rows = self._database.rows(f"select name, count(*) as n from ({source}) group by name order by name", given)
        return {str(row["name"]): row["n"] for row in rows}

    def _errors(self, given: dict[str, Any]) -> list[dict[str, Any]]:
        rows = self._database.rows(
            f"""
            select state, coalesce(substr(error, 1, 120), 'no reason') as error, count(*) as n from generations
            where {_SENT} and state in ('failed', 'unknown') group by 1, 2 order by n desc, 2 limit 1000
            """,
            given,
        )
        return [dict(row) for row in rows]
