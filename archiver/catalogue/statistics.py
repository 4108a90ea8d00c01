"""How it went: requests, their success, how long answers and copies took, attempts, errors by kind.

Counts and times alone; what they are worth is decided by `core.grading`. It changes nothing.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from math import fsum
from typing import Any

from archiver.catalogue.database import Database, Row, as_text

_SENT = "submitted_at >= :since and submitted_at is not null and (:provider is null or provider = :provider)"
# Each is read once: what is counted and sorted of it is done here.
_REQUESTS = f"""
    select coalesce(provider, '') as provider, state, attempts,
        iif(state in ('failed', 'unknown'), coalesce(substr(error, 1, 120), 'no reason'), null) as error, count(*) as n
    from generations where {_SENT} group by 1, 2, 3, 4
"""
_ASKED = f"""
    select (julianday(answered_at) - julianday(submitted_at)) * 86400 as s from generations
    where {_SENT} and mode = 'now' and state = 'completed' and answered_at is not null
"""
_KEPT = f"""
    select i.attempts, (julianday(i.archived_at) - julianday(g.answered_at)) * 86400 as s
    from generations as g cross join images as i on i.generation_id = g.id
    where {_SENT.replace("provider = ", "g.provider = ")}
"""
_OPEN = ("planned", "submitted", "accepted")
MOST_ERRORS = 1000


class Statistics:
    """Sums over a time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def since(self, moment: datetime, provider: str | None = None) -> dict[str, Any]:
        """Everything since a moment; a request counts by the time when it was sent."""
        given = {"since": as_text(moment), "provider": provider}
        requests = self._database.rows(_REQUESTS, given)
        attempts: Counter[int] = Counter()
        for row in requests:
            attempts[row["attempts"]] += row["n"]
        copied: Counter[int] = Counter()
        kept: list[float] = []
        for tried, seconds in self._database.rows(_KEPT, given):
            copied[tried] += 1
            if seconds is not None:
                kept.append(seconds)
        del copied[0]
        return {
            "requests": _by_provider(requests),
            "asked_to_answered_s": _times([row[0] for row in self._database.rows(_ASKED, given)]),
            "answered_to_archived_s": _times(kept),
            "attempts": {str(name): attempts[name] for name in sorted(attempts)},
            "copy_attempts": {str(name): copied[name] for name in sorted(copied)},
            "errors": _errors(requests),
        }


def _by_provider(requests: Sequence[Row]) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for row in requests:
        names = ("total", "successful", "failed", "unknown", "open")
        sums = found.setdefault(row["provider"], {"provider": row["provider"]} | dict.fromkeys(names, 0))
        state = "successful" if row["state"] == "completed" else "open" if row["state"] in _OPEN else row["state"]
        sums["total"] += row["n"]
        if state in sums:
            sums[state] += row["n"]
    return [found[name] for name in sorted(found)]


def _errors(requests: Sequence[Row]) -> list[dict[str, Any]]:
    found: Counter[tuple[str, str]] = Counter()
    for row in requests:
        if row["error"] is not None:
            found[row["state"], row["error"]] += row["n"]
    most = sorted(found, key=lambda one: (-found[one], one[1]))[:MOST_ERRORS]
    return [{"state": state, "error": error, "n": found[state, error]} for state, error in most]


def _times(seconds: list[float]) -> dict[str, Any]:
    """The number, the mean, and by the nearest rank the value below which, or at which, a share of all lies."""
    seconds.sort()
    found: dict[str, Any] = {"n": len(seconds), "mean": round(fsum(seconds) / len(seconds), 3) if seconds else None}
    for name, share in (("p50", 0.50), ("p95", 0.95)):
        rank = max(0, -int(-len(seconds) * share // 1) - 1)
        found[name] = round(seconds[rank], 3) if seconds else None
    return found
