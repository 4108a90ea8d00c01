"""Taking back what lineage records tell: rows that are missing are added, and what an older catalogue (one that was
restored) did not know yet of its own rows: that a generation was answered, that a copy is there. Nothing is deleted.

Every row goes the way that any row goes: a generation is born completed, an image pending, its copies wanted and then
confirmed, and only what has all of that becomes stored. Records come in any order, so what they refer to is linked at
the end. A catalogue that is left in the middle of it is a good one, only not whole: the next time goes on from there.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from archiver.catalogue import rebuilt_rows as rows
from archiver.catalogue.database import Connection, Database, is_refusal
from archiver.catalogue.inserting import insert_arrival, insert_generation
from archiver.catalogue.rows import Arrival, Draft, note

BATCH = 300
#: On the disk, not in memory, and gone with the connection: what this rebuild made itself, and what it has to do yet.
_NOTES = (
    """
    create temp table if not exists told_copies (
        image_id text, store text, claim integer, lineage_key text, primary key (image_id, store)
    ) without rowid
    """,
    "create temp table if not exists told_images (image_id text primary key) without rowid",
    """
    create temp table if not exists told_links (
        seq integer primary key, kind text, child text, position integer, target text, unique (kind, child, position)
    )
    """,
    "create temp table if not exists told_kin (id text primary key, said text) without rowid",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One copy, as a lineage record tells of it: columns of each table. `kin` are generations (and images) that it
    refers to and that had no record when it was written."""

    generation: Mapping[str, Any]
    image: Mapping[str, Any]
    copy: Mapping[str, Any]
    kin: tuple[tuple[Mapping[str, Any], Mapping[str, Any] | None], ...] = ()


class Rebuilding:
    """A catalogue from lineage records. One thread does it: what it notes belongs to its connection."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def is_empty(self) -> bool:
        """Whether nothing was ever asked for or taken in."""
        return not self._database.rows("select 1 from generations limit 1")

    def begin(self) -> None:
        """Forget what an earlier rebuild noted."""
        for statement in _NOTES:
            self._database.rows(statement)
        with self._database.write() as db:
            for table in ("told_copies", "told_images", "told_links", "told_kin"):
                db.execute(f"delete from {table}")

    def missing(self, told: Sequence[Told]) -> list[bool]:
        """Which of the copies the catalogue does not have. A forgotten image lacks none."""
        statement = (
            f"select 1 from copies where image_id = ?1 and store = ?2 and not ({rows.OLDER})"
            " union all select 1 from images where id = ?1 and state = 'forgotten'"
        )
        return [not self._database.rows(statement, (item.image["image_id"], item.copy["store"])) for item in told]

    def add(self, told: Sequence[Told]) -> tuple[Counter[str], list[Told]]:
        """Add what is missing of a batch, in one transaction. One word per copy: `added`, `known`, `repeated` (two
        records of one copy: the later claim tells the truth). Returns those too that contradict what is there."""
        counts: Counter[str] = Counter()
        odd: list[Told] = []
        with self._database.write() as db:
            for item in told:
                db.execute("savepoint one")
                word = _guarded(db, item)
                if word is None:
                    db.execute("rollback to one")
                    odd.append(item)
                else:
                    counts[word] += 1
                db.execute("release one")
        return counts, odd

    def adopt(self, draft: Draft, arrival: Arrival, now: datetime) -> bool:
        """Take in bytes from the spool that no row names: of a generation that a record tells of, or of nobody knows
        which. False when a row names them after all."""
        with self._database.write() as db:
            if db.execute("select 1 from images where id = ?", (arrival.id,)).fetchone():
                return False
            kin = db.execute("select said from told_kin where id = ?", (f"image {arrival.id}",)).fetchone()
            if kin is None:
                insert_generation(db, draft, "completed", now, None)
                insert_arrival(db, draft.id, arrival, draft.stores, now)
            else:
                generation, image = json.loads(kin["said"])
                if image.get("forgotten_at"):
                    return False
                rows.insert_generation(db, generation)
                rows.insert_image(db, image)
                rows.spool(db, arrival, draft.stores)
            note(db, now, "rescued", image_id=arrival.id, detail="from the spool, when the catalogue was rebuilt")
        return True

    def stand_in(self, now: datetime) -> int:
        """Make rows for what records refer to and no record tells of. Returns the number of images that are lost by
        that; of those that were forgotten, everybody knows."""
        lost, after = 0, ""
        while batch := self._database.rows(
            "select id, said from told_kin where id > ? order by id limit ?", (after, BATCH)
        ):
            after = batch[-1]["id"]
            with self._database.write() as db:
                for row in batch:
                    generation, image = json.loads(row["said"])
                    rows.insert_generation(db, generation)
                    rows.complete_generation(db, generation)
                    if image and rows.image_row(db, image["image_id"]) is None:
                        rows.insert_image(db, image)
                        if image.get("forgotten_at"):
                            rows.forget(db, image["image_id"], image["forgotten_at"])
                            continue
                        rows.lose(db, image["image_id"])
                        note(db, now, "rebuilt", image_id=image["image_id"], detail=rows.STANDS_IN)
                        lost += 1
        return lost

    def link(self) -> int:
        """Say who goes on from whom. Returns how many of those referred to are not here."""
        loose, after = 0, 0
        while batch := self._database.rows(
            "select * from told_links where seq > ? order by seq limit ?", (after, BATCH)
        ):
            after = batch[-1]["seq"]
            with self._database.write() as db:
                loose += sum(not rows.link(db, row) for row in batch)
        return loose

    def settle(self, stores: Sequence[str]) -> int:
        """Let every image that was added be stored, or wait for those of `stores` that it was wanted in and that no
        record tells of. Returns how many wait."""
        waiting = 0
        while batch := self._database.rows("select image_id from told_images order by image_id limit ?", (BATCH,)):
            with self._database.write() as db:
                for row in batch:
                    waiting += not rows.store(db, row["image_id"], stores)
                    db.execute("delete from told_images where image_id = ?", (row["image_id"],))
        return waiting

    def note(self, detail: str, now: datetime) -> None:
        """Remember that the catalogue was rebuilt."""
        with self._database.write() as db:
            note(db, now, "rebuilt", detail=detail)


def _guarded(db: Connection, item: Told) -> str | None:
    """The word on one copy; None when it contradicts what is there."""
    try:
        return _add(db, item)
    except Exception as error:
        if not is_refusal(error):
            raise
        return None


def _add(db: Connection, item: Told) -> str | None:
    image_id, copy = item.image["image_id"], item.copy
    known = rows.image_row(db, image_id)
    if known is not None and known["state"] == "forgotten":
        return "known"
    rows.insert_generation(db, item.generation)
    rows.complete_generation(db, item.generation)
    _later_of(db, item.generation)
    is_new = known is None or (known["state"] == "lost" and known["error"] == rows.STANDS_IN)
    if known is None:
        rows.insert_image(db, item.image, copy)
    elif is_new:
        rows.replace_stand_in(db, item.image, copy)
    elif known["generation_id"] != item.generation["id"]:
        return None
    elif known["sha256"] not in (None, copy["sha256"]) and (word := _told_of_other_bytes(db, item)) != "later":
        return word
    if is_new:
        db.execute("insert or ignore into told_images values (?)", (image_id,))
    if item.image["parent_image_id"]:
        _later(db, "parent", image_id, 0, item.image["parent_image_id"])
    for generation, image in item.kin:
        name = f"image {image['image_id']}" if image else f"generation {generation['id']}"
        db.execute("insert or ignore into told_kin values (?, ?)", (name, json.dumps([generation, image])))
        _later_of(db, generation)
        if image and image["parent_image_id"]:
            _later(db, "parent", image["image_id"], 0, image["parent_image_id"])
    return _add_copy(db, item, is_lost=not is_new and known is not None and known["state"] == "lost")


def _told_of_other_bytes(db: Connection, item: Told) -> str | None:
    """A missing image was requeued, and its fresh URL brought other bytes: the later claim tells the truth, of all its
    copies. What this rebuild itself made of earlier records goes then; of rows that were there before, none."""
    image_id, claim = item.image["image_id"], item.image["claim"]
    made = db.execute("select max(claim) as claim from told_copies where image_id = ?", (image_id,)).fetchone()["claim"]
    if made is None or claim == made:
        return None
    if claim < made:
        return "repeated"
    mine = "select store from told_copies where image_id = ?1"
    if db.execute(f"select 1 from copies where image_id = ?1 and store not in ({mine})", (image_id,)).fetchone():
        return None
    db.execute(f"delete from copies where image_id = ?1 and store in ({mine})", (image_id,))
    db.execute("delete from told_copies where image_id = ?", (image_id,))
    rows.change_image(db, item.image, item.copy)
    return "later"


def _add_copy(db: Connection, item: Told, *, is_lost: bool) -> str | None:
    image_id, copy, claim = item.image["image_id"], item.copy, item.image["claim"]
    place = (image_id, copy["store"])
    made = db.execute("select claim, lineage_key from told_copies where image_id = ? and store = ?", place).fetchone()
    if made is None:
        if db.execute(
            f"select 1 from copies where image_id = ? and store = ? and not ({rows.OLDER})", place
        ).fetchone():
            return "known"
        if is_lost:
            return None
        if rows.is_older(db, *place):
            rows.fill_image(db, item.image, copy)
            db.execute("insert or ignore into told_images values (?)", (image_id,))
            rows.correct_copy(db, image_id, copy)
        else:
            rows.insert_copy(db, image_id, copy)
        # A later claim must be later than all that records tell of. A row that was there before may be in work.
        db.execute(
            "update images set claim = max(claim, ?) where id = ? and id in (select image_id from told_images)",
            (claim, image_id),
        )
    elif (claim, copy["lineage_key"]) > (made["claim"], made["lineage_key"]):
        rows.correct_copy(db, image_id, copy)
    else:
        return "repeated"
    db.execute("insert or replace into told_copies values (?, ?, ?, ?)", (*place, claim, copy["lineage_key"]))
    return "added" if made is None else "repeated"


def _later_of(db: Connection, generation: Mapping[str, Any]) -> None:
    if generation["continues"]:
        _later(db, "continues", generation["id"], 0, generation["continues"])
    for position, (_, image_id, _) in enumerate(generation["inputs"]):
        if image_id:
            _later(db, "input", generation["id"], position, image_id)


def _later(db: Connection, kind: str, child: str, position: int, target: str) -> None:
    if not rows.is_linked(db, kind, child, position):
        values = (kind, child, position, target)
        db.execute("insert or ignore into told_links (kind, child, position, target) values (?, ?, ?, ?)", values)
