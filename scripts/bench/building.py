"""Catalogues to measure: as many rows as are wanted, spread as in an archive of years, or all of them waiting.

Rows go straight in by SQL, past the house's own methods and its guards: each once, as it is in the end, in the order of
its table. What triggers would have written is written for all of them at once, and the guards are put back by the
schema's own words; a catalogue whose schema is not then that of a fresh one is thrown away. It is for `catalogue.py`
beside it, and refuses to touch a catalogue that it did not make.
"""

import shutil
from pathlib import Path
from typing import Any

from archiver.catalogue import Catalogue
from archiver.catalogue.database import Connection

#: The numbers of the rows that are asked for, and the time of each in seconds: every 20 of them one, the last at
#: 2026-11-20 09:00:00 UTC, which `questions.NOW` is.
_NUMBERED = (
    "create temp table asked (rows integer, young integer)",
    "insert into asked values (:rows, :young)",
    """
    create temp view counted as
    with recursive counted (value) as (
        select 1 union all select value + 1 from counted where value < (select rows from asked)
    ) select value, 1795165200 + (value - (select rows from asked)) * 20 as at from counted
    """,
)
#: One in forty requests failed, one in 2,000 has an outcome that nobody knows. Of the newest 1,000 images (never more
#: than a tenth) most wait, some in the spool; one in ten of those is lost.
_ARCHIVE = (
    """
    create temp view requests as
    select value, at, strftime('%Y-%m-%dT%H:%M:%fZ', at, 'unixepoch') as born, value <= rows - young as is_old,
        case when value % 40 <> 1 then 'completed' when value > rows - young / 2 then 'planned'
            when value % 2000 = 1 then 'unknown' else 'failed' end as state
    from counted cross join asked
    """,
    """
    insert or ignore into ticks
    select 'job-' || (value % 9), born, born from requests where value % 50 <> 0 and value % 40 = 2
    """,
    """
    insert into generations (id, origin, job, prompt, provider, model, tags, stores, state, attempts, created_at,
        submitted_at, expected_micro, came, answered_at, cost_micro, error)
    select printf('g%09d', value), iif(value % 50, 'job', 'generate'),
        iif(value % 50, iif(value % 100000 = 7, 'rare', 'job-' || (value % 9)), null),
        'a ' || printf('%05d', value * 7919 % 100000) || case value % 3
            when 0 then ' cat on the moon' when 1 then ' 一只猫坐在月球上' else ' lighthouse in the fog' end
            || iif(value % 100000 = 11, ' with a zeppelin 飞艇', ''),
        iif(value % 200000 = 3, 'seldom', 'provider-' || (value % 3)), 'model-' || (value % 4),
        iif(value % 100000 = 5, '["odd","shop"]', iif(value % 2, '["shop"]', '[]')), '["main"]', state, 1, born,
        iif(state = 'planned', null, born), iif(state = 'planned', null, 40000), iif(state = 'completed', 1, null),
        iif(state = 'planned', null, strftime('%Y-%m-%dT%H:%M:%fZ', at + 20 + value % 97, 'unixepoch')),
        iif(state in ('planned', 'unknown'), null, 40000 + value % 13 * 1000),
        iif(state in ('unknown', 'failed'), 'double answered 500: oops', null)
    from requests
    """,
    # `seq` is what its number in the table will be: of forty requests, one brings none.
    """
    with taken as (
        select *, value - (value + 39) / 40 as seq from requests where value % 40 <> 1
    ), fates as (
        select *, case when is_old then 'stored' when value % 10 = 3 then 'spooled' when seq % 10 = 0 then 'lost'
            else 'pending' end as fate
        from taken
    )
    insert into images (id, generation_id, idx, state, deadline, deadline_from, give_up_at, attempts, created_at,
        source_host, spool, error, sha256, size, content_type, verdict, fetched_at, archived_at)
    select printf('i%09d', value), printf('g%09d', value), 0, fate,
        strftime('%Y-%m-%dT%H:%M:%fZ', at + 86400, 'unixepoch'), 'url', '2027-01-01T00:00:00.000Z', 1, born,
        'host-' || (value % 4) || '.example', iif(fate = 'spooled', 'file ' || value, null),
        iif(fate = 'lost', 'gone', null), iif(is_old, printf('i%09d', value), null),
        iif(is_old, 1000000 + seq * 7919 % 7000000, null), iif(is_old, 'image/png', null), iif(is_old, 'ok', null),
        iif(is_old, born, null),
        iif(is_old, strftime('%Y-%m-%dT%H:%M:%fZ', at + 130 + seq % 17, 'unixepoch'), null)
    from fates
    """,
    """
    insert into copies (image_id, store, state, key, sha256, size, proof, confirmed_at, lineage_key)
    select id, 'main', iif(is_old, 'confirmed', 'wanted'), iif(is_old, 'archive/' || id || '.png', null),
        iif(is_old, id, null), iif(is_old, 68, null), iif(is_old, 'read-back', null),
        iif(is_old, '2026-11-20T09:00:00.000Z', null), iif(is_old, '_lineage/1.jsonl', null)
    from (select id, state = 'stored' as is_old from images order by seq)
    """,
)
#: All of it waits, and nothing is due: every link is dead, every image was tried and is to be tried tomorrow.
_BACKLOG = (
    """
    insert into generations (id, origin, job, prompt, provider, model, stores, state, created_at, not_before)
    select printf('g%09d', value), 'job', 'job-' || (value % 9), 'p' || value, 'provider-' || (value % 3), 'model',
        '["main"]', iif(value % 2, 'planned', 'completed'), '2026-11-01T09:00:00.000Z',
        iif(value % 2, '2026-11-21T09:00:00.000Z', null)
    from counted
    """,
    """
    insert into images (id, generation_id, idx, state, deadline, deadline_from, give_up_at, attempts, created_at,
        attempted_at, not_before, source_host, error)
    select printf('i%09d', value), printf('g%09d', value), 0, 'pending',
        strftime('%Y-%m-%dT%H:%M:%fZ', '2026-11-02 09:00:00', (value % 900000) || ' seconds'), 'url',
        '2027-01-01T00:00:00.000Z', 1, '2026-11-01T09:00:00.000Z', '2026-11-20T08:59:00.000Z',
        '2026-11-21T09:00:00.000Z', 'host-' || (value % 4) || '.example', 'timed out'
    from counted
    """,
)
SHAPES = {"archive": _ARCHIVE, "backlog": _BACKLOG}
#: Put off until the rows are there: guards and triggers, and the one index whose keys come in no order. All others are
#: filled meanwhile, at a few warm places each: that takes less than to sort what has few values, and they are as full
#: as those of a catalogue that grew.
_PUT_OFF = """
    select type, name, sql from sqlite_master where type = 'trigger' or name = 'images_by_size' order by rowid
"""
_SCHEMA = "select type, name, tbl_name, sql from sqlite_master order by type, name"
#: Of no worth when the machine stops meanwhile, and of none before it is whole: a cache of 1 GB, and no journal.
_HURRY = (
    *("journal_mode=delete", "journal_mode=off", "locking_mode=exclusive", "synchronous=off", "secure_delete=off"),
    *("foreign_keys=off", "cell_size_check=off", "cache_size=-1000000"),
)
_FOLLOWS = (
    """
    insert into generation_tags select value, seq from generations, json_each(tags) where tags <> '[]'
    order by value, seq
    """,
    "insert into prompts (prompts) values ('rebuild')",
)


def build(folder: Path, rows: int, shape: str) -> None:
    """Make a catalogue of so many generations, nearly all with one image, in `folder`, which is there when it is whole.
    Raises SystemExit when its schema did not become that of a fresh one."""
    making = folder.with_name(f"{folder.name}.making")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    catalogue = Catalogue.open(making, create=True)
    try:
        database: Any = vars(catalogue)["_database"]
        fresh = _schema(database.connection)
        for pragma in _HURRY:
            database.connection.execute(f"pragma {pragma}").fetchall()
        with database.write() as db:
            _fill(db, shape, {"rows": rows, "young": min(1000, rows // 10)})
        catalogue.counters.mend()
        if _schema(database.connection) != fresh:
            raise SystemExit(f"the schema of {making} is not that of a fresh catalogue")
    finally:
        catalogue.close()
    making.rename(folder)


def _fill(db: Connection, shape: str, values: dict[str, int]) -> None:
    put_off = db.execute(_PUT_OFF).fetchall()
    for row in put_off:
        db.execute(f"drop {row['type']} {row['name']}")
    for statement in (*_NUMBERED, *SHAPES[shape]):
        db.execute(statement, values if ":rows" in statement else {})
    for statement in (*_FOLLOWS, *(row["sql"] for row in put_off)):
        db.execute(statement)


def _schema(db: Connection) -> list[tuple[str, ...]]:
    return [tuple(row) for row in db.execute(_SCHEMA)]
