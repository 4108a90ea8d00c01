"""Which snapshots of the catalogue are kept: a decision about names and times, and nothing else."""

from collections.abc import Iterable
from datetime import datetime, timedelta

ALWAYS_KEPT = 3
MONTHLY_FOR = timedelta(days=366)


def surplus(snapshots: Iterable[tuple[str, datetime]], now: datetime, older_than: timedelta) -> set[str]:
    """Of the snapshots of one store (key and time), those that may go: older than `older_than`, not among the newest
    three, and not the last one of a month of the past year."""
    ordered = sorted(snapshots, key=lambda item: (item[1], item[0]), reverse=True)
    kept = {key for key, _ in ordered[:ALWAYS_KEPT]}
    months: set[str] = set()
    for key, at in ordered:
        month = f"{at:%Y-%m}"
        if month not in months and at > now - MONTHLY_FOR:
            kept.add(key)
        months.add(month)
    return {key for key, at in ordered if at < now - older_than} - kept
