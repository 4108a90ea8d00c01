"""What goes into a request besides its prompt: input images, and the dialogue that it goes on from.

Rows only: where the bytes are. Reading them, and proving that they are what was planned, is the pipeline's work.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from archiver.catalogue.database import Database
from archiver.catalogue.rows import InputRow

MOST_TURNS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnRow:
    """An earlier generation of a dialogue."""

    generation_id: str
    prompt: str
    reply: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Whereabouts:
    """Where the bytes of an archived image are: a file in the spool, and keys in stores."""

    sha256: str
    content_type: str
    spool: str | None
    copies: tuple[tuple[str, str], ...]


class Materials:
    """Inputs and dialogues."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def inputs(self, generation_id: str) -> list[InputRow]:
        """The images that go into a generation, in their order."""
        rows = self._database.rows(
            "select sha256, content_type, path, image_id from inputs where generation_id = ? order by position",
            (generation_id,),
        )
        return [InputRow(**dict(row)) for row in rows]

    def dialogue(self, generation_id: str) -> list[TurnRow]:
        """A generation and those before it in its dialogue, oldest first: the last 50."""
        rows = self._database.rows(
            """
            with recursive said (id, depth) as (
                select ?, 0
                union all
                select g.continues, depth + 1 from said join generations as g on g.id = said.id
                where g.continues is not null and depth + 1 < ?
            )
            select g.id as generation_id, g.prompt, coalesce(g.reply, '') as reply
            from said join generations as g on g.id = said.id order by depth desc
            """,
            (generation_id, MOST_TURNS),
        )
        return [TurnRow(**dict(row)) for row in rows]

    def generation_of(self, name: str) -> str | None:
        """The generation called `name`, or the one that made the image called so; for one that was settled with the
        images of another, that one. None when there is neither."""
        rows = self._database.rows(
            "select coalesce(reused_from, id) as id from generations where id = :name"
            " union all select generation_id from images where id = :name",
            {"name": name.lower()},
        )
        return str(rows[0]["id"]) if rows else None

    def images(self, generation_id: str) -> list[str]:
        """The ids of a generation's final images, in their order."""
        rows = self._database.rows(
            "select id from images where generation_id = ? and role = 'final' order by idx", (generation_id,)
        )
        return [str(row["id"]) for row in rows]

    def whereabouts(self, image_id: str) -> Whereabouts | None:
        """Where an image is, None when its bytes were never had."""
        rows = self._database.rows("select sha256, content_type, spool from images where id = ?", (image_id,))
        if not rows or rows[0]["sha256"] is None:
            return None
        copies: Sequence[tuple[str, str]] = [
            (str(row["store"]), str(row["key"]))
            for row in self._database.rows(
                "select store, key from copies where image_id = ? and state = 'confirmed' order by store", (image_id,)
            )
        ]
        return Whereabouts(
            sha256=str(rows[0]["sha256"]),
            content_type=str(rows[0]["content_type"]),
            spool=None if rows[0]["spool"] is None else str(rows[0]["spool"]),
            copies=tuple(copies),
        )
