"""Read-only questions to the catalogue, for the command line and everything else that shows numbers.

Every answer is a list of plain dictionaries with the column names of the public views. Nothing here changes a row, and
no answer holds a temporary URL: only its redacted form.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from archiver.catalogue.database import Database, as_text

_IMAGE = """
    select i.id as image_id, i.generation_id, i.state, g.prompt, g.job, g.provider, g.model,
        i.deadline, i.deadline_from, i.attempts, i.not_before, i.sha256, i.size, i.content_type, i.width, i.height,
        i.verdict, i.source, i.error, i.created_at, i.fetched_at, i.archived_at
    from images as i join generations as g on g.id = i.generation_id
"""
SHORTEST_INDEXED_WORD = 3
#: A whole prompt may be pasted as a question; SQLite refuses a thousand conditions in one statement.
MOST_SHORT_WORDS = 100


class Reports:
    """Questions."""

    def __init__(self, database: Database) -> None:
        self._database = database

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
        rows = self._ask(f"{_IMAGE} where i.id = :id", {"id": image_id})
        if not rows:
            return None
        story = rows[0]
        more = self._ask("select evidence, revised_prompt from images where id = :id", {"id": image_id})[0]
        generation = self._ask(
            "select origin, size, n, state, attempts, tags, metadata, created_at, submitted_at, answered_at,"
            " request_id, cost_micro / 1e6 as cost_usd, error from generations where id = :id",
            {"id": story["generation_id"]},
        )[0]
        for name in ("tags", "metadata"):
            generation[name] = json.loads(generation[name])
        story["revised_prompt"] = more["revised_prompt"]
        story["evidence"] = json.loads(more["evidence"])
        story["generation"] = generation
        story["copies"] = self._ask(
            "select store, state, key, sha256, size, etag, proof, confirmed_at, lineage_key from copies"
            " where image_id = :id order by store",
            {"id": image_id},
        )
        story["events"] = self._ask(
            "select at, kind, store, detail from events"
            " where image_id = :id or generation_id = :generation order by id",
            {"id": image_id, "generation": story["generation_id"]},
        )
        return story

    def lineage(self, question: str, limit: int = 100) -> list[dict[str, Any]]:
        """Rows of the view `lineage` for an exact id, else an exact full key, else the words of a prompt.

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
                return rows
        return self._by_words(list(dict.fromkeys(question.split())), limit)

    def _by_words(self, words: Sequence[str], limit: int) -> list[dict[str, Any]]:
        """Newest first. The trigram index needs three characters; shorter words (many Chinese ones) are looked for one
        row at a time."""
        indexed = [word for word in words if len(word) >= SHORTEST_INDEXED_WORD]
        short = [word for word in words if len(word) < SHORTEST_INDEXED_WORD][:MOST_SHORT_WORDS]
        clauses = [f"g.prompt like :short{number} escape '\\'" for number in range(len(short))]
        parameters: dict[str, Any] = {f"short{number}": f"%{escaped(word)}%" for number, word in enumerate(short)}
        if indexed:
            clauses.append("g.seq in (select rowid from prompts where prompts match :match)")
            parameters["match"] = " ".join('"' + word.replace('"', '""') + '"' for word in indexed)
        if not clauses:
            return []
        return self._ask(
            "select * from lineage where generation_id in"
            f" (select g.id from generations as g where {' and '.join(clauses)} order by g.seq desc limit 1000)"
            " order by created_at desc, image_id, store limit :limit",
            parameters | {"limit": limit},
        )

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
        row = self._ask(
            """
            select (select count(*) from generations
                    where state in ('planned', 'submitted', 'accepted') and state <> 'planned') as asking,
                (select count(*) from images where state in ('pending', 'spooled')) as waiting
            """
        )[0]
        return row["asking"], row["waiting"]

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
            " (select count(*) from ticks where job = name) as ticks from jobs"
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
        """What stands: images and generations by state, what is at risk, the nearest deadline, copies by store."""
        counts = {
            table: {
                row["state"]: row["n"] for row in self._ask(f"select state, count(*) as n from {table} group by state")
            }
            for table in ("images", "generations")
        }
        waiting = self._ask(
            """
            select min(deadline) as nearest_deadline, min(created_at) as oldest_unarchived,
                coalesce(sum(julianday(:now) >= (julianday(created_at) + julianday(deadline)) / 2), 0) as at_risk
            from images where state = 'pending'
            """,
            {"now": as_text(now)},
        )[0]
        # Of what was written off, somebody knows; a price that is unknown is not added as 0.
        unknown = self._ask(
            """
            select count(*) as n, sum(coalesce(cost_micro, expected_micro)) / 1e6 as usd,
                count(*) - count(coalesce(cost_micro, expected_micro)) as unpriced
            from generations where state = 'unknown' and written_off_at is null
            """
        )[0]
        day = {"since": as_text(now - timedelta(days=1))}
        last = self._ask(
            "select count(*) as stored, coalesce(sum(size), 0) as bytes from images where archived_at >= :since", day
        )[0]
        return {
            "images": counts["images"],
            "generations": counts["generations"],
            "copies": {
                row["store"]: row["n"]
                for row in self._ask(
                    "select store, count(*) as n from copies where state = 'confirmed' group by store order by store"
                )
            },
            "at_risk": waiting["at_risk"],
            "nearest_deadline": waiting["nearest_deadline"],
            "oldest_unarchived": waiting["oldest_unarchived"],
            "unknown_generations": unknown["n"],
            "unknown_price_usd": unknown["usd"],
            "unknown_without_price": unknown["unpriced"],
            "stored_last_24h": last["stored"],
            "bytes_last_24h": last["bytes"],
        }


def escaped(word: str) -> str:
    """A word for LIKE, with a backslash before what means something there."""
    return word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
