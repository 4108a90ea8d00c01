"""What a forgetting takes out of the rows of an image and of a generation, inside the caller's transaction.

It decides nothing: who may be forgotten, and what is left to do elsewhere, is in `forgetting`.
"""

import json
from collections.abc import Collection
from datetime import datetime

from archiver.catalogue.database import Connection, as_text, sqlite
from archiver.catalogue.rows import note
from archiver.core.model import Json
from archiver.core.redaction import redact
from archiver.core.states import COPY, IMAGE

#: Stands in `inputs`, whose digests are 64 characters long, for the digest of an image that was forgotten.
NO_DIGEST = "0" * 64
#: As in `providers.facts`, for what is not kept.
LEFT_OUT = "[left out]"
#: Before 3.42, the index of prompts keeps the words of a prompt that was erased until it is merged as a whole.
CAN_DELETE_WORDS = sqlite.sqlite_version_info >= (3, 42)
_ERASED_IMAGE = f"""
    update images set state = '{IMAGE["forget"].target}', forgotten_at = :now, evidence = '[]', source = null,
        source_host = null, source_identity = null, revised_prompt = null, error = null, spool = null, sha256 = null,
        size = null, content_type = null, extension = null, width = null, height = null, verdict = null,
        not_before = null, claim = claim + 1, claimed_by = null, claimed_until = null where id = :id
"""
_ERASED_GENERATION = """
    update generations set forgotten_at = :now, prompt = '', parameters = '{}', metadata = '{}', tags = '[]',
        reply = null, facts = '{}', fingerprint = null, error = null, handle = null where id = :id
"""


def erase_image(db: Connection, image_id: str, now: datetime, what: str) -> None:
    """Make a tombstone of an image, and say `what` happened in an event that stays."""
    named = {"id": image_id, "now": as_text(now)}
    _erase_fact(db, image_id)
    db.execute("delete from urls where seq = (select seq from images where id = ?)", (image_id,))
    db.execute(_ERASED_IMAGE, named)
    # What is no longer confirmed is shown nowhere. The key stays until the object is gone.
    db.execute(
        f"update copies set state = case state when 'confirmed' then '{COPY['miss'].target}' else state end,"
        " sha256 = null, size = null, etag = null, proof = null, lineage_key = null where image_id = ?",
        (image_id,),
    )
    db.execute("update inputs set path = null, sha256 = ? where image_id = ?", (NO_DIGEST, image_id))
    _erase_details(db, "image_id", image_id)
    note(db, now, "forgotten", image_id=image_id, detail=what)


def _erase_fact(db: Connection, image_id: str) -> None:
    """The answer's facts may repeat what the provider made of the prompt for this image."""
    row = db.execute(
        """
        select g.id, g.facts, i.revised_prompt from images as i join generations as g on g.id = i.generation_id
        where i.id = ? and i.revised_prompt <> g.prompt and not exists (
            select 1 from images as other
            where other.generation_id = g.id and other.id <> i.id and other.revised_prompt = i.revised_prompt
        )
        """,
        (image_id,),
    ).fetchone()
    if row is not None:
        texts = {row["revised_prompt"], redact(row["revised_prompt"])}
        facts = json.dumps(_without(json.loads(row["facts"]), texts), ensure_ascii=False)
        db.execute("update generations set facts = ? where id = ?", (facts, row["id"]))


def _without(value: Json, texts: Collection[str]) -> Json:
    if isinstance(value, dict):
        return {name: _without(item, texts) for name, item in value.items()}
    if isinstance(value, list):
        return [_without(item, texts) for item in value]
    return LEFT_OUT if isinstance(value, str) and value in texts else value


def erase_generation(db: Connection, generation_id: str, now: datetime) -> None:
    """Erase what was asked for and what was said; ids, times and the cost stay."""
    if CAN_DELETE_WORDS:  # else `finish` does it, at the price of the whole index
        db.execute("insert into prompts (prompts, rank) values ('secure-delete', 1)")
    db.execute(_ERASED_GENERATION, {"id": generation_id, "now": as_text(now)})
    db.execute("delete from inputs where generation_id = ?", (generation_id,))
    db.execute("update earlier_requests set error = null where generation_id = ?", (generation_id,))
    _erase_details(db, "generation_id", generation_id)


def _erase_details(db: Connection, column: str, name: str) -> None:
    db.execute(f"insert into event_removals (only_row, {column}) values (1, ?)", (name,))
    db.execute(
        f"update events set detail = null where {column} = ? and detail is not null and kind <> 'forgotten'", (name,)
    )
    db.execute("delete from event_removals")
