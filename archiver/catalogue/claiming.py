"""Claiming, in SQL: which image comes next, and whom it passes over so that a sick host or store starves nobody else.

Everything here runs inside the caller's transaction. Which host or store rests is decided elsewhere.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from archiver.catalogue.database import Connection, Row, as_text, as_time
from archiver.core.model import Copy, Ticket, Want
from archiver.core.tempurl import TemporaryURL

_CLAIM = """
    update images set claimed_by = :owner, claimed_until = :until, claim = claim + 1
    where seq in (
        select images.seq from {walk}
        where images.state in ('pending', 'spooled') and {tier}
            and (images.attempted_at > :ahead
                or case when :tried_before is null then images.not_before is null or images.not_before <= :now
                    else images.attempted_at is null or images.attempted_at < :tried_before end)
            and (images.claimed_by is null or images.claimed_until < :now)
            {free}
        order by {order} limit :limit
    ) returning seq, id, generation_id, claim, claimed_by, deadline, attempts, state, spool, sha256
"""
#: An attempt that lies further ahead than this was made before the clock was set back: its not-before time means
#: nothing, and waiting for it could cost the image. Two processes that read the clock for one claim differ by less.
CLOCK_SLACK = timedelta(minutes=1)
#: So many of the nearest deadlines are looked at first: nearly always what is wanted is among them.
FIRST_LOOK = 100
#: So many that are due are sorted by their deadlines; where more are due, walking by deadline soon comes to one.
MOST_SORTED = 1000
# By itself SQLite would take the index by state, and sort all that waits for every single claim.
_BY_DEADLINE = "images indexed by images_due"
_BY_TURN = "images indexed by images_next"
_OF_ONE_HOST = "images indexed by images_hosts"
_LIVES = "images.state = 'pending' and images.deadline >= :now"
_DIES = "images.state = 'pending' and images.deadline < :now"
_IS_SPOOLED = "images.state = 'spooled'"
_TIERS = {_LIVES: "pending", _DIES: "pending", _IS_SPOOLED: "spooled"}
_ONLY = "json_each(:generations) as chosen cross join images on images.generation_id = chosen.value"
_THESE = "json_each(:candidates) as chosen cross join images on images.seq = chosen.value"
_NEAREST = """
    select images.seq from images indexed by images_due where images.state in ('pending', 'spooled') and {tier}
    order by images.deadline limit :look
"""
# What may be tried now is among these, whatever else is asked of it.
_DUE = (
    """
    select seq from images indexed by images_next
    where state in ('pending', 'spooled') and state = :state and coalesce(not_before, '') <= :turn limit :most
    """,
    """
    select seq from images indexed by images_attempted
    where state in ('pending', 'spooled') and not_before is not null and state = :state
        and coalesce(attempted_at, '') > :ahead limit :most
    """,
    """
    select seq from images indexed by images_attempted
    where state in ('pending', 'spooled') and not_before is not null and state = :state
        and coalesce(attempted_at, '') < :tried_before limit :most
    """,
)
_EXCEPT = """
    and (images.source_host is null or images.source_host not in (select value from json_each(:except_hosts)))
"""
# One for each state: what asks for nothing but columns of the index passes over a million images without a look at one.
_AWAKE = {
    "pending": """
        and (images.source_host is null or images.deadline between :urgent_from and :urgent_until
            or images.source_host not in (select value from json_each(:resting_hosts)))
    """,
    "spooled": """
        and (not exists (select 1 from copies where image_id = images.id and state = 'wanted')
            or exists (select 1 from copies where image_id = images.id and state = 'wanted'
                and store not in (select value from json_each(:resting_stores))))
    """,
}
_PROBE = "and images.state = 'pending' and images.source_host = :probe_host"
#: A multiplicative hash: another order for every salt, and no nearest deadline that always comes first.
_SHUFFLED = "images.seq * :salt % 10007"
# Of a host with very many: the first from somewhere on, and else the first of all.
_SOMEWHERE = """
    and images.seq >= (
        select min(seq) + (max(seq) - min(seq)) * (:salt - 1) / 10000 from images indexed by images_hosts
        where state = 'pending' and source_host = :probe_host
    )
"""
_COPIES = """
    select copies.image_id, copies.store, copies.key, copies.state from json_each(?) as claimed
    cross join copies on copies.image_id = claimed.value order by copies.store
"""
_ASKED = """
    select generations.id, origin, job, created_at from json_each(?) as claimed
    cross join generations on generations.id = claimed.value
"""
_URLS = "select seq, url from json_each(?) as claimed cross join urls on urls.seq = claimed.value"
# Every step of the recursion is one look into the index, however many images a host has. The index is named because
# SQLite would take the one by state, and read every image for every host.
WAITING_HOSTS = """
    with recursive hosts (host) as (
        select min(source_host) from images indexed by images_hosts where state = 'pending'
        union all
        select (
            select min(source_host) from images indexed by images_hosts
            where state = 'pending' and source_host > hosts.host
        )
        from hosts where hosts.host is not null
    ) select host from hosts where host is not null
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resting:
    """Hosts and stores that admit nobody now. What is to be fetched from such a host waits, unless its deadline is
    between `urgent_from` and `urgent_until`; a spooled image waits when every store that it still wants rests."""

    hosts: Collection[str] = ()
    stores: Collection[str] = ()
    urgent_from: datetime | None = None
    urgent_until: datetime | None = None

    def sql(self, state: str) -> str:
        """The condition on an image in that state."""
        return _AWAKE[state] if self.hosts or self.stores else ""

    def parameters(self) -> Mapping[str, str | None]:
        """Its parameters."""
        return {
            "resting_hosts": json.dumps(sorted(self.hosts)),
            "resting_stores": json.dumps(sorted(self.stores)),
            "urgent_from": as_text(self.urgent_from) if self.urgent_from else None,
            "urgent_until": as_text(self.urgent_until) if self.urgent_until else None,
        }


NOBODY = Resting()


class _Claim:
    """One claim on its way: what is asked for, and what was taken so far."""

    def __init__(self, db: Connection, parameters: dict[str, str | int | None], resting: Resting, limit: int) -> None:
        self._db, self._parameters, self._resting, self._limit = db, parameters, resting, limit
        self.rows: list[Row] = []

    def take(self, tier: str, walk: str, *, order: str = "images.deadline", more: str = "") -> bool:
        """Take what may be had in one way. True when nothing more is wanted."""
        state = _TIERS.get(tier, "pending")
        free = _EXCEPT if state == "pending" and self._parameters["except_hosts"] != "[]" else ""
        free += self._resting.sql(state) + more
        statement = _CLAIM.format(walk=walk, tier=tier, free=free, order=order)
        found = self._db.execute(statement, self._parameters | {"limit": self._limit - len(self.rows)}).fetchall()
        self.rows += sorted(found, key=lambda row: row["deadline"])  # RETURNING promises no order
        return len(self.rows) == self._limit

    def take_these(self, tier: str, candidates: Sequence[int], **options: str) -> bool:
        """The same among a few."""
        self._parameters["candidates"] = json.dumps(candidates)
        return bool(candidates) and self.take(tier, _THESE, **options)

    def by_deadline(self) -> None:
        """The nearest deadlines of all."""
        due: dict[str, list[int] | None] = {}
        for tier, state in _TIERS.items():
            if state == "pending":
                nearest = self._db.execute(
                    _NEAREST.format(tier=tier), self._parameters | {"look": FIRST_LOOK}
                ).fetchall()
                if self.take_these(tier, [row["seq"] for row in nearest]):
                    return
                if len(nearest) < FIRST_LOOK:
                    continue
            if state not in due:
                due[state] = self._due(state)
            few = due[state]
            by_itself = _BY_DEADLINE if state == "pending" else _BY_TURN
            if self.take(tier, by_itself) if few is None else self.take_these(tier, few):
                return

    def probe(self) -> None:
        """Any image of one host."""
        few = self._due("pending")
        if few is None:
            anywhere, in_order = "images.state = 'pending'", "images.source_host, images.seq"
            for more in (_PROBE + _SOMEWHERE, _PROBE):
                if self.take(anywhere, _OF_ONE_HOST, order=in_order, more=more):
                    return
        else:
            for tier in (_LIVES, _DIES):
                if self.take_these(tier, few, order=_SHUFFLED, more=_PROBE):
                    return

    def _due(self, state: str) -> list[int] | None:
        """All images in a state that may be tried now, if they are few; None when they are many."""
        told = self._parameters["tried_before"]
        values = self._parameters | {"state": state, "most": MOST_SORTED + 1}
        values["turn"] = self._parameters["now"] if told is None else ""
        found: set[int] = set()
        for statement in _DUE if told is not None else _DUE[:-1]:
            found.update(row["seq"] for row in self._db.execute(statement, values))
            if len(found) > MOST_SORTED:
                return None
        return sorted(found)


def claim(db: Connection, parameters: dict[str, str | int | None], resting: Resting, limit: int) -> list[Ticket]:
    """Claim up to `limit` images: `Images.claim` says which."""
    taking = _Claim(db, parameters, resting, limit)
    if parameters["generations"] is not None:
        more = "" if parameters["probe_host"] is None else _PROBE
        any(taking.take(tier, _ONLY, more=more) for tier in _TIERS)
    elif parameters["probe_host"] is not None:
        taking.probe()
    else:
        taking.by_deadline()
    return tickets_of(db, taking.rows)


def next_due(generations: str | None, resting: Resting) -> str:
    """The question when the next unclaimed image may be tried."""
    if generations is not None:
        parts = [
            f"""
            select min(coalesce(images.not_before, images.created_at)) as due from {_ONLY}
            where images.state in ('pending', 'spooled') and {tier} and images.claimed_by is null {resting.sql(state)}
            """
            for tier, state in (("images.state = 'pending'", "pending"), (_IS_SPOOLED, "spooled"))
        ]
    else:
        # The first that may be tried at once, and the first that must wait, each in the order of the index.
        parts = [
            f"""
            select * from (
                select {due} as due from {_BY_TURN}
                where images.state in ('pending', 'spooled') and images.state = '{state}'
                    and coalesce(images.not_before, '') {turn} and images.claimed_by is null {resting.sql(state)}
                order by coalesce(images.not_before, ''), images.created_at limit 1
            )
            """
            for state in _AWAKE
            for turn, due in (("= ''", "images.created_at"), ("> ''", "coalesce(images.not_before, '')"))
        ]
    return f"select min(due) as due from ({' union all '.join(parts)})"


def ticket_of(db: Connection, row: Row) -> Ticket:
    """A claimed row of `images` as what a worker needs."""
    return tickets_of(db, [row])[0]


def tickets_of(db: Connection, rows: Sequence[Row]) -> list[Ticket]:
    """The same of many, with three questions for all of them."""
    wants: dict[str, list[Want]] = {row["id"]: [] for row in rows}
    copies: dict[str, list[Copy]] = {image_id: [] for image_id in wants}
    for image_id, store, key, state in db.execute(_COPIES, (json.dumps(list(copies)),)):
        if state == "wanted":
            wants[image_id].append(Want(store=store, key=key))
        elif state == "confirmed":
            copies[image_id].append(Copy(store=store, key=key))
    generations = list({row["generation_id"] for row in rows})
    asked = {
        generation_id: (job or origin, as_time(created))
        for generation_id, origin, job, created in db.execute(_ASKED, (json.dumps(generations),))
    }
    urls = dict(db.execute(_URLS, (json.dumps([row["seq"] for row in rows]),)).fetchall())

    def ticket(row: Row) -> Ticket:
        (job, created_at), url = asked[row["generation_id"]], urls.get(row["seq"])
        return Ticket(
            image_id=row["id"],
            claim=row["claim"],
            owner=row["claimed_by"],
            job=job,
            created_at=created_at,
            deadline=as_time(row["deadline"]),
            attempts=row["attempts"],
            wants=tuple(wants[row["id"]]),
            copies=tuple(copies[row["id"]]),
            url=TemporaryURL(url) if url else None,
            spooled=row["spool"] if row["state"] == "spooled" else None,
            sha256=row["sha256"],
        )

    return [ticket(row) for row in rows]
