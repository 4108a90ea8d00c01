"""Everything that a filter means, for files: page by page, so that a million images need no more memory than a few.

A page is one short read; whatever is archived meanwhile is told as it is when its page is read. It changes nothing, and
reveals no temporary URL.
"""

import json
from collections.abc import Iterator
from typing import Any

from archiver.catalogue.database import Database
from archiver.catalogue.listings import Filter

#: So many images are looked at in one read.
SPAN = 5_000
_COLUMNS = """
    i.id as image_id, i.generation_id, i.state, g.prompt, i.revised_prompt, g.job, g.provider, g.model, i.role, g.tags,
    i.sha256, i.size, i.content_type, i.extension, i.width, i.height, i.verdict,
    g.cost_micro / 1e6 / coalesce(
        g.shares, (select count(*) from images as every where every.generation_id = g.id)
    ) as cost_usd,
    i.deadline, i.deadline_from, i.attempts, i.not_before, i.source, i.error, i.created_at, i.fetched_at, i.archived_at,
    (select json_group_array(parent) from (
        select i.parent_image_id as parent where i.parent_image_id is not null
        union select image_id from inputs where inputs.generation_id = g.id and image_id is not null
        union select earlier.id from images as earlier
            where earlier.generation_id = g.continues and earlier.role = 'final'
    )) as parents,
    (select json_group_array(json_object('store', store, 'key', key, 'confirmed_at', confirmed_at)) from (
        select * from copies where copies.image_id = i.id and copies.state = 'confirmed' order by store
    )) as copies
"""


class Exports:
    """Images for files."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def images(self, wanted: Filter, *, reverse: bool = False, span: int = SPAN) -> Iterator[dict[str, Any]]:
        """All images that are wanted, the newest first (`reverse`: the oldest). `tags`, `parents` (ids of images that
        it was made of) and `copies` (confirmed ones: store, key, confirmed_at) are lists."""
        conditions = " and ".join(["i.seq between :low and :high", *wanted.conditions("created")])
        statement = (
            f"select {_COLUMNS} from images as i cross join generations as g on g.id = i.generation_id"
            f" where {conditions} order by i.seq {'asc' if reverse else 'desc'}"
        )
        newest = self._database.rows("select coalesce(max(seq), 0) from images")[0][0]
        starts = range(1, newest + 1, span)
        for low in starts if reverse else reversed(starts):
            high = min(low + span - 1, newest)
            for row in self._database.rows(statement, wanted.parameters() | {"low": low, "high": high}):
                found = dict(row)
                yield found | {name: json.loads(found[name]) for name in ("tags", "parents", "copies")}
