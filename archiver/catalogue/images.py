"""Keeping, as the catalogue sees it: images, their copies, and who is working on which.

A claim is no state: owner, lease and a claim number on the row. Every write of a worker names its claim, so that a
process which slept through its lease changes nothing when it wakes.
"""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta

from archiver.catalogue.database import Connection, Database, Row, as_text, as_time
from archiver.catalogue.rows import (
    Arrival,
    Draft,
    Hopeless,
    Settled,
    Settlement,
    evidence_json,
    insert_arrival,
    insert_generation,
    note,
)
from archiver.catalogue.settling import is_all_stored, write_settlement
from archiver.core.model import Ticket, Want
from archiver.core.tempurl import TemporaryURL

_CLAIM = """
    update images set claimed_by = :owner, claimed_until = :until, claim = claim + 1
    where seq in (
        select images.seq from images {join}
        where images.state in ('pending', 'spooled') and {tier}
            and (images.attempted_at > :ahead
                or case when :tried_before is null then images.not_before is null or images.not_before <= :now
                    else images.attempted_at is null or images.attempted_at < :tried_before end)
            and (images.claimed_by is null or images.claimed_until < :now)
        order by images.deadline limit :limit
    ) returning *
"""
#: An attempt that lies further ahead than this was made before the clock was set back: its not-before time means
#: nothing, and waiting for it could cost the image. Two processes that read the clock for one claim differ by less.
CLOCK_SLACK = timedelta(minutes=1)
_TIERS = (
    "images.state = 'pending' and images.deadline >= :now",
    "images.state = 'pending' and images.deadline < :now",
    "images.state = 'spooled'",
)
_ONLY = "join json_each(:generations) as chosen on chosen.value = images.generation_id"


class Images:
    """Images and copies."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim(
        self,
        owner: str,
        now: datetime,
        lease: timedelta,
        *,
        limit: int = 1,
        tried_before: datetime | None = None,
        generations: Sequence[str] | None = None,
    ) -> list[Ticket]:
        """Claim up to `limit` images, nearest deadline first.

        What is already past its deadline is tried after everything that can still make it, and what is safe in the
        spool last: in an outage of the bucket, its retries must not keep us from URLs that die. With `tried_before`,
        images not tried since then are due whatever their not-before time (a person asked), and so is an image whose
        last attempt lies in the future; `generations` restricts the claim to those ids.
        """
        parameters: dict[str, str | int | None] = {
            "owner": owner,
            "until": as_text(now + lease),
            "now": as_text(now),
            "ahead": as_text(now + CLOCK_SLACK),
            "tried_before": as_text(tried_before) if tried_before else None,
            "generations": None if generations is None else json.dumps(list(generations)),
        }
        join = "" if generations is None else _ONLY
        with self._database.write() as db:
            rows: list[Row] = []
            for tier in _TIERS:
                parameters["limit"] = limit - len(rows)
                found = db.execute(_CLAIM.format(join=join, tier=tier), parameters).fetchall()
                rows += sorted(found, key=lambda row: row["deadline"])  # RETURNING promises no order
            return [_ticket(db, row) for row in rows]

    def settle(self, settlements: Sequence[Settlement], now: datetime) -> Settled:
        """Record the results of a batch of transfers; each under its claim, a stale one changes nothing."""
        with self._database.write() as db:
            stored = {
                (item.ticket.image_id, item.ticket.claim): generation
                for item in settlements
                if (generation := write_settlement(db, item, now)) is not None
            }
            whole = tuple(generation for generation in sorted(set(stored.values())) if is_all_stored(db, generation))
        return Settled(images=frozenset(stored), generations=whole)

    def is_whole(self, generation_id: str) -> bool:
        """Whether a generation has images and all of them have come to their end: its answer file has done its duty."""
        statement = "select min(state in ('stored', 'lost')) as whole from images where generation_id = ?"
        return bool(self._database.rows(statement, (generation_id,))[0]["whole"])

    def lineage_rows(self, image_ids: Sequence[str]) -> dict[str, dict[str, object]]:
        """What a lineage record says of an image besides its copy: the columns of the view that do not name a store."""
        rows = self._database.rows(
            """
            select g.prompt, g.job, g.provider, g.model, i.generation_id, i.id as image_id, i.parent_image_id,
                g.created_at, i.content_type, i.width, i.height, i.revised_prompt, g.tags,
                g.cost_micro / 1e6 / (select count(*) from images as a where a.generation_id = g.id) as cost_usd
            from images as i join generations as g on g.id = i.generation_id
            where i.id in (select value from json_each(?))
            """,
            (json.dumps(list(image_ids)),),
        )
        return {row["image_id"]: dict(row) for row in rows}

    def unrecorded(self, image_id: str) -> list[dict[str, object]]:
        """Confirmed copies of an image whose lineage record is still missing."""
        rows = self._database.rows(
            "select store, key, sha256, size, etag, proof, confirmed_at from copies"
            " where image_id = ? and state = 'confirmed' and lineage_key is null",
            (image_id,),
        )
        return [dict(row) for row in rows]

    def adopt(self, entries: Sequence[tuple[Draft, Arrival]], now: datetime) -> list[str]:
        """Take in images that were generated elsewhere. One word per entry: `new`, `refreshed`, `requeued` or `known`.

        The identity of an image is its URL without the signature: the same line twice is one image, and a URL signed
        anew refreshes a pending or lost row.
        """
        with self._database.write() as db:
            return [_adopt(db, draft, arrival, now) for draft, arrival in entries]

    def hopeless(self, now: datetime) -> list[Hopeless]:
        """Unclaimed pending images whose time is over and whose last two tries were refused by the source."""
        rows = self._database.rows(
            """
            select id, attempts, give_up_at, refused_at, refused_before_at from images
            where state in ('pending', 'spooled') and state = 'pending' and claimed_by is null
                and give_up_at <= ? and refused_before_at is not null
            """,
            (as_text(now),),
        )
        return [
            Hopeless(
                image_id=row["id"],
                attempts=row["attempts"],
                give_up_at=as_time(row["give_up_at"]),
                refused_at=as_time(row["refused_at"]),
                refused_before_at=as_time(row["refused_before_at"]),
            )
            for row in rows
        ]

    def lose(self, image_id: str, now: datetime) -> bool:
        """Give up on one pending image."""
        with self._database.write() as db:
            lost = db.execute(
                "update images set state = 'lost', source_url = null, not_before = null"
                " where id = ? and state = 'pending' and claimed_by is null returning error",
                (image_id,),
            ).fetchone()
            if lost is not None:
                note(db, now, "lost", image_id=image_id, detail=lost["error"])
        return lost is not None

    def origin(self, image_id: str) -> tuple[str, int]:
        """The generation of an image, and its place in the answer. Raises KeyError for an unknown image."""
        rows = self._database.rows("select generation_id, idx from images where id = ?", (image_id,))
        if not rows:
            raise KeyError(image_id)
        return rows[0]["generation_id"], rows[0]["idx"]

    def claimants(self) -> list[str]:
        """Every owner that holds a claim."""
        rows = self._database.rows("select distinct claimed_by from images where claimed_by is not null")
        return [row["claimed_by"] for row in rows]

    def free(self, owner: str) -> int:
        """Release all claims of an owner that is gone. Returns how many there were."""
        with self._database.write() as db:
            statement = "update images set claimed_by = null, claimed_until = null where claimed_by = ?"
            return int(db.execute(statement, (owner,)).rowcount)

    def spool_names(self) -> set[str]:
        """Every file in the spool that an unfinished image still needs."""
        rows = self._database.rows(
            "select spool from images where state in ('pending', 'spooled') and spool is not null"
        )
        return {row["spool"] for row in rows}

    def spool_states(self, image_ids: Sequence[str]) -> dict[str, tuple[str, str | None]]:
        """State and spool file of those of the images that exist."""
        statement = "select id, state, spool from images where id in (select value from json_each(?))"
        return {
            row["id"]: (row["state"], row["spool"]) for row in self._database.rows(statement, (json.dumps(image_ids),))
        }

    def adopt_rescued(self, image_id: str, name: str, sha256: str, now: datetime) -> bool:
        """A process rescued the bytes of a pending image and died before it said so. False when somebody works on
        it."""
        with self._database.write() as db:
            adopted = db.execute(
                "update images set state = 'spooled', spool = ?, sha256 = ?, fetched_at = coalesce(fetched_at, ?)"
                " where id = ? and state = 'pending' and claimed_by is null",
                (name, sha256, as_text(now), image_id),
            ).rowcount
            if adopted:
                note(db, now, "rescued", image_id=image_id, detail="by a process that died before it said so")
        return bool(adopted)

    def next_due(self, generations: Sequence[str] | None = None) -> datetime | None:
        """When the next unclaimed image (of the given generations) may be tried, None when there is none."""
        row = self._database.rows(
            f"""
            select min(coalesce(images.not_before, images.created_at)) as due
            from images {"" if generations is None else _ONLY}
            where images.state in ('pending', 'spooled') and images.claimed_by is null
            """,
            {"generations": json.dumps(list(generations or ()))},
        )[0]
        return as_time(row["due"]) if row["due"] else None


def _ticket(db: Connection, row: Row) -> Ticket:
    wants = db.execute("select store, key from copies where image_id = ? and state = 'wanted'", (row["id"],)).fetchall()
    asked = db.execute(
        "select origin, job, created_at from generations where id = ?", (row["generation_id"],)
    ).fetchone()
    return Ticket(
        image_id=row["id"],
        claim=row["claim"],
        owner=row["claimed_by"],
        job=asked["job"] or asked["origin"],
        created_at=as_time(asked["created_at"]),
        deadline=as_time(row["deadline"]),
        attempts=row["attempts"],
        wants=tuple(Want(store=want["store"], key=want["key"]) for want in wants),
        url=TemporaryURL(row["source_url"]) if row["source_url"] else None,
        spooled=row["spool"] if row["state"] == "spooled" else None,
        sha256=row["sha256"],
    )


def _adopt(db: Connection, draft: Draft, arrival: Arrival, now: datetime) -> str:
    if arrival.url is None:
        raise ValueError("only an image with a URL can be adopted")
    known = db.execute(
        "select id, state, source_url, deadline from images where source_identity = ? order by seq desc limit 1",
        (arrival.url.identity,),
    ).fetchone()
    if known is None:
        insert_generation(db, draft, "completed", now, None)
        insert_arrival(db, draft.id, arrival, draft.stores, now)
        return "new"
    is_fresher = known["source_url"] != arrival.url.reveal() and as_text(arrival.deadline) > known["deadline"]
    if known["state"] not in ("pending", "lost") or not is_fresher:
        return "known"
    db.execute(
        """
        update images
        set state = 'pending', source_url = ?, source = ?, deadline = ?, deadline_from = ?, give_up_at = ?,
            evidence = ?, not_before = null, refused_at = null, refused_before_at = null where id = ?
        """,
        (
            arrival.url.reveal(),
            str(arrival.url),
            as_text(arrival.deadline),
            arrival.deadline_from,
            as_text(arrival.give_up_at),
            evidence_json(arrival.evidence),
            known["id"],
        ),
    )
    word = "requeued" if known["state"] == "lost" else "refreshed"
    note(db, now, word, image_id=known["id"])
    return word
