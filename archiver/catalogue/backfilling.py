"""What a backfill asks the catalogue: which images it has already, how fast copies went, and what became of them.

It changes nothing.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from archiver.catalogue.database import Database

_RECENT = 2000
_IDLE_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """An image that is known by its URL without the signature. `keys` are `store: key`, for its confirmed copies."""

    image_id: str
    state: str
    error: str | None
    keys: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """How the last copies went, while there was something to copy."""

    images: int
    bytes_per_image: float
    images_per_s: float


class Backfilling:
    """Questions by the identity of URLs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def standing(self, identities: Sequence[str]) -> dict[str, Standing]:
        """What the catalogue knows of these, each by the image that was taken in last."""
        rows = self._database.rows(
            """
            select i.source_identity as identity, i.id, i.state, i.error, (
                select group_concat(store || ': ' || key, '; ') from copies
                where image_id = i.id and state = 'confirmed'
            ) as keys
            from images as i where i.source_identity in (select value from json_each(?)) order by i.seq
            """,
            (json.dumps(list(identities)),),
        )
        return {
            row["identity"]: Standing(image_id=row["id"], state=row["state"], error=row["error"], keys=row["keys"])
            for row in rows
        }

    def speed(self) -> Speed | None:
        """By the images that were archived last, without the pauses between them; None when they are too few."""
        rows = self._database.rows(
            """
            select count(*) as n, avg(size) as size, sum(min(gap, :idle)) as busy from (
                select size, (julianday(archived_at) - julianday(lag(archived_at) over (order by archived_at))) * 86400
                    as gap
                from (
                    select size, archived_at from images where state = 'stored'
                    order by archived_at desc limit :recent
                )
            )
            """,
            {"idle": _IDLE_S, "recent": _RECENT},
        )
        row = rows[0]
        if row["n"] < 10 or not row["busy"]:
            return None
        return Speed(images=row["n"], bytes_per_image=row["size"], images_per_s=row["n"] / row["busy"])
