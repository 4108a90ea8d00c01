"""Read-only questions to the catalogue, for the command line and everything else that shows numbers.

Every answer is a list of plain dictionaries with the column names of the public views. Nothing here changes a row, and
no answer holds a temporary URL: only its redacted form.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from archiver.catalogue.counters import Counters
from archiver.catalogue.database import Database, as_text
from archiver.catalogue.searching import by_words
from archiver.catalogue.stories import stories, story_of_image
from archiver.core.alerting import MOST_COUNTED

_IMAGE = """
    select i.id as image_id, i.generation_id, i.state, g.prompt, g.job, g.provider, g.model,
        i.deadline, i.deadline_from, i.attempts, i.not_before, i.sha256, i.size, i.content_type, i.width, i.height,
        i.verdict, i.source, i.error, i.created_at, i.fetched_at, i.archived_at
    from images as i join generations as g on g.id = i.generation_id
"""
_ARCHIVED = """
    select i.id from ({walk}) as walk cross join generations as g on g.seq = walk.seq
    cross join images as i on i.generation_id = g.id
    where exists (select 1 from copies where image_id = i.id and state = 'confirmed'){likes}
    order by g.seq desc, i.idx limit :limit
"""


def half_life(images: str) -> str:
    """When half of the life of a link is over, spelled as in the index `images_risk` and in the view `at_risk`."""
    return f"strftime('%Y-%m-%dT%H:%M:%fZ', (julianday({images}.created_at) + julianday({images}.deadline)) / 2)"


class Reports:
    """Questions."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._counters = Counters(database)

    def _ask(self, statement: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        return [dict(row) for row in self._database.rows(statement, dict(parameters or {}))]

    def images(
        self, *, states: Sequence[str] = (), job: str | None = None, due: datetime | None = None, limit: int
    ) -> list[dict[str, Any]]:
        """The newest images first; only those in `states`, when any are named, and those that may be tried at `due`."""
        return self._ask(
            f"{_IMAGE} where (:states = '[]' or i.state in (select value from json_each(:states)))"
            " and (:job is null or g.job = :job)"
            " and (:due is null or i.not_before is null or i.not_before <= :due)"
            " order by i.seq desc limit :limit",
            {"states": json.dumps(list(states)), "job": job, "due": as_text(due) if due else None, "limit": limit},
        )

    def image(self, image_id: str) -> dict[str, Any] | None:
        """One image's whole story: its row, its generation, its copies, its events, the evidence for its deadline."""
        return story_of_image(self._database, image_id)

    def stories(self, name: str) -> list[dict[str, Any]]:
        """The same for the image called so, or for every image of the generation called so, drafts too; see
        `catalogue.stories`. Empty when there is neither."""
        return stories(self._database, name)

    def lineage(self, question: str, limit: int = 100) -> list[dict[str, Any]]:
        """Rows of the view `lineage` for an exact id, else an exact full key, else the words of a prompt: of those with
        all the words the newest, as far as `lineage_of` looks."""
        return self.lineage_of(question, limit)[0]

    def lineage_of(
        self, question: str, limit: int = 100, *, deep: bool = False
    ) -> tuple[list[dict[str, Any]], int | None]:
        """The same, and how many prompts were looked at when there may be more; None: that is all.

        Any text is a question: what SQLite cannot take (bytes that are no text, NUL) separates words. Of a long one,
        the first hundred words of one or two characters count.
        """
        question = question.encode("utf-8", "replace").decode().replace("\0", " ")
        exact = (
            # Alternatives across the tables of the view would read every copy there is.
            "select * from lineage where image_id in ("
            " select id from images where id = :q"
            " union all select id from images where generation_id = :q"
            " union all select i.id from generations as g join images as i on i.generation_id = g.reused_from"
            " where g.id = :q) order by archived_at, store limit :limit"
        )
        by_key = "select * from lineage where key = :q order by archived_at limit :limit"
        for statement in (exact, by_key):
            if rows := self._ask(statement, {"q": question, "limit": limit}):
                return rows, None
        found, looked_at = by_words(self._database, question, _ARCHIVED, limit=limit, deep=deep)
        return self._ask(
            "select * from lineage where image_id in (select value from json_each(:ids))"
            " order by created_at desc, image_id, store limit :limit",
            {"ids": json.dumps([row["id"] for row in found]), "limit": limit},
        ), looked_at

    def under_way(self, generation_ids: Sequence[str]) -> list[dict[str, Any]]:
        """How the given generations stand, with the number of their images by state."""
        return self._ask(
            """
            select g.id as generation_id, g.prompt, g.state, g.attempts, g.n, g.not_before, g.error, g.handle,
                g.reused_from,
                count(i.id) as images, max(case when i.state <> 'stored' then i.error end) as image_error,
                sum(i.state = 'stored') as stored, sum(i.state in ('pending', 'spooled')) as waiting,
                sum(i.state = 'lost') as lost
            from generations as g left join images as i on i.generation_id = coalesce(g.reused_from, g.id)
            where g.id in (select value from json_each(:ids)) group by g.id order by g.seq
            """,
            {"ids": json.dumps(list(generation_ids))},
        )

    def open_generations(self, providers: Sequence[str], job: str | None = None) -> list[str]:
        """Generations of these providers that are planned or accepted: work that somebody still has to do."""
        rows = self._ask(
            """
            select id from generations
            where state in ('planned', 'submitted', 'accepted') and state <> 'submitted'
                and provider in (select value from json_each(:providers)) and (:job is null or job = :job)
            """,
            {"providers": json.dumps(list(providers)), "job": job},
        )
        return [row["id"] for row in rows]

    def busy(self) -> tuple[int, int]:
        """How many generations are being asked for, and how many images are still on their way."""
        generations, images = self._counters.of("generations"), self._counters.of("images")
        asking = generations.get("submitted", 0) + generations.get("accepted", 0)
        return asking, images.get("pending", 0) + images.get("spooled", 0)

    def in_other_hands(self, generation_ids: Sequence[str]) -> bool:
        """Whether somebody is asking for one of these generations or for an equal one that it waits for, or is copying
        one of their images, just now."""
        return bool(
            self._ask(
                """
                with looked_at (id) as (
                    select value from json_each(:ids)
                    union all
                    select other.id from json_each(:ids) join generations as waits on waits.id = value
                    join generations as other on other.fingerprint = waits.fingerprint
                    where waits.state = 'planned' and waits.reuse_s is not null
                )
                select 1 from looked_at join generations as g on g.id = looked_at.id
                left join images as i on i.generation_id = g.id
                where ((g.state = 'submitted' and g.batch_id is null)
                    or (i.state in ('pending', 'spooled') and i.claimed_by is not null))
                limit 1
                """,
                {"ids": json.dumps(list(generation_ids))},
            )
        )

    def last_ticks(self) -> dict[str, dict[str, Any]]:
        """Per job: when it was first seen, and its last tick."""
        rows = self._ask(
            "select name, first_seen_at, (select max(scheduled_for) from ticks where job = name) as last_tick,"
            " coalesce((select value from counters where counters.name = 'ticks' and key = jobs.name), 0) as ticks"
            " from jobs"
        )
        return {row["name"]: row for row in rows}

    def schema(self) -> dict[str, dict[str, dict[str, str]]]:
        """Tables and views with their columns and types, for the documentation."""
        found: dict[str, dict[str, dict[str, str]]] = {"view": {}, "table": {}}
        for row in self._ask(
            "select type, name from sqlite_master where type in ('view', 'table') and name not glob '[_s]*_*'"
            " and name not glob 'prompts*' order by name"
        ):
            columns = self._ask("select name, type from pragma_table_info(:name)", {"name": row["name"]})
            found[row["type"]][row["name"]] = {column["name"]: column["type"].lower() for column in columns}
        return found

    def status(self, now: datetime) -> dict[str, Any]:
        """What stands: images and generations by state, what is at risk (`MOST_COUNTED`: as many or more), the nearest
        deadline, copies by store."""
        waiting = self._ask(
            f"""
            select (select deadline from images indexed by images_due
                    where state in ('pending', 'spooled') and state = 'pending' order by deadline limit 1
                ) as nearest_deadline,
                (select min(at) from (
                    select min(created_at) as at from images indexed by images_next
                    where state in ('pending', 'spooled') and state = 'pending' and coalesce(not_before, '') = ''
                    union all
                    select min(created_at) from images indexed by images_asleep
                    where state = 'pending' and not_before is not null)
                ) as oldest_unarchived,
                (select count(*) from (select 1 from images indexed by images_risk
                    where state = 'pending' and {half_life("images")} <= :now limit {MOST_COUNTED})) as at_risk
            """,
            {"now": as_text(now)},
        )[0]
        # Of what was written off, somebody knows; a price that is unknown is not added as 0.
        unknown = self._ask(
            """
            select count(*) as n, sum(coalesce(cost_micro, expected_micro)) / 1e6 as usd,
                count(*) - count(coalesce(cost_micro, expected_micro)) as unpriced
            from generations indexed by generations_doubtful where state = 'unknown' and written_off_at is null
            """
        )[0]
        archived, archived_bytes = self._counters.archived_since(now - timedelta(days=1))
        return {
            "images": self._counters.of("images"),
            "generations": self._counters.of("generations"),
            "copies": self._counters.of("copies"),
            "at_risk": waiting["at_risk"],
            "nearest_deadline": waiting["nearest_deadline"],
            "oldest_unarchived": waiting["oldest_unarchived"],
            "unknown_generations": unknown["n"],
            "unknown_price_usd": unknown["usd"],
            "unknown_without_price": unknown["unpriced"],
            "stored_last_24h": archived,
            "bytes_last_24h": archived_bytes,
        }
