"""Claiming, in SQL: which image comes next, and whom it passes over so that a sick host or store starves nobody else.

Everything here runs inside the caller's transaction. Which host or store rests is decided elsewhere.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from archiver.catalogue.database import Connection, Row, as_text, as_time
from archiver.core.model import Copy, Ticket, Want
from archiver.core.tempurl import TemporaryURL

_CLAIM = """
    update images set claimed_by = :owner, claimed_until = :until, claim = claim + 1
    where seq in (
        select images.seq from images {walk}
        where images.state in ('pending', 'spooled') and {tier}
            and (images.attempted_at > :ahead
                or case when :tried_before is null then images.not_before is null or images.not_before <= :now
                    else images.attempted_at is null or images.attempted_at < :tried_before end)
            and (images.claimed_by is null or images.claimed_until < :now)
            {free}
        order by {order} limit :limit
    ) returning *
"""
#: An attempt that lies further ahead than this was made before the clock was set back: its not-before time means
#: nothing, and waiting for it could cost the image. Two processes that read the clock for one claim differ by less.
CLOCK_SLACK = timedelta(minutes=1)
# By itself SQLite would take the index by state, and sort all that waits for every single claim.
_BY_DEADLINE = "indexed by images_due"
_OF_ONE_HOST = "indexed by images_hosts"
_TIERS = {
    "images.state = 'pending' and images.deadline >= :now": _BY_DEADLINE,
    "images.state = 'pending' and images.deadline < :now": _BY_DEADLINE,
    "images.state = 'spooled'": "",
}
_ONLY = "join json_each(:generations) as chosen on chosen.value = images.generation_id"
_EXCEPT = """
    and (images.state = 'spooled' or images.source_host is null
        or images.source_host not in (select value from json_each(:except_hosts)))
"""
_AWAKE = """
    and (case images.state when 'spooled' then
        not exists (select 1 from copies where image_id = images.id and state = 'wanted')
        or exists (select 1 from copies where image_id = images.id and state = 'wanted'
            and store not in (select value from json_each(:resting_stores)))
        else images.source_host is null or images.deadline between :urgent_from and :urgent_until
            or images.source_host not in (select value from json_each(:resting_hosts)) end)
"""
_PROBE = "and images.state = 'pending' and images.source_host = :probe_host"
#: A multiplicative hash: another order for every salt, and no nearest deadline that always comes first.
_SHUFFLED = "images.seq * :salt % 10007"
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

    @property
    def sql(self) -> str:
        """The condition."""
        return _AWAKE if self.hosts or self.stores else ""

    def parameters(self) -> Mapping[str, str | None]:
        """Its parameters."""
        return {
            "resting_hosts": json.dumps(sorted(self.hosts)),
            "resting_stores": json.dumps(sorted(self.stores)),
            "urgent_from": as_text(self.urgent_from) if self.urgent_from else None,
            "urgent_until": as_text(self.urgent_until) if self.urgent_until else None,
        }


NOBODY = Resting()


def claim(db: Connection, parameters: dict[str, str | int | None], limit: int) -> list[Ticket]:
    """Claim up to `limit` images: `Images.claim` says which."""
    is_chosen, is_probe = parameters["generations"] is not None, parameters["probe_host"] is not None
    free = "" if parameters["except_hosts"] == "[]" else _EXCEPT
    if parameters["resting_hosts"] != "[]" or parameters["resting_stores"] != "[]":
        free += _AWAKE
    if is_probe:
        free += _PROBE
    order = _SHUFFLED if is_probe else "images.deadline"
    rows: list[Row] = []
    for tier, by_itself in _TIERS.items():
        if len(rows) == limit:
            break
        parameters["limit"] = limit - len(rows)
        walk = _ONLY if is_chosen else _OF_ONE_HOST if is_probe else by_itself
        found = db.execute(_CLAIM.format(walk=walk, tier=tier, free=free, order=order), parameters).fetchall()
        rows += sorted(found, key=lambda row: row["deadline"])  # RETURNING promises no order
    return [_ticket(db, row) for row in rows]


def next_due(generations: str | None, resting: Resting) -> str:
    """The question when the next unclaimed image may be tried."""
    return f"""
        select min(coalesce(images.not_before, images.created_at)) as due
        from images {"" if generations is None else _ONLY}
        where images.state in ('pending', 'spooled') and images.claimed_by is null {resting.sql}
    """


def _ticket(db: Connection, row: Row) -> Ticket:
    copies = db.execute("select store, key, state from copies where image_id = ?", (row["id"],)).fetchall()
    asked = db.execute(
        "select origin, job, created_at from generations where id = ?", (row["generation_id"],)
    ).fetchone()
    url = db.execute("select url from urls where seq = ?", (row["seq"],)).fetchone()
    return Ticket(
        image_id=row["id"],
        claim=row["claim"],
        owner=row["claimed_by"],
        job=asked["job"] or asked["origin"],
        created_at=as_time(asked["created_at"]),
        deadline=as_time(row["deadline"]),
        attempts=row["attempts"],
        wants=tuple(Want(store=copy["store"], key=copy["key"]) for copy in copies if copy["state"] == "wanted"),
        copies=tuple(Copy(store=copy["store"], key=copy["key"]) for copy in copies if copy["state"] == "confirmed"),
        url=TemporaryURL(url["url"]) if url else None,
        spooled=row["spool"] if row["state"] == "spooled" else None,
        sha256=row["sha256"],
    )
