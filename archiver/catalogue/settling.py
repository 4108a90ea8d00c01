"""What one settlement writes: facts, confirmed copies, and the state that follows from them.

Everything runs inside the caller's transaction and under the ticket's claim.
"""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime

from archiver.catalogue.database import Connection, Row, as_text
from archiver.catalogue.evidence import evidence_json, evidence_of
from archiver.catalogue.rows import Settlement, note
from archiver.core import policy
from archiver.core.headers import joined
from archiver.core.model import Evidence, Ticket

_CLAIMED = """
    select said.key as place, i.seq, i.id, i.generation_id, i.state, i.evidence, i.sha256
    from json_each(?) as said cross join images as i
        on i.id = said.value ->> 0 and i.claimed_by = said.value ->> 1 and i.claim = said.value ->> 2
    order by said.key
"""
_CONFIRM = """
    update copies set state = 'confirmed', key = value ->> 2, sha256 = value ->> 3, size = value ->> 4,
        etag = value ->> 5, proof = value ->> 6, confirmed_at = ?, lineage_key = value ->> 7
    from json_each(?) as said where image_id = value ->> 0 and store = value ->> 1 and copies.state = 'wanted'
"""
_RECORD = """
    update copies set lineage_key = value ->> 2 from json_each(?) as said
    where image_id = value ->> 0 and store = value ->> 1 and lineage_key is null
"""
_OPEN = """
    select distinct copies.image_id from json_each(?) as said cross join copies on copies.image_id = said.value
    where copies.state <> 'confirmed' or copies.lineage_key is null
"""
_FACTS = (
    "".join(
        f", {name} = value ->> '{name}'"
        for name in ("sha256", "size", "content_type", "extension", "width", "height", "verdict")
    )
    + ", fetched_at = coalesce(fetched_at, value ->> 'fetched_at')"
)  # the first time is kept
# One statement: each would take the row out of the indexes of what waits, and put it back.
_END = """
    update images set claimed_by = null, claimed_until = null, attempts = attempts + 1, attempted_at = :now,
        not_before = value ->> 'not_before', error = value ->> 'error',
        refused_before_at = case when value ->> 'refused' then refused_at end,
        refused_at = case when value ->> 'refused' then :now end {more}
    from json_each(:said) as said where images.seq = value ->> 'seq'
"""
_STORED = ", state = 'stored', archived_at = :now, spool = null"
_FORGET_URLS = "delete from urls where seq in (select value from json_each(?))"
_WHOLE = """
    select said.value as id from json_each(?) as said where not exists (
        select 1 from images where generation_id = said.value and state not in ('stored', 'forgotten')
    ) order by said.value
"""


def claim_of(ticket: Ticket) -> dict[str, str | int]:
    """The claim of a ticket, as the parameters of a fenced update."""
    return {"id": ticket.image_id, "owner": ticket.owner, "claim": ticket.claim}


def write_settlements(db: Connection, items: Sequence[Settlement], now: datetime) -> dict[tuple[str, int], str]:
    """Write settlements, each under its claim; a stale one changes nothing. Returns the generations of the images that
    became stored, by image and claim."""
    live = _live(db, items)
    for item, row in live:
        if item.fetched is not None and row["sha256"] not in (None, item.fetched.sha256):
            said = f"sha256 {row['sha256']} before, {item.fetched.sha256} now"
            note(db, now, "changed", image_id=row["id"], detail=said)
    _confirm(db, [item for item, _ in live], now)
    for item, row in live:
        if item.evidence and row["state"] == "pending":
            _keep_evidence(db, item, evidence_of(row["evidence"]), now)
    waiting = {row["image_id"] for row in db.execute(_OPEN, (json.dumps([row["id"] for _, row in live]),))}
    stored = [(item, row) for item, row in live if row["id"] not in waiting]
    _end(db, stored, now, more=_STORED)
    db.execute(_FORGET_URLS, (json.dumps([row["seq"] for _, row in stored]),))
    others = [(item, row) for item, row in live if row["id"] in waiting]
    _end(db, others, now)
    for item, row in others:
        _put_off(db, item, row["state"], now)
    return {(item.ticket.image_id, item.ticket.claim): str(row["generation_id"]) for item, row in stored}


def _live(db: Connection, items: Sequence[Settlement]) -> list[tuple[Settlement, Row]]:
    """The settlements whose claim still holds, with their images. Of two under one claim, the first one ends it."""
    tickets = [(item.ticket.image_id, item.ticket.owner, item.ticket.claim) for item in items]
    found: dict[str, tuple[Settlement, Row]] = {}
    for row in db.execute(_CLAIMED, (json.dumps(tickets),)):
        found.setdefault(row["id"], (items[row["place"]], row))
    return list(found.values())


def _end(db: Connection, ended: Sequence[tuple[Settlement, Row]], now: datetime, *, more: str = "") -> None:
    """End the attempts: what was found out, and (unless the images are stored) when there is another one, and why."""
    for is_fetched in (True, False):
        said = [
            {"seq": row["seq"], "refused": item.refused, **({} if more else _next(item)), **_facts(item)}
            for item, row in ended
            if (item.fetched is not None) == is_fetched
        ]
        if said:
            facts = _FACTS if is_fetched else ""
            db.execute(_END.format(more=facts + more), {"now": as_text(now), "said": json.dumps(said)})


def _next(item: Settlement) -> dict[str, str | None]:
    return {"not_before": as_text(item.not_before) if item.not_before else None, "error": item.error}


def _put_off(db: Connection, item: Settlement, state: str, now: datetime) -> None:
    """Something is still wanted: say where the bytes are meanwhile."""
    image_id = item.ticket.image_id
    if item.spooled and state == "pending":
        db.execute("update images set state = 'spooled', spool = ? where id = ?", (item.spooled, image_id))
        note(db, now, "rescued", image_id=image_id, detail=item.error)
    elif item.unspool and state == "spooled":
        db.execute("update images set state = 'pending', spool = null where id = ?", (image_id,))
        note(db, now, "rotten", image_id=image_id, detail=item.error)
    else:
        note(db, now, "postponed", image_id=image_id, detail=item.error)


def _facts(item: Settlement) -> dict[str, str | int | None]:
    """What a transfer found out about the bytes, by column."""
    if item.fetched is None:
        return {}
    info = item.fetched.info
    return {
        "sha256": item.fetched.sha256,
        "size": item.fetched.size,
        "content_type": info.content_type,
        "extension": info.extension,
        "width": info.width,
        "height": info.height,
        "verdict": info.verdict,
        "fetched_at": as_text(item.fetched.at),
    }


def _keep_evidence(db: Connection, item: Settlement, held: tuple[Evidence, ...], now: datetime) -> None:
    """The earliest evidence decides. Nothing is ever put off by it, and giving up is never hastened."""
    evidence = joined(held, item.evidence)
    if evidence == held:
        return
    deadline, decided = policy.decide_deadline(item.evidence, now)
    changed = db.execute(
        """
        update images set evidence = :evidence, give_up_at = max(give_up_at, :give_up_at),
            deadline = min(deadline, :deadline),
            deadline_from = case when :deadline < deadline then :source else deadline_from end
        where id = :id returning deadline = :deadline and deadline_from = :source as is_nearer
        """,
        {
            "evidence": evidence_json(evidence),
            "give_up_at": as_text(policy.gives_up_at(evidence)),
            "deadline": as_text(deadline),
            "source": decided.source,
            "id": item.ticket.image_id,
        },
    ).fetchone()
    if changed["is_nearer"]:
        note(db, now, "hurried", image_id=item.ticket.image_id, detail=f"{decided.detail}: {as_text(decided.at)}")


def _confirm(db: Connection, items: Sequence[Settlement], now: datetime) -> None:
    made = [
        (item.ticket.image_id, one.store, one.key, one.sha256, one.size, one.etag, one.proof, lineage_key)
        for item in items
        for one, lineage_key in item.receipts
    ]
    db.execute(_CONFIRM, (as_text(now), json.dumps(made)))
    recorded = [(item.ticket.image_id, store, key) for item in items for store, key in item.recorded]
    if recorded:
        db.execute(_RECORD, (json.dumps(recorded),))


def whole_of(db: Connection, generations: Iterable[str]) -> tuple[str, ...]:
    """Those of some generations of which every image is stored, but for those that were forgotten; in their order."""
    return tuple(str(row["id"]) for row in db.execute(_WHOLE, (json.dumps(sorted(set(generations))),)))
