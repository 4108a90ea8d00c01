"""Images of an answer that lies on this disk, and of which a catalogue that was rebuilt or restored knows too little:
nothing at all, or only that they were there.

The answer still holds their URLs, or their bytes. It decides nothing about the answer.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from archiver.catalogue.awaiting import refresh
from archiver.catalogue.database import Connection, Database
from archiver.catalogue.inserting import insert_arrival
from archiver.catalogue.rebuilt_rows import STANDS_IN, spool
from archiver.catalogue.rows import Arrival, note
from archiver.core.states import IMAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent:
    """Of a completed generation: the places in its answer that have an image, and the ids of those of them that only
    stand in (they are not among the places)."""

    known: frozenset[int]
    stand_ins: Mapping[int, str]


class Reviving:
    """Answers that know more than the catalogue."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def absent(self, generation_id: str) -> Absent | None:
        """What is missing of a completed generation; None when nothing is."""
        (row,) = self._database.rows(
            """
            select came, (select count(*) from images where generation_id = ?1 and role = 'final') as finals
            from generations where id = ?1 and state = 'completed'
            """,
            (generation_id,),
        ) or (None,)
        if row is None:
            return None
        images = self._database.rows(
            "select id, idx, state, error from images where generation_id = ?", (generation_id,)
        )
        stand_ins = {image["idx"]: image["id"] for image in images if _stands_in(image)}
        if not stand_ins and row["finals"] >= (row["came"] or 0):
            return None
        known = frozenset(image["idx"] for image in images) - frozenset(stand_ins)
        return Absent(known=known, stand_ins=stand_ins)

    def bring_home(self, generation_id: str, arrivals: Sequence[Arrival], now: datetime) -> list[str]:
        """Take in what was absent: an arrival with the id of a stand-in takes its place. Returns the ids that were."""
        taken: list[str] = []
        with self._database.write() as db:
            row = db.execute("select stores from generations where id = ?", (generation_id,)).fetchone()
            stores = json.loads(row["stores"])
            for arrival in arrivals:
                known = db.execute(
                    "select id, idx, state, error from images where generation_id = ? and idx = ?",
                    (generation_id, arrival.index),
                ).fetchone()
                if known is None:
                    insert_arrival(db, generation_id, arrival, stores, now)
                elif known["id"] == arrival.id and _stands_in(known):
                    _revive(db, arrival, stores)
                else:
                    continue
                note(db, now, "requeued", image_id=arrival.id, detail="its answer was here all the time")
                taken.append(arrival.id)
        return taken


def _stands_in(image: Mapping[str, object]) -> bool:
    return image["state"] == "lost" and image["error"] == STANDS_IN


def _revive(db: Connection, arrival: Arrival, stores: Sequence[str]) -> None:
    if arrival.url is not None:
        refresh(db, arrival.id, arrival)
        db.execute("update images set error = null where id = ?", (arrival.id,))
        db.executemany(
            "insert or ignore into copies (image_id, store, state) values (?, ?, 'wanted')",
            [(arrival.id, store) for store in stores],
        )
    else:
        statement = f"update images set state = '{IMAGE['requeue'].target}', error = null where id = ?"
        db.execute(statement, (arrival.id,))
        spool(db, arrival, stores)
