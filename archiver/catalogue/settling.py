"""What one settlement writes: facts, confirmed copies, and the state that follows from them.

Everything runs inside the caller's transaction and under the ticket's claim.
"""

from datetime import datetime

from archiver.catalogue.database import Connection, as_text
from archiver.catalogue.evidence import evidence_json, evidence_of
from archiver.catalogue.rows import Settlement, forget_url, note
from archiver.core import policy
from archiver.core.headers import joined
from archiver.core.model import Evidence, Ticket

# The first time is kept.
_KEPT = {"fetched_at": "coalesce(fetched_at, :fetched_at)"}


def claim_of(ticket: Ticket) -> dict[str, str | int]:
    """The claim of a ticket, as the parameters of a fenced update."""
    return {"id": ticket.image_id, "owner": ticket.owner, "claim": ticket.claim}


def write_settlement(db: Connection, item: Settlement, now: datetime) -> str | None:
    """Write one settlement under its claim. Returns the generation when its image became stored."""
    fence = "id = :id and claimed_by = :owner and claim = :claim"
    claim = claim_of(item.ticket)
    row = db.execute(f"select generation_id, state, evidence, sha256 from images where {fence}", claim).fetchone()
    if row is None:
        return None
    image_id, facts = item.ticket.image_id, _facts(item)
    if item.fetched is not None and row["sha256"] not in (None, item.fetched.sha256):
        said = f"sha256 {row['sha256']} before, {item.fetched.sha256} now"
        note(db, now, "changed", image_id=image_id, detail=said)
    _confirm(db, item, now)
    if item.evidence and row["state"] == "pending":
        _keep_evidence(db, item, evidence_of(row["evidence"]), now)
    open_copies = db.execute(
        "select count(*) as open from copies where image_id = ? and (state <> 'confirmed' or lineage_key is null)",
        (image_id,),
    ).fetchone()["open"]
    # One statement: each would take the row out of the indexes of what waits, and put it back.
    ended = f"""
        update images set claimed_by = null, claimed_until = null, attempts = attempts + 1, attempted_at = :now,
            not_before = :not_before, error = :error, refused_before_at = case when :refused then refused_at end,
            refused_at = case when :refused then :now end
            {"".join(f", {name} = {_KEPT.get(name, f':{name}')}" for name in facts)} {{}}
        where {fence}
    """
    values = {**claim, **facts, "refused": item.refused, "now": as_text(now), "not_before": None, "error": None}
    if not open_copies:
        db.execute(ended.format(", state = 'stored', archived_at = :now, spool = null"), values)
        forget_url(db, image_id)
        return str(row["generation_id"])
    values |= {"not_before": as_text(item.not_before) if item.not_before else None, "error": item.error}
    db.execute(ended.format(""), values)
    if item.spooled and row["state"] == "pending":
        db.execute("update images set state = 'spooled', spool = ? where id = ?", (item.spooled, image_id))
        note(db, now, "rescued", image_id=image_id, detail=item.error)
    elif item.unspool and row["state"] == "spooled":
        db.execute("update images set state = 'pending', spool = null where id = ?", (image_id,))
        note(db, now, "rotten", image_id=image_id, detail=item.error)
    else:
        note(db, now, "postponed", image_id=image_id, detail=item.error)
    return None


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


def _confirm(db: Connection, item: Settlement, now: datetime) -> None:
    image_id = item.ticket.image_id
    for receipt, lineage_key in item.receipts:
        db.execute(
            """
            update copies set state = 'confirmed', key = ?, sha256 = ?, size = ?, etag = ?, proof = ?,
                confirmed_at = ?, lineage_key = ? where image_id = ? and store = ? and state = 'wanted'
            """,
            (
                receipt.key,
                receipt.sha256,
                receipt.size,
                receipt.etag,
                receipt.proof,
                as_text(now),
                lineage_key,
                image_id,
                receipt.store,
            ),
        )
    db.executemany(
        "update copies set lineage_key = ? where image_id = ? and store = ? and lineage_key is null",
        [(key, image_id, store) for store, key in item.recorded],
    )


def is_all_stored(db: Connection, generation_id: str) -> bool:
    """Whether every image of a generation is stored, but for those that were forgotten."""
    statement = "select 1 from images where generation_id = ? and state not in ('stored', 'forgotten') limit 1"
    return db.execute(statement, (generation_id,)).fetchone() is None
