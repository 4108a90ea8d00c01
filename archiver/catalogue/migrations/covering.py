"""What a status or a look for alerts needs, to read indexes alone: thousands of rows are thousands of pages."""

from typing import Any


def m011_covering(db: Any) -> None:
    """The index of unknown outcomes carries their prices, and those of paused requests and of images at risk all that
    their conditions name: SQLite reads the row of each one otherwise, to see what the index says already."""
    for statement in _COVERING:
        db.execute(statement)


_COVERING = (
    "drop index generations_doubtful",
    """
    create index generations_doubtful on generations (provider, cost_micro, expected_micro, state, written_off_at)
    where state = 'unknown' and written_off_at is null
    """,
    "drop index generations_paused",
    """
    create index generations_paused on generations (provider, not_before, state, held)
    where state = 'planned' and held = 0 and not_before is not null
    """,
    "drop index images_risk",
    """
    create index images_risk on images
        (strftime('%Y-%m-%dT%H:%M:%fZ', (julianday(created_at) + julianday(deadline)) / 2), state)
    where state = 'pending'
    """,
)
