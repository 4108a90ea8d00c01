"""What an image was made of, and what was made of it: edits of edits, generation by generation.

An image descends from its parent, from the archived images that went into its request, and from those of the dialogue
that its request went on with. Asked level by level, through indexes; it changes nothing.
"""

import json
from collections.abc import Iterable
from typing import Any

from archiver.catalogue.database import Database

#: So many images are named at most: a family of more is no picture for people.
MOST_RELATIVES = 10_000
_UP = """
    with asked (id) as (select value from json_each(:ids))
    select i.id as child, i.parent_image_id as parent, 'edit' as how
        from asked join images as i on i.id = asked.id where i.parent_image_id is not null
    union select i.id, inputs.image_id, 'input' from asked join images as i on i.id = asked.id
        join inputs on inputs.generation_id = i.generation_id where inputs.image_id is not null
    union select i.id, earlier.id, 'dialogue' from asked join images as i on i.id = asked.id
        join generations as g on g.id = i.generation_id
        join images as earlier on earlier.generation_id = g.continues where earlier.role = 'final'
    limit :most
"""
_DOWN = """
    with asked (id) as (select value from json_each(:ids))
    select i.id as child, asked.id as parent, 'edit' as how
        from asked join images as i on i.parent_image_id = asked.id
    union select i.id, asked.id, 'input' from asked join inputs on inputs.image_id = asked.id
        join images as i on i.generation_id = inputs.generation_id
    union select i.id, asked.id, 'dialogue' from asked join images as earlier on earlier.id = asked.id
        join generations as g on g.continues = earlier.generation_id
        join images as i on i.generation_id = g.id where earlier.role = 'final'
    limit :most
"""
_ABOUT = """
    select i.id as image_id, i.state, i.role, g.prompt, i.created_at,
        (select key from copies where image_id = i.id and state = 'confirmed' order by store limit 1) as key
    from images as i join generations as g on g.id = i.generation_id where i.id in (select value from json_each(:ids))
"""


class Descent:
    """Families of images."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, name: str) -> list[dict[str, Any]]:
        """Every relation of an image, or of the images of a generation, one row each: `direction` is `self`, `up` or
        `down`, `depth` how many steps away, `of` the relative that it was found by, `how` what links the two.

        A relative that is reached by several ways has a row for each. Empty when nothing is called so.
        """
        rows = self._database.rows(
            "select id from images where id = :name union all select id from images where generation_id = :name",
            {"name": name},
        )
        selves = list(dict.fromkeys(row["id"] for row in rows))
        found: list[dict[str, Any]] = [
            {"direction": "self", "depth": 0, "image_id": one, "of": None, "how": None} for one in selves
        ]
        for direction in ("up", "down"):
            found += self._relatives(direction, selves)
        about = self._about(row["image_id"] for row in found)
        return [row | about[row["image_id"]] for row in found]

    def _relatives(self, direction: str, selves: list[str]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        seen, level, depth = set(selves), selves, 0
        while level and len(found) < MOST_RELATIVES:
            depth += 1
            links: dict[tuple[str, str], list[str]] = {}
            statement, most = (_UP, _DOWN)[direction == "down"], MOST_RELATIVES - len(found)
            for row in self._database.rows(statement, {"ids": json.dumps(level), "most": most}):
                near, far = (row["parent"], row["child"]) if direction == "down" else (row["child"], row["parent"])
                links.setdefault((near, far), []).append(row["how"])
            found += [
                {"direction": direction, "depth": depth, "image_id": far, "of": near, "how": "+".join(sorted(ways))}
                for (near, far), ways in sorted(links.items())
            ]
            level = sorted({far for _, far in links} - seen)
            seen.update(level)
        return found

    def _about(self, ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        rows = self._database.rows(_ABOUT, {"ids": json.dumps(sorted(set(ids)))})
        return {row["image_id"]: dict(row) for row in rows}
