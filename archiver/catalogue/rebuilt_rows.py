"""The rows of a catalogue that is rebuilt: inserts and moves for the transactions of `rebuilding`.

Nothing here opens a transaction, and nothing decides which of two records is right.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from archiver.catalogue import budgets
from archiver.catalogue.database import Connection, Row
from archiver.catalogue.inserting import forget_url
from archiver.catalogue.rows import Arrival
from archiver.core.states import COPY, GENERATION, IMAGE

STANDS_IN = "records refer to this image, and none tells of it"

#: Of a copy: it was never made, as far as is known here, and nobody is making it. A record of one that is there proves
#: that the catalogue is older. What was stored once is another matter: a copy that went missing has its record too.
OLDER = """
    copies.state = 'wanted' and copies.confirmed_at is null and exists (
        select 1 from images where images.id = copies.image_id and images.state in ('pending', 'spooled')
            and images.claimed_by is null and images.archived_at is null
    )
"""
_ANSWERED = "submitted_at answered_at request_id reply facts came shares mode expected_micro charged_to".split()

_PLAIN = (
    "id origin job prompt provider model size n priority tags metadata stores attempts created_at submitted_at"
    " answered_at request_id cost_micro expected_micro charged_to parameters reply facts mode fingerprint reuse_s came"
    " shares scheduled_for position"
).split()
_IMAGE = (
    "generation_id idx source source_host source_identity deadline deadline_from give_up_at revised_prompt attempts"
    " claim content_type extension width height verdict created_at fetched_at role"
).split()
_COPY = "key sha256 size etag proof archived_at lineage_key".split()


def insert_generation(db: Connection, said: Mapping[str, Any]) -> None:
    """One generation with its inputs, its tick and what it took out of budgets, unless it is there. Its tick is not
    planned again; where another generation has its place in the tick, it has none."""
    if db.execute("select 1 from generations where id = ?", (said["id"],)).fetchone():
        return
    values = {**said, "attempts": 1 if said["submitted_at"] else 0}
    tick = (said["job"], said["scheduled_for"], said["position"])
    if (
        None in tick
        or db.execute("select 1 from generations where job = ? and scheduled_for = ? and position = ?", tick).fetchone()
    ):
        values |= {"scheduled_for": None, "position": None}
    else:
        db.execute("insert or ignore into ticks values (?, ?, ?)", (*tick[:2], said["created_at"]))
    names = ", ".join(_PLAIN)
    db.execute(
        f"insert into generations ({names}, state) values ({', '.join(f':{name}' for name in _PLAIN)}, 'completed')",
        {name: values[name] for name in _PLAIN},
    )
    db.executemany(
        "insert into inputs (generation_id, position, sha256, content_type) values (?, ?, ?, ?)",
        [(said["id"], at, sha256, content_type) for at, (sha256, _, content_type) in enumerate(said["inputs"])],
    )
    _charge(db, said["charged_to"], said["expected_micro"] if said["cost_micro"] is None else said["cost_micro"])


def complete_generation(db: Connection, said: Mapping[str, Any]) -> None:
    """A generation of which a record tells was answered, whatever an older catalogue says of it: nobody need decide
    what became of it, and its cost is known. One that is being asked for right now is left to who asks."""
    old = db.execute(
        "select expected_micro, charged_to from generations"
        " where id = ? and state in ('planned', 'accepted', 'unknown', 'failed')",
        (said["id"],),
    ).fetchone()
    if old is None:
        return
    values = {name: said[name] for name in ("id", "cost_micro", *_ANSWERED)}
    cost = said["expected_micro"] if said["cost_micro"] is None else said["cost_micro"]
    if old["charged_to"] != "[]":
        budgets.settle(db, old["charged_to"], (cost or 0) - (old["expected_micro"] or 0))
        values["charged_to"] = old["charged_to"]
    else:
        _charge(db, said["charged_to"], cost)
    columns = ", ".join(f"{name} = :{name}" for name in _ANSWERED)
    db.execute(
        f"""
        update generations set state = '{GENERATION["complete"].target}', cost_micro = :cost_micro, {columns},
            attempts = max(attempts, 1), owner = null, not_before = null, held = 0, error = null, polled_until = null
        where id = :id
        """,
        values,
    )


def _charge(db: Connection, charged_to: str, cost_micro: int | None) -> None:
    db.execute(
        """
        insert into budgets (scope, period, limit_micro, spent_micro)
        select json_extract(value, '$[0]'), json_extract(value, '$[1]'), :cost, :cost from json_each(:charged_to)
        where :cost > 0
        on conflict (scope, period) do update set spent_micro = budgets.spent_micro + excluded.spent_micro,
            limit_micro = max(budgets.limit_micro, budgets.spent_micro + excluded.spent_micro)
        """,
        {"cost": cost_micro, "charged_to": charged_to},
    )


def is_older(db: Connection, image_id: str, store: str) -> bool:
    """Whether a record of this copy tells more than its row: see `OLDER`."""
    statement = f"select 1 from copies where image_id = ? and store = ? and {OLDER}"
    return db.execute(statement, (image_id, store)).fetchone() is not None


def fill_image(db: Connection, said: Mapping[str, Any], copy: Mapping[str, Any]) -> None:
    """What an image turned out to be, where its row does not know yet."""
    names = ("content_type", "extension", "width", "height", "verdict", "fetched_at")
    values = {name: said[name] for name in names} | {"sha256": copy["sha256"], "size": copy["size"]}
    columns = ", ".join(f"{name} = coalesce({name}, :{name})" for name in values)
    db.execute(
        f"update images set {columns}, claim = max(claim, :claim) where id = :id",
        {**values, "claim": said["claim"] or 0, "id": said["image_id"]},
    )


def image_row(db: Connection, image_id: str) -> Row | None:
    """How an image stands; None when there is none."""
    statement = "select state, error, generation_id, sha256 from images where id = ?"
    row: Row | None = db.execute(statement, (image_id,)).fetchone()
    return row


def insert_image(db: Connection, said: Mapping[str, Any], copy: Mapping[str, Any] | None = None) -> None:
    """One image, pending as all are born. `copy` tells what its bytes are."""
    values = _image_values(db, said, copy)
    places = ", ".join(f":{name}" for name in values)
    db.execute(f"insert into images ({', '.join(values)}, state) values ({places}, 'pending')", values)


def replace_stand_in(db: Connection, said: Mapping[str, Any], copy: Mapping[str, Any]) -> None:
    """A record tells of it after all."""
    values = _image_values(db, said, copy)
    columns = ", ".join(f"{name} = :{name}" for name in values)
    db.execute(f"update images set {columns}, state = '{IMAGE['requeue'].target}', error = null where id = :id", values)


def change_image(db: Connection, said: Mapping[str, Any], copy: Mapping[str, Any]) -> None:
    """A later record tells of other bytes."""
    values = _image_values(db, said, copy)
    columns = ", ".join(f"{name} = :{name}" for name in values)
    db.execute(f"update images set {columns} where id = :id", values)


def _image_values(db: Connection, said: Mapping[str, Any], copy: Mapping[str, Any] | None) -> dict[str, Any]:
    values = {name: said[name] for name in _IMAGE} | {"id": said["image_id"]}
    if values["idx"] is None:
        statement = "select coalesce(max(idx) + 1, 0) as next from images where generation_id = ?"
        values["idx"] = db.execute(statement, (said["generation_id"],)).fetchone()["next"]
    if copy is not None:
        values |= {"sha256": copy["sha256"], "size": copy["size"]}
    return values


def insert_copy(db: Connection, image_id: str, copy: Mapping[str, Any]) -> None:
    """One confirmed copy, of whatever image. A stored one is missing until it is there."""
    was_stored = db.execute(
        f"update images set state = '{IMAGE['miss'].target}' where id = ? and state = 'stored' returning 1", (image_id,)
    ).fetchone()
    db.execute(
        "update images set sha256 = ?, size = ? where id = ? and sha256 is null",
        (copy["sha256"], copy["size"], image_id),
    )
    db.execute("insert into copies (image_id, store, state) values (?, ?, 'wanted')", (image_id, copy["store"]))
    correct_copy(db, image_id, copy)
    if was_stored:
        db.execute(f"update images set state = '{IMAGE['store'].target}' where id = ?", (image_id,))


def correct_copy(db: Connection, image_id: str, copy: Mapping[str, Any]) -> None:
    """What its record tells of a copy."""
    db.execute(
        f"""
        update copies set state = '{COPY["confirm"].target}', key = :key, sha256 = :sha256, size = :size, etag = :etag,
            proof = :proof, confirmed_at = :archived_at, lineage_key = :lineage_key
        where image_id = :image_id and store = :store
        """,
        {name: copy[name] for name in _COPY} | {"image_id": image_id, "store": copy["store"]},
    )


def spool(db: Connection, arrival: Arrival, stores: Sequence[str]) -> None:
    """The bytes of a pending image are in the spool."""
    info = arrival.info
    db.execute(
        f"update images set state = '{IMAGE['rescue'].target}', spool = ?, sha256 = ?, size = ?, content_type = ?,"
        " extension = ?, width = ?, height = ?, verdict = ? where id = ?",
        (
            arrival.spool,
            arrival.sha256,
            arrival.size,
            info.content_type if info else None,
            info.extension if info else None,
            info.width if info else None,
            info.height if info else None,
            info.verdict if info else None,
            arrival.id,
        ),
    )
    db.executemany(
        "insert into copies (image_id, store, state) values (?, ?, 'wanted')", [(arrival.id, name) for name in stores]
    )


def lose(db: Connection, image_id: str) -> None:
    """Nothing is known of an image but that it was there."""
    db.execute(f"update images set state = '{IMAGE['lose'].target}', error = ? where id = ?", (STANDS_IN, image_id))


def forget(db: Connection, image_id: str, at: str) -> None:
    """The image was forgotten before this catalogue was: all that is known of it are ids and times."""
    db.execute(
        f"update images set state = '{IMAGE['forget'].target}', forgotten_at = ?, source = null, source_host = null,"
        " source_identity = null, revised_prompt = null where id = ?",
        (at, image_id),
    )


def is_linked(db: Connection, kind: str, child: str, position: int) -> bool:
    """Whether a row says already whom it goes on from."""
    statement = {
        "parent": "select parent_image_id from images where id = ? and ? = 0",
        "continues": "select continues from generations where id = ? and ? = 0",
        "input": "select image_id from inputs where generation_id = ? and position = ?",
    }[kind]
    row = db.execute(statement, (child, position)).fetchone()
    return row is not None and row[0] is not None


def link(db: Connection, row: Row) -> bool:
    """Say whom a row goes on from, unless it does. False when that one is not here."""
    table = "generations" if row["kind"] == "continues" else "images"
    if not db.execute(f"select 1 from {table} where id = ?", (row["target"],)).fetchone():
        return False
    statement = {
        "parent": "update images set parent_image_id = :target where id = :child and parent_image_id is null",
        "continues": "update generations set continues = :target where id = :child and continues is null",
        "input": "update inputs set image_id = :target"
        " where generation_id = :child and position = :position and image_id is null",
    }[row["kind"]]
    db.execute(statement, {name: row[name] for name in ("target", "child", "position") if f":{name}" in statement})
    return True


def store(db: Connection, image_id: str, stores: Sequence[str]) -> bool:
    """Let an image be stored, unless it was wanted in one of `stores` and is not there: then it waits for that one."""
    db.execute(
        """
        insert or ignore into copies (image_id, store, state)
        select images.id, wants.value, 'wanted' from images join generations on generations.id = images.generation_id
            join json_each(generations.stores) as wants
        where images.id = ?1 and images.state = 'pending' and wants.value in (select value from json_each(?2))
            and wants.value not in (select store from copies where image_id = ?1)
        """,
        (image_id, json.dumps(list(stores))),
    )
    is_stored = db.execute(
        f"""
        update images set state = '{IMAGE["store"].target}', spool = null, not_before = null, error = null,
            archived_at = (select max(confirmed_at) from copies where image_id = images.id)
        where id = ? and state in ('pending', 'spooled') and claimed_by is null
            and not exists (select 1 from copies where image_id = images.id and state <> 'confirmed')
        """,
        (image_id,),
    ).rowcount
    if is_stored:
        forget_url(db, image_id)
    return bool(is_stored)
