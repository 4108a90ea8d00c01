"""What a lineage record says: the columns of the view, and all else that a rebuilt catalogue needs to go on working.

Beside the view that is the rest of the generation (budgets, reply, tick) and of the image, and its kin: the images and
generations that it refers to and that no record of their own tells of, because nothing of them was archived yet.
Read-only.
"""

import json
from collections.abc import Sequence
from typing import Any

from archiver.catalogue.database import Database

#: Of a generation and of an image, what the view does not show. The last ones hold JSON.
GENERATION = (
    "origin scheduled_for position n priority mode cost_micro expected_micro came submitted_at answered_at request_id"
    " reply fingerprint reuse_s"
).split()
GENERATION_JSON = ("metadata", "stores", "facts", "charged_to")
IMAGE = (
    "idx extension verdict source source_host source_identity deadline deadline_from give_up_at attempts"
    " created_at fetched_at"
).split()
MOST_KIN = 50

_REST = f"""
    json_object({", ".join(f"'{name}', g.{name}" for name in GENERATION)},
        {", ".join(f"'{name}', json(g.{name})" for name in GENERATION_JSON)},
        'shares', coalesce(g.shares, (select count(*) from images as a where a.generation_id = g.id)),
        'input_types', (
            select json_group_array(n.content_type)
            from (select * from inputs where generation_id = g.id order by position) as n
        )
    ) as generation
"""
# Of thousands a minute, column by column: a document of each would be written here only to be read there.
_INPUTS = """
    iif(exists (select 1 from inputs where generation_id = g.id), (
        select json_group_array({}) from (select * from inputs where generation_id = g.id order by position) as n
    ), '[]')
"""
_VIEW = {
    **{name: f"g.{name}" for name in "prompt job provider model created_at tags parameters continues".split()},
    **{name: f"i.{name}" for name in "generation_id parent_image_id content_type width height".split()},
    **{name: f"i.{name}" for name in ("revised_prompt", "role")},
    "image_id": "i.id as image_id",
    "inputs": _INPUTS.format("json_object('sha256', n.sha256, 'image_id', n.image_id)"),
}
_GENERATION = {
    **{name: f"g.{name}" for name in (*GENERATION, *GENERATION_JSON, "size")},
    "shares": "coalesce(g.shares, (select count(*) from images as a where a.generation_id = g.id))",
    "input_types": _INPUTS.format("n.content_type"),
}
_TOLD = f"""
    select {", ".join((*_VIEW.values(), *_GENERATION.values(), *(f"i.{name}" for name in IMAGE)))},
        i.parent_image_id is not null or g.continues is not null
            or exists (select 1 from inputs where generation_id = g.id) as has_kin
    from json_each(?) as asked cross join images as i on i.id = asked.value
    cross join generations as g on g.id = i.generation_id
"""
_PAIRS = ", ".join(f"'{name}', i.{name}" for name in IMAGE)
_PICTURE = f"json_object({_PAIRS}) as image"
_ASKED = """
    g.id as generation_id, g.prompt, g.job, g.provider, g.model, g.created_at, g.tags, g.size as requested_size,
    g.parameters, g.continues, (
        select json_group_array(json_object('sha256', n.sha256, 'image_id', n.image_id))
        from (select * from inputs where generation_id = g.id order by position) as n
    ) as inputs
"""
_DOCUMENTS = ("tags", "parameters", "inputs", "generation", "image")
_NO_RECORD = "not exists (select 1 from copies where copies.image_id = {} and copies.lineage_key is not null)"


class Records:
    """What the buckets are told."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, image_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Per image what a record says of it besides its copy: the columns of the view `lineage` that name no store,
        `generation` and `image`, the rest of each, and `kin`."""
        ids = json.dumps(list(image_ids))
        rows = self._database.rows(_TOLD, (ids,))
        said = {row["image_id"]: _told(row) for row in rows}
        if any(row["has_kin"] for row in rows):
            for row in self._database.rows(_KIN_IMAGES, (ids,)) + self._database.rows(_KIN_GENERATIONS, (ids,)):
                kin = _plain(row)
                said[kin.pop("of")]["kin"].append(kin)
        return said


def _told(row: Any) -> dict[str, Any]:
    """A row of `_TOLD`, where the columns come in the order of these names, as a record tells it."""
    values = iter(tuple(row))
    said: dict[str, Any] = {name: next(values) for name in _VIEW}
    generation: dict[str, Any] = {name: next(values) for name in _GENERATION}
    image = {name: next(values) for name in IMAGE}
    for part, names in ((said, ("tags", "parameters", "inputs")), (generation, (*GENERATION_JSON, "input_types"))):
        for name in names:
            text = part[name]
            part[name] = [] if text == "[]" else {} if text == "{}" else json.loads(text)
    cost = generation["cost_micro"]
    said["cost_usd"] = None if cost is None else cost / 1e6 / generation["shares"]
    said["requested_size"] = generation.pop("size")
    said["generation"], said["image"], said["kin"] = generation, image, list[Any]()
    return said


def _plain(row: Any) -> dict[str, Any]:
    """A row with its documents read."""
    return {
        name: json.loads(value) if name in _DOCUMENTS and value is not None else value
        for name, value in dict(row).items()
    }


_KIN_IMAGES = f"""
    with named (child, id) as (
        select id, parent_image_id from images
        where id in (select value from json_each(?1)) and parent_image_id is not null
        union
        select i.id, n.image_id from images as i join inputs as n on n.generation_id = i.generation_id
        where i.id in (select value from json_each(?1)) and n.image_id is not null
    )
    select named.child as "of", {_ASKED}, {_REST}, i.id as image_id, i.parent_image_id, i.role, i.revised_prompt,
        i.forgotten_at, {_PICTURE}
    from named join images as i on i.id = named.id join generations as g on g.id = i.generation_id
    where {_NO_RECORD.format("i.id")}
"""
# Back to the first one that a record tells of: that one tells of those before it.
_KIN_GENERATIONS = f"""
    with recursive said (child, id, depth) as (
        select i.id, g.continues, 1 from images as i join generations as g on g.id = i.generation_id
        where i.id in (select value from json_each(?1)) and g.continues is not null
        union all
        select said.child, g.continues, depth + 1 from said join generations as g on g.id = said.id
        where g.continues is not null and depth < {MOST_KIN} and not exists (
            select 1 from images where generation_id = g.id and not {_NO_RECORD.format("images.id")}
        )
    )
    select said.child as "of", {_ASKED}, {_REST} from said join generations as g on g.id = said.id
    where not exists (select 1 from images where generation_id = g.id and not {_NO_RECORD.format("images.id")})
"""
