"""Equal requests: whose images serve for whom, and who waits while an equal one is under way.

Only a generation that was planned with a time for reuse (`reuse_s`) looks for another one, and that one must have been
asked within this time, for every store that is wanted now. The conditions stand in every question of what may be asked,
so that two processes never pay for equal requests side by side. Nothing here asks a provider.
"""

import json
from collections.abc import Sequence
from datetime import datetime

from archiver.catalogue.database import Database, as_text
from archiver.catalogue.rows import note
from archiver.core.states import GENERATION

_ALIKE = """
    other.fingerprint = generations.fingerprint and other.id <> generations.id
    and not exists (select 1 from json_each(generations.stores) as wants
        where wants.value not in (select value from json_each(other.stores)))
"""
_YOUNG = "julianday(:now) - julianday({}) <= generations.reuse_s / 86400.0"
_FINAL = "select 1 from images where images.generation_id = other.id and images.role = 'final' and images.state"

#: An answered one whose images, as many as were wanted, are stored or safe in the spool.
_SERVES = f"""
    {_ALIKE} and other.state = 'completed' and other.came >= other.n and {_YOUNG.format("other.answered_at")}
    and not exists ({_FINAL} not in ('stored', 'spooled'))
"""
#: One that is being asked for, or whose images are on their way.
_UNDER_WAY = f"""
    {_ALIKE} and (
        (other.state in ('submitted', 'accepted') and {_YOUNG.format("other.submitted_at")})
        or (other.state = 'completed' and other.came >= other.n and {_YOUNG.format("other.answered_at")}
            and exists ({_FINAL} = 'pending') and not exists ({_FINAL} in ('lost', 'missing', 'forgotten')))
    )
"""

#: Of a planned generation: it need not wait for an equal one. Wants `:now`.
NOT_WAITING = f"(generations.reuse_s is null or not exists (select 1 from generations as other where {_UNDER_WAY}))"
#: Of a planned generation: it must be asked for, because there is no equal one. Wants `:now`.
UNLIKE = f"""
    (generations.reuse_s is null or not exists (
        select 1 from generations as other where ({_UNDER_WAY}) or ({_SERVES})))
"""

_SERVED = f"""
    from generations indexed by generations_reusing where state = 'planned' and reuse_s is not null
        and provider = :provider and (:job is null or job = :job)
        and (:ids is null or id in (select value from json_each(:ids)))
        and exists (select 1 from generations as other where {_SERVES})
"""


class Reusing:
    """What need not be paid for twice."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def reuse(
        self, provider: str, now: datetime, *, job: str | None = None, ids: Sequence[str] | None = None
    ) -> list[str]:
        """Settle every planned generation of a provider for which the images of an equal one serve: it costs nothing,
        and is never asked for. Returns their ids."""
        scope = {
            "provider": provider,
            "job": job,
            "ids": None if ids is None else json.dumps(list(ids)),
            "now": as_text(now),
        }
        if not self._database.rows(f"select 1 {_SERVED} limit 1", scope):
            return []
        with self._database.write() as db:
            found = db.execute(
                f"""
                select id, (
                    select other.id from generations as other where {_SERVES} order by other.answered_at desc limit 1
                ) as original {_SERVED}
                """,
                scope,
            ).fetchall()
            for row in found:
                db.execute(
                    f"""
                    update generations set state = '{GENERATION["reuse"].target}', reused_from = :original,
                        cost_micro = 0, expected_micro = 0, held = 0, owner = null, not_before = null, error = null
                    where id = :id and state = 'planned'
                    """,
                    {"id": row["id"], "original": row["original"]},
                )
                detail = f"the images of {row['original']} serve: an equal request, answered a while ago"
                note(db, now, "reused", generation_id=row["id"], detail=detail)
        return [str(row["id"]) for row in found]

    def original(self, generation_id: str) -> str | None:
        """The generation whose images a reused one has, None for any other."""
        rows = self._database.rows("select reused_from from generations where id = ?", (generation_id,))
        return str(rows[0]["reused_from"]) if rows and rows[0]["reused_from"] else None
