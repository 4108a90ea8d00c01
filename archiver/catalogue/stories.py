"""The whole story of one image: what was asked for, what came of it, where it is, and what it cost.

Read-only, for a person or a program that wants to know everything about little. No answer holds a temporary URL.
"""

import json
from typing import Any

from archiver.catalogue.database import Database
from archiver.core.redaction import redact

_IMAGE = """
    select i.id as image_id, i.generation_id, i.state, g.prompt, g.job, g.provider, g.model,
        i.deadline, i.deadline_from, i.attempts, i.not_before, i.sha256, i.size, i.content_type, i.width, i.height,
        i.verdict, i.source, i.error, i.created_at, i.fetched_at, i.archived_at,
        i.role, i.idx + 1 as number, i.parent_image_id, i.give_up_at, i.revised_prompt,
        g.cost_micro / 1e6 / coalesce(
            g.shares, (select count(*) from images as every where every.generation_id = g.id)
        ) as cost_usd,
        i.evidence
    from generations as g left join images as i on i.generation_id = g.id
"""
_GENERATION = """
    select origin, size, n, state, attempts, tags, metadata, created_at, submitted_at, answered_at,
        request_id, cost_micro / 1e6 as cost_usd, error, expected_micro / 1e6 as expected_usd, scheduled_for, stores,
        parameters, continues, handle, batch_id, reused_from, not_before, written_off_at, facts
    from generations where id = :id
"""
_COPIES = """
    select store, state, key, sha256, size, etag, proof, confirmed_at, lineage_key from copies
    where image_id = :image order by store
"""
_EVENTS = """
    select at, kind, store, detail from events
    where image_id = :image or (generation_id = :generation and coalesce(image_id, :image) is :image) order by id
"""
#: Images that this one was made of, and images that were made of it: edited, put into a request, or gone on from.
_PARENTS = """
    select count(*) as n from (
        select parent_image_id from images where id = :image and parent_image_id is not null
        union select image_id from inputs where generation_id = :generation and image_id is not null
        union select earlier.id from generations as g
            join images as earlier on earlier.generation_id = g.continues and earlier.role = 'final'
            where g.id = :generation
    )
"""
_CHILDREN = """
    select count(*) as n from (
        select id from images where parent_image_id = :image
        union select later.id from inputs join images as later on later.generation_id = inputs.generation_id
            where inputs.image_id = :image
        union select later.id from images as i join generations as g on g.continues = i.generation_id
            join images as later on later.generation_id = g.id where i.id = :image and i.role = 'final'
    )
"""


def story_of_image(database: Database, image_id: str) -> dict[str, Any] | None:
    """One image: its row, its generation, its copies, its events in order, and the evidence for its deadline. None
    when nothing is called so. `cost_usd` is its share of what the generation cost."""
    rows = database.rows(f"{_IMAGE} where i.id = :id", {"id": image_id})
    return _told(database, dict(rows[0])) if rows else None


def stories(database: Database, name: str) -> list[dict[str, Any]]:
    """The image called so; else every image of the generation called so, drafts too, or of the one whose images it was
    settled with. A generation that has no image (yet) has one story, in which what belongs to an image is None."""
    if story := story_of_image(database, name):
        return [story]
    rows = database.rows("select coalesce(reused_from, id) as id from generations where id = :name", {"name": name})
    if not rows:
        return []
    told = database.rows(f"{_IMAGE} where g.id = :id order by i.idx", {"id": rows[0]["id"]})
    return [_told(database, dict(row) | {"generation_id": rows[0]["id"]}) for row in told]


def _told(database: Database, story: dict[str, Any]) -> dict[str, Any]:
    named = {"image": story["image_id"], "generation": story["generation_id"]}
    evidence = json.loads(story.pop("evidence") or "[]")
    for name, statement in (("parents", _PARENTS), ("children", _CHILDREN)):
        story[name] = database.rows(statement, named)[0]["n"]
    generation = dict(database.rows(_GENERATION, {"id": story["generation_id"]})[0])
    for name in ("tags", "metadata", "stores", "parameters", "facts"):
        generation[name] = json.loads(generation[name])
    # The name of a task may be an address that shows its images to whoever has it.
    generation["handle"] = None if generation["handle"] is None else redact(str(generation["handle"]))
    inputs = database.rows(
        "select sha256, content_type, path, image_id from inputs where generation_id = :generation order by position",
        {"generation": named["generation"]},
    )
    generation["inputs"] = [dict(row) for row in inputs]
    return {
        **story,
        "evidence": evidence,
        "generation": generation,
        "copies": [dict(row) for row in database.rows(_COPIES, {"image": named["image"]})],
        "events": [dict(row) for row in database.rows(_EVENTS, named)],
    }
