"""Keys of providers, as events tell of them: which were refused a while ago and did not work since.

A key is known by the reference under which it is kept, never by what it is.
"""

import json
from datetime import datetime, timedelta

from archiver.catalogue.database import Database, as_text, as_time
from archiver.catalogue.rows import note
from archiver.core.alerting import RECENT, REPEAT, RefusedKeys
from archiver.core.news import KeyNews

# Spelled as in the partial index `events_keys`.
_OF_KEYS = "kind in ('key-refused', 'key-works')"


class Keys:
    """Keys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def hear(self, news: KeyNews, now: datetime) -> bool:
        """Remember that a key was refused, or works again. False when that is no news: it was refused within the hour,
        or nothing is known against it."""
        with self._database.write() as db:
            last = db.execute(
                f"""
                select kind, at from events where {_OF_KEYS} and at >= :since
                    and json_extract(detail, '$.provider') = :provider and json_extract(detail, '$.key') = :key
                order by id desc limit 1
                """,
                {"provider": news.provider, "key": news.reference, "since": as_text(now - RECENT)},
            ).fetchone()
            was_refused = last is not None and last["kind"] == "key-refused"
            if was_refused == news.refused and not (was_refused and _is_old(as_time(last["at"]), now)):
                return False
            said = {"provider": news.provider, "key": news.reference, "keys": news.keys}
            note(db, now, "key-refused" if news.refused else "key-works", detail=json.dumps(said))
        return True

    def refused(self, now: datetime) -> tuple[RefusedKeys, ...]:
        """By provider, what was refused in the last 24 hours and did not work since."""
        rows = self._database.rows(
            f"""
            select provider, json_group_array(key) as keys, max(keys) as count from (
                select json_extract(detail, '$.provider') as provider, json_extract(detail, '$.key') as key,
                    json_extract(detail, '$.keys') as keys, kind, max(id)
                from events where {_OF_KEYS} and at >= :since group by 1, 2
            ) where kind = 'key-refused' group by 1 order by 1
            """,
            {"since": as_text(now - RECENT)},
        )
        return tuple(
            RefusedKeys(provider=row["provider"], keys=tuple(sorted(json.loads(row["keys"]))), of=row["count"])
            for row in rows
        )


def _is_old(at: datetime, now: datetime) -> bool:
    """Whether it was said an hour ago; one from the future is no reason for silence: the clock was set back."""
    return not timedelta(0) <= now - at < REPEAT
