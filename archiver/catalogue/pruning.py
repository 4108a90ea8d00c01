"""What of the catalogue nobody needs any more: events that are old, and which files their rows have done with.

An event goes only through the door in the guards (see `m009_forgetting`), some hundreds in one transaction. What is
still open, or tells of a loss, a forgetting or a rebuilding, is never among them.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from archiver.catalogue.database import Database, as_text, as_time

BATCH = 1000
#: As in the trigger `events_kept`, which refuses whatever this would get wrong.
_MAY_GO = """
    e.at < :before and e.kind not in ('lost', 'forgotten', 'rebuilt', 'restored')
    and not exists (select 1 from images as i
        where i.id = e.image_id and i.state not in ('stored', 'lost', 'forgotten'))
    and not exists (select 1 from generations as g
        where g.id = e.generation_id and g.state not in ('completed', 'cancelled', 'reused'))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class OldEvents:
    """How many events may go, their length in bytes as text, and when the oldest was written."""

    count: int
    size: int
    oldest: datetime | None


class Pruning:
    """What may go."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def old_events(self, before: datetime) -> OldEvents:
        """The events before a time that may go."""
        row = self._database.rows(
            "select count(*) as n, min(e.at) as oldest, coalesce(sum("
            "length(cast(coalesce(e.detail, '') as blob)) + length(e.at) + length(e.kind)), 0) as size"
            f" from events as e where {_MAY_GO}",
            {"before": as_text(before)},
        )[0]
        return OldEvents(count=row["n"], size=row["size"], oldest=as_time(row["oldest"]) if row["oldest"] else None)

    def remove_events(self, before: datetime, after: int = 0) -> tuple[int, int | None]:
        """Remove the next events that may go, in one transaction. Returns how many, and the number to go on `after`,
        None at the end."""
        with self._database.write() as db:
            ids = [
                row["id"]
                for row in db.execute(
                    f"select e.id from events as e where e.id > :after and {_MAY_GO} order by e.id limit :most",
                    {"before": as_text(before), "after": after, "most": BATCH},
                )
            ]
            db.execute("insert into event_removals (only_row, before) values (1, ?)", (as_text(before),))
            db.execute("delete from events where id in (select value from json_each(?))", (json.dumps(ids),))
            db.execute("delete from event_removals")
        return len(ids), ids[-1] if len(ids) == BATCH else None

    def settled(self, generation_ids: Sequence[str]) -> set[str]:
        """Those of the generations that are completed, were asked for once, and whose images are all stored."""
        rows = self._database.rows(
            """
            select g.id from generations as g where g.id in (select value from json_each(?)) and g.state = 'completed'
                and exists (select 1 from images where generation_id = g.id)
                and not exists (
                    select 1 from images where generation_id = g.id and state not in ('stored', 'forgotten')
                )
                and not exists (select 1 from earlier_requests where generation_id = g.id)
            """,
            (json.dumps(list(generation_ids)),),
        )
        return {str(row["id"]) for row in rows}
