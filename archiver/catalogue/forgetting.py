"""Erasing an image from the catalogue: what must go, the tombstone, and what is left to do until it is gone everywhere.

The tombstone is committed first, together with the list of the stores that are to be visited: whoever is killed after
it left work that the same command finishes, and nothing that tells of the image. Nothing here touches a store.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from archiver.catalogue.database import Database, as_text, as_time, sqlite
from archiver.catalogue.erasing import CAN_DELETE_WORDS, erase_generation, erase_image
from archiver.core.model import Json

# Whoever was made of one of the images, however many steps away: their records may tell of it.
_FAMILY = """
    with recursive family (id) as (
        select :generation
        union select g.id from family join generations as g on g.continues = family.id
        union select n.generation_id from family join images as i on i.generation_id = family.id
            join inputs as n on n.image_id = i.id
        union select c.generation_id from family join images as i on i.generation_id = family.id
            join images as c on c.parent_image_id = i.id
    )
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a forgetting is about. `images` are to be forgotten, or are already (`begun`: all of them); `remaining` is
    how many others their generation has that are not, and `erased` are the generations whose prompt goes: its own, and
    those that it served, when none remains. `stores` are still to be visited; all is done when `is_done`.
    """

    generation_id: str
    job: str
    created_at: datetime
    images: tuple[str, ...]
    remaining: int
    erased: tuple[str, ...]
    stores: tuple[str, ...]
    begun: datetime | None = None
    is_done: bool = False


class Forgetting:
    """Tombstones."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def look(self, name: str, *, whole: bool) -> Target | None:
        """What forgetting the image called so means; with `whole`, all images of its generation, or of the generation
        called so. None when there is no such."""
        found = self._database.rows(
            "select generation_id, id from images where id = :name"
            " union all select id, null from generations where id = :name and :whole",
            {"name": name, "whole": whole},
        )
        if not found:
            return None
        generation_id = str(found[0]["generation_id"])
        rows = self._database.rows(
            "select id, state, forgotten_at from images where generation_id = ? order by idx", (generation_id,)
        )
        chosen = [row for row in rows if whole or row["id"] == name]
        alive = [row for row in chosen if row["state"] != "forgotten"]
        # What is forgotten already, and not yet everywhere, is finished along with the rest.
        left = {row["image_id"]: row for row in self._left([row["id"] for row in chosen])}
        remaining = sum(row["state"] != "forgotten" for row in rows) - len(alive)
        asked = self._database.rows(
            "select coalesce(job, origin) as job, created_at, stores from generations where id = ?", (generation_id,)
        )[0]
        stores = {store for row in left.values() for store in json.loads(row["stores"])}
        if alive:
            stores |= {*json.loads(asked["stores"]), *self._stores(generation_id)}
        times = [row["forgotten_at"] for row in chosen if row["forgotten_at"]]
        return Target(
            generation_id=generation_id,
            job=str(asked["job"]),
            created_at=as_time(asked["created_at"]),
            images=tuple(row["id"] for row in chosen),
            remaining=remaining,
            erased=() if remaining else (generation_id, *self._served(generation_id)),
            stores=tuple(sorted(stores)),
            begun=as_time(max(times)) if times and not alive else None,
            is_done=not alive and not left,
        )

    def claimants(self, target: Target) -> set[str]:
        """Who works on one of the images, or on one that was made of them, or forgets something itself."""
        rows = self._database.rows(
            f"{_FAMILY} select distinct claimed_by as owner from images join family on family.id = images.generation_id"
            " where claimed_by is not null union select owner from forgettings",
            {"generation": target.generation_id},
        )
        return {str(row["owner"]) for row in rows}

    def is_being_collected(self, target: Target) -> bool:
        """Whether the answer came in a batch whose files are not all read."""
        statement = """
            select 1 from generations as g join batches as b on b.id = g.batch_id
            where g.id = ? and b.state in ('accepted', 'ended')
        """
        return bool(self._database.rows(statement, (target.generation_id,)))

    def has_others_waiting(self, target: Target) -> bool:
        """Whether other images of the generation may still need what its answer says."""
        statement = """
            select 1 from images where generation_id = ? and state not in ('stored', 'lost', 'forgotten')
                and id not in (select value from json_each(?))
        """
        return bool(self._database.rows(statement, (target.generation_id, json.dumps(target.images))))

    def begin(self, target: Target, owner: str, dead: Collection[str], now: datetime) -> bool:
        """Erase everything that the catalogue says, and write down what is left to do. False, and nothing is done, when
        somebody other than the `dead` has begun to work on it, or to forget something."""
        others = json.dumps([*dead, owner])
        with self._database.write() as db:
            held = db.execute(
                f"{_FAMILY} select 1 from images join family on family.id = images.generation_id"
                " where claimed_by is not null and claimed_by not in (select value from json_each(:others))"
                " union all select 1 from forgettings where owner not in (select value from json_each(:others))"
                " limit 1",
                {"generation": target.generation_id, "others": others},
            ).fetchone()
            if held is not None:
                return False
            ids = {"ids": json.dumps(target.images)}
            db.execute("update forgettings set owner = :owner", {"owner": owner})
            fresh = db.execute(
                "select id from images where id in (select value from json_each(:ids)) and state <> 'forgotten'", ids
            ).fetchall()
            for row in fresh:
                erase_image(db, row["id"], now, _said_of(target))
                db.execute(
                    "insert into forgettings (image_id, owner, begun_at, stores) values (?, ?, ?, ?)",
                    (row["id"], owner, as_text(now), json.dumps(target.stores)),
                )
            if fresh:
                for generation_id in target.erased:
                    erase_generation(db, generation_id, now)
        return True

    def facts(self, target: Target) -> Json:
        """What is still kept of the answer besides its images."""
        rows = self._database.rows("select facts from generations where id = ?", (target.generation_id,))
        facts: Json = json.loads(rows[0]["facts"])
        return facts

    def keys(self, target: Target, store: str) -> list[str]:
        """The keys that are known of the images in a store."""
        rows = self._database.rows(
            "select key from copies where image_id in (select value from json_each(?)) and store = ?"
            " and key is not null",
            (json.dumps(target.images), store),
        )
        return [str(row["key"]) for row in rows]

    def is_of_another(self, target: Target, store: str, key: str) -> bool:
        """Whether a key of a store is that of an image that is not to be forgotten."""
        statement = (
            "select 1 from copies where key = ? and store = ? and image_id not in (select value from json_each(?))"
        )
        return bool(self._database.rows(statement, (key, store, json.dumps(target.images))))

    def move_lines(self, store: str, image_ids: Sequence[str], old: str, new: str) -> None:
        """The lines of these images stand in another record now."""
        with self._database.write() as db:
            db.execute(
                "update copies set lineage_key = ? where image_id in (select value from json_each(?)) and store = ?"
                " and lineage_key = ?",
                (new, json.dumps(list(image_ids)), store, old),
            )

    def visited(self, target: Target, store: str) -> None:
        """Nothing of the images is left in a store."""
        ids = json.dumps(target.images)
        with self._database.write() as db:
            db.execute(
                "delete from copies where image_id in (select value from json_each(?)) and store = ?", (ids, store)
            )
            db.execute(
                """
                update forgettings set stores = (
                    select json_group_array(value) from json_each(forgettings.stores) where value <> ?
                ) where image_id in (select value from json_each(?))
                """,
                (store, ids),
            )

    def finish(self, target: Target, now: datetime) -> None:
        """Nothing is left to do; from here on the images count as forgotten at `now`. What SQLite left of erased text
        in its pages goes: the file is written anew."""
        ids = json.dumps(target.images)
        if target.erased and not CAN_DELETE_WORDS:
            with self._database.write() as db:
                db.execute("insert into prompts (prompts) values ('optimize')")
        self._database.vacuum()
        self._database.truncate_wal()
        with self._database.write() as db:
            db.execute(
                "update images set forgotten_at = ? where id in (select image_id from forgettings"
                " where image_id in (select value from json_each(?)))",
                (as_text(now), ids),
            )
            db.execute("delete from forgettings where image_id in (select value from json_each(?))", (ids,))

    def _left(self, image_ids: Sequence[str]) -> list[sqlite.Row]:
        statement = "select * from forgettings where image_id in (select value from json_each(?))"
        return self._database.rows(statement, (json.dumps(image_ids),))

    def _stores(self, generation_id: str) -> list[str]:
        rows = self._database.rows(
            f"{_FAMILY} select distinct store from copies join images on images.id = copies.image_id"
            " join family on family.id = images.generation_id",
            {"generation": generation_id},
        )
        return [str(row["store"]) for row in rows]

    def _served(self, generation_id: str) -> list[str]:
        statement = "select id from generations where state = 'reused' and reused_from = ? order by seq"
        return [str(row["id"]) for row in self._database.rows(statement, (generation_id,))]


def _said_of(target: Target) -> str:
    return (
        "with its prompt" if target.erased else f"the prompt stays; other images of the generation: {target.remaining}"
    )
