"""Keeping, as the catalogue sees it: images, their copies, and who is working on which.

A claim is no state: owner, lease and a claim number on the row. Every write of a worker names its claim, so that a
process which slept through its lease changes nothing when it wakes.
"""

import json
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from archiver.catalogue import adopting, claiming
from archiver.catalogue.claiming import NOBODY, Resting
from archiver.catalogue.database import Database, as_text, as_time
from archiver.catalogue.inserting import forget_url
from archiver.catalogue.reviving import Reviving
from archiver.catalogue.rows import Arrival, Draft, Hopeless, Settled, Settlement, note
from archiver.catalogue.settling import claim_of, whole_of, write_settlements
from archiver.core.model import Ticket

MOST_REWRITTEN = 1000
"""URLs, which are about 300 bytes each."""


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
        except_hosts: Collection[str] = (),
        resting: Resting = NOBODY,
        probe: tuple[str, float] | None = None,
    ) -> list[Ticket]:
        """Claim up to `limit` images, nearest deadline first.

        What is already past its deadline is tried after everything that can still make it, and what is safe in the
        spool last: in an outage of the bucket, its retries must not keep us from URLs that die. With `tried_before`,
        images not tried since then are due whatever their not-before time (a person asked), and so is an image whose
        last attempt lies in the future; `generations` restricts the claim to those ids. Nothing is fetched from
        `except_hosts`; what `resting` holds back is passed over. `probe` is a host and a number in [0, 1): any image of
        that host, as the number falls, and of no other.
        """
        parameters: dict[str, str | int | None] = {
            "owner": owner,
            "until": as_text(now + lease),
            "now": as_text(now),
            "ahead": as_text(now + claiming.CLOCK_SLACK),
            "tried_before": as_text(tried_before) if tried_before else None,
            "generations": None if generations is None else json.dumps(list(generations)),
            "except_hosts": json.dumps(sorted(except_hosts)),
            "probe_host": probe[0] if probe else None,
            "salt": 1 + int(probe[1] * 10_000) if probe else 1,
            **resting.parameters(),
        }
        with self._database.write() as db:
            return claiming.claim(db, parameters, resting, limit)

    def release(self, tickets: Sequence[Ticket]) -> None:
        """Let go of claimed images that were not tried: they keep their place."""
        with self._database.write() as db:
            db.executemany(
                "update images set claimed_by = null, claimed_until = null"
                " where id = :id and claimed_by = :owner and claim = :claim",
                [claim_of(ticket) for ticket in tickets],
            )

    def settle(self, settlements: Sequence[Settlement], now: datetime) -> Settled:
        """Record the results of a batch of transfers; each under its claim, a stale one changes nothing."""
        with self._database.write() as db:
            stored = write_settlements(db, settlements, now)
            whole = whole_of(db, stored.values())
        return Settled(images=frozenset(stored), generations=whole)

    def is_whole(self, generation_id: str) -> bool:
        """Whether a generation has images and all of them have come to their end: its answer file has done its duty."""
        statement = "select min(state in ('stored', 'lost', 'forgotten')) as whole from images where generation_id = ?"
        is_over = bool(self._database.rows(statement, (generation_id,))[0]["whole"])
        return is_over and Reviving(self._database).absent(generation_id) is None

    def unrecorded(self, image_id: str) -> list[dict[str, object]]:
        """Confirmed copies of an image whose lineage record is still missing."""
        rows = self._database.rows(
            "select store, key, sha256, size, etag, proof, confirmed_at from copies"
            " where image_id = ? and state = 'confirmed' and lineage_key is null",
            (image_id,),
        )
        return [dict(row) for row in rows]

    def adopt(self, entries: Sequence[tuple[Draft, Arrival]], now: datetime) -> list[str]:
        """Take in images that were generated elsewhere. One word per entry: `new`, `refreshed`, `requeued`, `waiting`
        (known, and still on its way) or `known`.

        The identity of an image is its URL without the signature: the same line twice is one image, and a URL signed
        anew refreshes a pending or lost row.
        """
        with self._database.write() as db:
            return adopting.adopt(db, entries, now)

    def hopeless(self, now: datetime) -> list[Hopeless]:
        """Unclaimed pending images whose time is over and whose last two tries were refused by the source. What a store
        has confirmed is not among them: the source is not the only one to have it."""
        rows = self._database.rows(
            """
            select id, attempts, give_up_at, refused_at, refused_before_at from images indexed by images_hopeless
            where state = 'pending' and claimed_by is null
                and give_up_at <= ? and refused_before_at is not null and not exists (
                    select 1 from copies where image_id = images.id and state = 'confirmed'
                )
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
                "update images set state = 'lost', not_before = null"
                " where id = ? and state = 'pending' and claimed_by is null returning error",
                (image_id,),
            ).fetchone()
            if lost is not None:
                forget_url(db, image_id)
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
        """Every file in the spool that an unfinished image still needs, or that a missing one may come back from."""
        rows = self._database.rows(
            "select spool from images indexed by images_spool"
            " where state in ('pending', 'spooled') and spool is not null"
            " union all select id || '.' || sha256 from images where state = 'missing' and sha256 is not null"
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

    def rewrite_urls(self) -> None:
        """Write the URLs that are still needed into clean pages, unless they are many: SQLite leaves stale bytes of
        erased ones in the gaps of a page until all of the page's URLs are erased."""
        with self._database.write() as db:
            rows = db.execute("select seq, url from urls limit ?", (MOST_REWRITTEN + 1,)).fetchall()
            if len(rows) <= MOST_REWRITTEN:
                db.execute("delete from urls")
                db.executemany("insert into urls (seq, url) values (?, ?)", [tuple(row) for row in rows])

    def next_due(self, generations: Sequence[str] | None = None, *, resting: Resting = NOBODY) -> datetime | None:
        """When the next unclaimed image (of the given generations) may be tried that `resting` does not hold back,
        None when there is none."""
        chosen = None if generations is None else json.dumps(list(generations))
        row = self._database.rows(claiming.next_due(chosen, resting), {"generations": chosen, **resting.parameters()})
        return as_time(row[0]["due"]) if row[0]["due"] else None

    def waiting_hosts(self) -> set[str]:
        """Every host of which something is still to be fetched."""
        return {row["host"] for row in self._database.rows(claiming.WAITING_HOSTS)}
