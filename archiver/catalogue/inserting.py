"""The inserts that more than one table's file needs: a generation, an image with its wanted copies, its URL.

Nothing here opens a transaction, and nothing decides.
"""

import json
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache

from archiver.catalogue.database import Connection, as_text
from archiver.catalogue.evidence import evidence_json
from archiver.catalogue.rows import Arrival, Draft
from archiver.core.model import Json
from archiver.core.tempurl import TemporaryURL

_encode = json.JSONEncoder(ensure_ascii=False).encode
_encode_sorted = json.JSONEncoder(ensure_ascii=False, sort_keys=True).encode
_names = lru_cache(maxsize=1000)(_encode)


def json_text(value: "tuple[str, ...] | dict[str, Json]") -> str:
    """A list or an object as a column keeps it. Of a thousand rows of one file, nearly all have the same names."""
    return _names(value) if isinstance(value, tuple) else _encode(value) if value else "{}"


def generation_values(
    draft: Draft, state: str, now: datetime, scheduled_for: datetime | None
) -> dict[str, str | int | None]:
    """One generation row, by column."""
    return {
        "id": draft.id,
        "origin": draft.origin,
        "job": draft.job,
        "scheduled_for": as_text(scheduled_for) if scheduled_for else None,
        "position": draft.position,
        "prompt": draft.prompt,
        "provider": draft.provider,
        "model": draft.model,
        "size": draft.size,
        "n": draft.n,
        "priority": draft.priority,
        "tags": json_text(draft.tags),
        "metadata": json_text(draft.metadata),
        "stores": json_text(draft.stores),
        "state": state,
        "created_at": as_text(draft.created_at or now),
        "parameters": _encode_sorted(dict(draft.parameters)) if draft.parameters else "{}",
        "continues": draft.continues,
        "fingerprint": draft.fingerprint,
        "reuse_s": max(int(draft.reuse.total_seconds()), 1) if draft.reuse else None,
    }


def insert_generation(db: Connection, draft: Draft, state: str, now: datetime, scheduled_for: datetime | None) -> None:
    """Write one generation row, inside the caller's transaction."""
    values = generation_values(draft, state, now, scheduled_for)
    names = ", ".join(values)
    db.execute(f"insert into generations ({names}) values ({', '.join('?' * len(values))})", tuple(values.values()))
    db.executemany(
        """
        insert into inputs (generation_id, position, sha256, content_type, path, image_id) values (?, ?, ?, ?, ?,
            coalesce(?, (select id from images where sha256 = ? order by seq limit 1)))
        """,
        [
            (draft.id, position, item.sha256, item.content_type, item.path, item.image_id, item.sha256)
            for position, item in enumerate(draft.inputs)
        ],
    )


def insert_arrival(db: Connection, generation_id: str, arrival: Arrival, stores: Sequence[str], now: datetime) -> None:
    """Write one image row and its wanted copies, inside the caller's transaction."""
    info = arrival.info
    db.execute(
        """
        insert into images (id, generation_id, idx, state, source, source_host, source_identity, deadline,
            deadline_from, give_up_at, evidence, revised_prompt, spool, sha256, size, content_type, extension, width,
            height, verdict, created_at, fetched_at, role, parent_image_id)
        values (:id, :generation_id, :idx, :state, :source, :host, :identity, :deadline, :deadline_from,
            :give_up_at, :evidence, :revised_prompt, :spool, :sha256, :size, :content_type, :extension, :width, :height,
            :verdict, :now, :fetched_at, :role, (
                select image_id from (
                    select position, image_id from inputs where generation_id = :generation_id
                    union all
                    -- Of a dialogue without an image given, the last final image is what is worked on.
                    select 1000000 - i.idx, i.id from generations as g join images as i on i.generation_id = g.continues
                    where g.id = :generation_id and i.role = 'final'
                ) where image_id is not null order by position limit 1
            ))
        """,
        {
            "id": arrival.id,
            "generation_id": generation_id,
            "idx": arrival.index,
            "state": "spooled" if arrival.spool else "pending",
            "source": str(arrival.url) if arrival.url else None,
            "host": arrival.url.authority if arrival.url else None,
            "identity": arrival.url.identity if arrival.url else None,
            "deadline": as_text(arrival.deadline),
            "deadline_from": arrival.deadline_from,
            "give_up_at": as_text(arrival.give_up_at),
            "evidence": evidence_json(arrival.evidence),
            "revised_prompt": arrival.revised_prompt,
            "spool": arrival.spool,
            "sha256": arrival.sha256,
            "size": arrival.size,
            "content_type": info.content_type if info else None,
            "extension": info.extension if info else None,
            "width": info.width if info else None,
            "height": info.height if info else None,
            "verdict": info.verdict if info else None,
            "now": as_text(now),
            "fetched_at": as_text(now) if arrival.spool else None,
            "role": arrival.role,
        },
    )
    if arrival.url:
        keep_url(db, arrival.id, arrival.url)
    db.executemany(
        "insert into copies (image_id, store, state) values (?, ?, 'wanted')",
        [(arrival.id, store) for store in stores],
    )


def keep_url(db: Connection, image_id: str, url: TemporaryURL) -> None:
    """Write down the URL of an image, in place of an older one, inside the caller's transaction."""
    db.execute("insert or replace into urls select seq, ? from images where id = ?", (url.reveal(), image_id))


def forget_url(db: Connection, image_id: str) -> None:
    """The image is safe, or given up: nobody needs its URL any more."""
    db.execute("delete from urls where seq = (select seq from images where id = ?)", (image_id,))
