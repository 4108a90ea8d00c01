"""What a repair writes: which copies are missing, whose bytes were brought back, which records were written anew, and a
fresh URL for an image that has nothing else.

Every public method is one transaction, and each leaves a catalogue that is true: whoever dies between two of them
leaves images that are missing (the next repair goes on) or spooled (the next drain does). Nothing is deleted.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from archiver.catalogue.awaiting import refresh
from archiver.catalogue.claiming import ticket_of
from archiver.catalogue.database import Connection, Database, as_text
from archiver.catalogue.rows import Arrival, note
from archiver.core.auditing import OF_COPIES
from archiver.core.model import Ticket
from archiver.core.states import COPY, IMAGE

PAGE = 500
_BAD = f"word in ({', '.join(repr(word) for word in OF_COPIES)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a copy was confirmed; `is_bad`: the check found nothing of use there."""

    store: str
    key: str
    is_bad: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """An image of which something is not well: where its bytes may be, the likeliest place first."""

    image_id: str
    state: str
    sha256: str | None
    spool: str | None
    places: tuple[Place, ...]


class AuditMarks:
    """Marks of a repair. It reads what `Audit` noted on the same connection."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def patients(self, image_ids: Sequence[str]) -> list[Patient]:
        """How images stand, and every copy of each that was ever confirmed."""
        rows = self._database.rows(
            f"""
            select i.id, i.state, i.sha256, i.spool, (
                select json_group_array(json_array(store, key, is_bad)) from (
                    select c.store, c.key, f.word is not null and not f.has_hope as is_bad
                    from copies as c left join temp.audit_findings as f
                        on f.image_id = c.image_id and f.store = c.store and f.{_BAD}
                    where c.image_id = i.id and c.key is not null and c.state <> 'wanted'
                    order by f.word is not null, f.has_hope desc, c.store
                )
            ) as places
            from images as i where i.id in (select value from json_each(?)) order by i.id
            """,
            (json.dumps(list(image_ids)),),
        )
        return [
            Patient(
                image_id=row["id"],
                state=row["state"],
                sha256=row["sha256"],
                spool=row["spool"],
                places=tuple(
                    Place(store=store, key=key, is_bad=bool(is_bad)) for store, key, is_bad in json.loads(row["places"])
                ),
            )
            for row in rows
        ]

    def miss(self, image_ids: Sequence[str], now: datetime) -> None:
        """Say which copies of these images are not what they were: what the check noted, and nothing that has changed
        since. A stored image is missing then; of one that is on its way anyhow, the copy is wanted again."""
        with self._database.write() as db:
            for row in db.execute(
                f"""
                select f.image_id, f.word, f.store, f.key, f.detail, i.state from temp.audit_findings as f
                    join images as i on i.id = f.image_id
                    join copies as c on c.image_id = f.image_id and c.store = f.store and c.key = f.key
                where f.{_BAD} and c.state = 'confirmed' and f.image_id in (select value from json_each(?))
                """,
                (json.dumps(list(image_ids)),),
            ).fetchall():
                if row["state"] == "stored":
                    db.execute(
                        f"update images set state = '{IMAGE['miss'].target}' where id = ? and state = 'stored'",
                        (row["image_id"],),
                    )
                elif row["state"] not in ("pending", "spooled", "missing"):
                    continue
                _move_copies(db, "miss", row["image_id"], row["store"])
                said = f"{row['word']}: {row['key']}: {row['detail']}"
                note(db, now, "missing", image_id=row["image_id"], store=row["store"], detail=said)
                if row["state"] in ("pending", "spooled"):
                    _move_copies(db, "recover", row["image_id"])

    def recover(self, back: Mapping[str, tuple[str, str]], owner: str, now: datetime, until: datetime) -> list[Ticket]:
        """The bytes of missing images are in the spool again: (file, where from) by image. Their missing copies are
        wanted again, and the images are claimed in the same moment, so that no two bring the same one home."""
        tickets = []
        with self._database.write() as db:
            for image_id, (name, place) in back.items():
                row = db.execute(
                    f"""
                    update images set state = '{IMAGE["recover"].target}', spool = ?, not_before = null, error = null,
                        claimed_by = ?, claimed_until = ?, claim = claim + 1
                    where id = ? and state = 'missing' returning *
                    """,
                    (name, owner, as_text(until), image_id),
                ).fetchone()
                if row is not None:
                    _move_copies(db, "recover", image_id)
                    note(db, now, "recovered", image_id=image_id, detail=f"bytes from {place}")
                    tickets.append(ticket_of(db, row))
        return tickets

    def left_behind(self) -> list[str]:
        """Generations with images that an earlier repair brought into the spool and no further."""
        rows = self._database.rows(
            "select distinct generation_id from images where state = 'spooled' and claimed_by is null"
            " and exists (select 1 from events where image_id = images.id and kind = 'recovered') limit ?",
            (PAGE,),
        )
        return [row["generation_id"] for row in rows]

    def states(self, image_ids: Sequence[str]) -> dict[str, str]:
        """How images stand."""
        statement = "select id, state from images where id in (select value from json_each(?))"
        return {row["id"]: row["state"] for row in self._database.rows(statement, (json.dumps(list(image_ids)),))}

    def recorded(self, store: str, image_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Confirmed copies in a store, with the claim that made them or a later one."""
        rows = self._database.rows(
            "select c.*, i.claim from copies as c join images as i on i.id = c.image_id"
            " where c.store = ? and c.state = 'confirmed' and c.image_id in (select value from json_each(?))",
            (store, json.dumps(list(image_ids))),
        )
        return {row["image_id"]: dict(row) for row in rows}

    def record(self, store: str, old: Mapping[str, str], new: str, now: datetime) -> set[str]:
        """The record `new` tells of copies whose own (`old`, by image) is gone. Returns the images of which this is so:
        a copy that has another record by now keeps that."""
        with self._database.write() as db:
            moved = {
                image_id
                for image_id, key in old.items()
                if db.execute(
                    "update copies set lineage_key = ? where image_id = ? and store = ? and lineage_key = ?"
                    " and state = 'confirmed'",
                    (new, image_id, store, key),
                ).rowcount
            }
            for image_id in sorted(moved):
                note(db, now, "recorded", image_id=image_id, store=store, detail=f"anew: {new}")
        return moved

    def requeue(self, image_id: str, arrival: Arrival, now: datetime) -> str:
        """Give a lost image a fresh URL, or one that is missing and has no confirmed copy. Returns the state that it
        was in, and it has moved when that is `lost` or `missing`; or `confirmed`. Raises KeyError for an unknown
        image."""
        with self._database.write() as db:
            row = db.execute("select state from images where id = ?", (image_id,)).fetchone()
            if row is None:
                raise KeyError(image_id)
            state = str(row["state"])
            if state not in IMAGE["requeue"].sources:
                return state
            if db.execute("select 1 from copies where image_id = ? and state = 'confirmed'", (image_id,)).fetchone():
                return "confirmed"
            refresh(db, image_id, arrival)
            # The next key is made of the bytes that come: nobody knows yet whether they are the same.
            _move_copies(db, "recover", image_id)
            db.execute("update copies set key = null where image_id = ? and state = 'wanted'", (image_id,))
            db.execute(
                """
                insert or ignore into copies (image_id, store, state)
                select i.id, wants.value, 'wanted' from images as i join generations as g on g.id = i.generation_id
                    join json_each(g.stores) as wants
                where i.id = ?1 and not exists (select 1 from copies where image_id = ?1)
                """,
                (image_id,),
            )
            db.execute("update images set error = null, attempts = 0 where id = ?", (image_id,))
            note(db, now, "requeued", image_id=image_id, detail=f"was {state}")
        return state


def _move_copies(db: Connection, move: str, image_id: str, store: str | None = None) -> None:
    (source,) = COPY[move].sources
    db.execute(
        f"update copies set state = '{COPY[move].target}'"
        f" where image_id = ?1 and state = '{source}' and (?2 is null or store = ?2)",
        (image_id, store),
    )
