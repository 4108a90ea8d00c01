"""Work that a provider has accepted, and images whose URL died after it: what may be asked for again, since asking is
free.

Who polls what until when, which generation a handle belongs to, which images need a fresh URL and when they were last
asked for. Whether one is asked for is decided in `core.polling`.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from archiver.catalogue.database import Connection, Database, as_text, as_time
from archiver.catalogue.evidence import evidence_json
from archiver.catalogue.inserting import keep_url
from archiver.catalogue.rows import Arrival, Submission, note, submission_of

# By time, so that a million that wait for their next poll are passed over at once.
_POLLS = """
    from generations indexed by generations_polls
    where state = 'accepted' and batch_id is null and provider = :provider
"""
_FREE = "(polled_until is null or polled_until <= :now or polled_until > :ahead)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A generation that a handle belongs to, and how it stands."""

    generation_id: str
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dead:
    """A pending image that cannot be fetched by its URL, and the work that it came from. `claim` as it was seen."""

    image_id: str
    claim: int
    index: int
    #: What its URL is known by, however it is signed.
    identity: str | None
    generation_id: str
    provider: str
    handle: str
    deadline: datetime
    refused_at: datetime | None
    asked_at: datetime | None
    asked: int


class Awaiting:
    """Accepted generations, and images that wait for a fresh URL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def next_poll(
        self, provider: str, owner: str, now: datetime, until: datetime, *, longest: timedelta = timedelta(0)
    ) -> Submission | None:
        """Take the next accepted generation that is due for a poll; nobody else polls it before `until`, or before this
        owner says that it is `polled`. `longest` is the longest pause that there is between two polls."""
        with self._database.write() as db:
            row = db.execute(
                f"""
                update generations set not_before = :until, polled_until = :until, owner = :owner
                where seq = (
                    select seq from (
                        select * from (
                            select seq, not_before {_POLLS} and not_before is null and {_FREE} limit 1
                        ) union all select * from (
                            select seq, not_before {_POLLS} and not_before <= :now and {_FREE}
                            order by not_before limit 1
                        ) union all select * from (
                            select seq, not_before {_POLLS} and not_before > :ahead and {_FREE}
                            order by not_before limit 1
                        )
                    ) order by not_before limit 1
                ) returning *
                """,
                {
                    "until": as_text(until),
                    "owner": owner,
                    "now": as_text(now),
                    # Nobody waits that long: the clock was set back, and what is ready may die meanwhile.
                    "ahead": as_text(max(until, now + longest) + timedelta(minutes=1)),
                    "provider": provider,
                },
            ).fetchone()
        return None if row is None else submission_of(row)

    def polled(
        self,
        generation_id: str,
        owner: str,
        again: datetime,
        now: datetime,
        *,
        error: str | None = None,
        is_denied: bool = False,
    ) -> bool:
        """A poll is over, and the work is still accepted: it is due at `again`, or at once when a notice came
        meanwhile. An `error` that was not there before is an event; None leaves the row as it is. `is_denied`: the
        provider says that there is no such work; since when it says nothing else is remembered."""
        with self._database.write() as db:
            before = db.execute("select error from generations where id = ?", (generation_id,)).fetchone()
            moved = db.execute(
                """
                update generations set polled_until = null, error = coalesce(:error, error),
                    not_before = case when not_before <= :now then not_before else :again end,
                    denied_at = case when :is_denied then coalesce(denied_at, :now) end
                where id = :id and owner = :owner and state = 'accepted'
                """,
                {
                    "error": error,
                    "is_denied": is_denied,
                    "now": as_text(now),
                    "again": as_text(again),
                    "id": generation_id,
                    "owner": owner,
                },
            ).rowcount
            if moved and error is not None and before["error"] != error:
                note(db, now, "unreadable", generation_id=generation_id, detail=error)
        return bool(moved)

    def pollers(self) -> list[str]:
        """Every owner that polls something now, or died polling it."""
        rows = self._database.rows(
            "select distinct owner from generations indexed by generations_polled"
            " where state = 'accepted' and polled_until is not null and owner is not null"
        )
        return [row["owner"] for row in rows]

    def free(self, owner: str, now: datetime) -> int:
        """What an owner that is gone was polling is due now. Returns how many there were."""
        with self._database.write() as db:
            statement = (
                "update generations indexed by generations_polled set polled_until = null, not_before = ?"
                " where state = 'accepted' and polled_until is not null and owner = ?"
            )
            return int(db.execute(statement, (as_text(now), owner)).rowcount)

    def find(self, provider: str, handle: str) -> Waiting | None:
        """The generation that a handle belongs to: one that still waits for its images before one that has them."""
        rows = self._database.rows(
            """
            select id, state from generations where handle is not null and handle = ? and provider = ?
            order by state = 'accepted' desc, state = 'completed', seq desc limit 1
            """,
            (handle, provider),
        )
        return Waiting(generation_id=rows[0]["id"], state=rows[0]["state"]) if rows else None

    def hurry(self, generation_id: str, now: datetime) -> bool:
        """Accepted work is due for a poll now, or as soon as the one under way is over."""
        with self._database.write() as db:
            statement = "update generations set not_before = ? where id = ? and state = 'accepted'"
            return bool(db.execute(statement, (as_text(now), generation_id)).rowcount)

    def dead(self, providers: Collection[str], now: datetime, asked_before: datetime, limit: int) -> list[Dead]:
        """Unclaimed pending images of these providers whose URL was refused or is past its deadline, and which were not
        asked for since `asked_before`; the nearest deadline first."""
        rows = self._database.rows(
            """
            select i.id, i.claim, i.idx, i.source_identity, i.generation_id, g.provider, g.handle, i.deadline,
                i.refused_at, i.renewal_at, i.renewals
            from images as i join generations as g on g.id = i.generation_id
            where i.state in ('pending', 'spooled') and i.state = 'pending' and i.claimed_by is null
                and (i.refused_at is not null or i.deadline <= :now) and g.handle is not null
                and g.provider in (select value from json_each(:providers))
                and (i.renewal_at is null or i.renewal_at <= :asked_before)
            order by i.deadline limit :limit
            """,
            {
                "now": as_text(now),
                "providers": json.dumps(sorted(providers)),
                "asked_before": as_text(asked_before),
                "limit": limit,
            },
        )
        return [
            Dead(
                image_id=row["id"],
                claim=row["claim"],
                index=row["idx"],
                identity=row["source_identity"],
                generation_id=row["generation_id"],
                provider=row["provider"],
                handle=row["handle"],
                deadline=as_time(row["deadline"]),
                refused_at=as_time(row["refused_at"]) if row["refused_at"] else None,
                asked_at=as_time(row["renewal_at"]) if row["renewal_at"] else None,
                asked=row["renewals"],
            )
            for row in rows
        ]

    def begin_renewal(self, image_id: str, seen: datetime | None, now: datetime) -> bool:
        """Write down that a fresh URL is asked for. False when somebody else did meanwhile (`seen`: the last time)."""
        with self._database.write() as db:
            statement = (
                "update images set renewal_at = ?, renewals = renewals + 1"
                " where id = ? and state = 'pending' and renewal_at is ?"
            )
            return bool(db.execute(statement, (as_text(now), image_id, as_text(seen) if seen else None)).rowcount)

    def renew(self, dead: Dead, arrival: Arrival, now: datetime) -> bool:
        """Give an image its fresh URL, with deadline and evidence. False when it is not fresher than the one that the
        image has, or is another image's, or when somebody has begun to work on it."""
        with self._database.write() as db:
            known = db.execute(
                "select source, deadline from images"
                " where id = ? and state = 'pending' and claim = ? and claimed_by is null",
                (dead.image_id, dead.claim),
            ).fetchone()
            if known is None or arrival.url is None or not is_fresher(arrival, known["source"], known["deadline"]):
                return False
            if (
                arrival.url.identity != dead.identity
                and db.execute(
                    "select 1 from images where generation_id = ? and id <> ? and source_identity = ?",
                    (dead.generation_id, dead.image_id, arrival.url.identity),
                ).fetchone()
            ):
                return False
            refresh(db, dead.image_id, arrival)
            note(db, now, "renewed", image_id=dead.image_id)
        return True

    def not_renewed(self, dead: Dead, reason: str, now: datetime) -> None:
        """Note that no fresh URL was to be had."""
        with self._database.write() as db:
            note(db, now, "not-renewed", image_id=dead.image_id, detail=reason)


def is_fresher(arrival: Arrival, source: str | None, deadline: str) -> bool:
    """Whether a URL is another one than an image has or had (`source` is its redacted form, with a mark of the whole),
    and lives longer."""
    if arrival.url is None:
        return False
    return source != str(arrival.url) and as_text(arrival.deadline) > deadline


def refresh(db: Connection, image_id: str, arrival: Arrival) -> None:
    """Give an image the URL of `arrival`, inside the caller's transaction: it is due at once."""
    assert arrival.url is not None  # noqa: S101 - `is_fresher` was asked
    db.execute(
        """
        update images
        set state = 'pending', source = ?, source_host = ?, source_identity = ?, deadline = ?,
            deadline_from = ?, give_up_at = ?, evidence = ?, not_before = null, refused_at = null,
            refused_before_at = null, claim = claim + 1, claimed_by = null, claimed_until = null where id = ?
        """,  # whoever tries the old URL just now has nothing to say of the new one: its claim ends here
        (
            str(arrival.url),
            arrival.url.authority,
            arrival.url.identity,
            as_text(arrival.deadline),
            arrival.deadline_from,
            as_text(arrival.give_up_at),
            evidence_json(arrival.evidence),
            image_id,
        ),
    )
    keep_url(db, image_id, arrival.url)
