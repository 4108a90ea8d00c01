"""Catalogues to measure: as many rows as are wanted, spread as in an archive of years, or all of them waiting.

Rows go straight in by SQL, past the house's own methods and through its guards. It is for `catalogue.py` beside it, and
refuses to touch a catalogue that it did not make.
"""

from typing import Any

from archiver.catalogue import Catalogue

#: A request every 20 seconds, the last of them now; one in forty failed, one in 2,000 has an outcome that nobody knows.
#: Of the newest 1,000 images (never more than a tenth) most wait, some in the spool; one in ten of those is lost.
_ARCHIVE = """
create temp table numbers (value integer primary key, born text not null);
insert into numbers with recursive counted (value) as
    (select 1 union all select value + 1 from counted where value < :rows)
    select value, strftime('%Y-%m-%dT%H:%M:%fZ', '2026-11-20 09:00:00', printf('%+d seconds', (value - :rows) * 20))
    from counted;
insert or ignore into ticks
    select 'job-' || (value % 9), born, born from numbers where value % 50 <> 0 and value % 40 = 2;
insert into generations (id, origin, job, prompt, provider, model, tags, stores, state, attempts, created_at)
    select printf('g%09d', value), iif(value % 50, 'job', 'generate'),
        iif(value % 50, iif(value % 100000 = 7, 'rare', 'job-' || (value % 9)), null),
        'a ' || printf('%05d', value * 7919 % 100000) || case value % 3
            when 0 then ' cat on the moon' when 1 then ' 一只猫坐在月球上' else ' lighthouse in the fog' end
            || iif(value % 100000 = 11, ' with a zeppelin 飞艇', ''),
        iif(value % 200000 = 3, 'seldom', 'provider-' || (value % 3)), 'model-' || (value % 4),
        iif(value % 100000 = 5, '["odd","shop"]', iif(value % 2, '["shop"]', '[]')), '["main"]', 'planned', 1, born
    from numbers;
insert into images (id, generation_id, idx, state, deadline, deadline_from, give_up_at, attempts, created_at,
        source_host, spool)
    select printf('i%09d', value), printf('g%09d', value), 0,
        iif(value > :rows - :young and value % 10 = 3, 'spooled', 'pending'),
        strftime('%Y-%m-%dT%H:%M:%fZ', born, '+1 day'), 'url', '2027-01-01T00:00:00.000Z', 1, born,
        'host-' || (value % 4) || '.example', iif(value > :rows - :young and value % 10 = 3, 'file ' || value, null)
    from numbers where value % 40 <> 1;
insert into copies (image_id, store, state) select id, 'main', 'wanted' from images;
update generations set state = 'submitted', submitted_at = created_at, expected_micro = 40000
    where seq <= :rows - :young / 2 or seq % 40 <> 1;
update generations set state = iif(seq % 2000 = 1, 'unknown', iif(seq % 40 = 1, 'failed', 'completed')),
    came = iif(seq % 40 = 1, null, 1),
    answered_at = strftime('%Y-%m-%dT%H:%M:%fZ', created_at, printf('%+d seconds', 20 + seq % 97)),
    cost_micro = iif(seq % 2000 = 1, null, 40000 + seq % 13 * 1000),
    error = iif(seq % 40 = 1, 'double answered 500: oops', null) where state = 'submitted';
update copies set state = 'confirmed', key = 'archive/' || image_id || '.png', sha256 = image_id, size = 68,
    proof = 'read-back', confirmed_at = '2026-11-20T09:00:00.000Z', lineage_key = '_lineage/1.jsonl'
    where image_id <= printf('i%09d', :rows - :young);
update images set state = 'stored', sha256 = id, size = 1000000 + seq * 7919 % 7000000, content_type = 'image/png',
    verdict = 'ok', fetched_at = created_at,
    archived_at = strftime('%Y-%m-%dT%H:%M:%fZ', created_at, printf('%+d seconds', 130 + seq % 17))
    where id <= printf('i%09d', :rows - :young);
update images set state = 'lost', error = 'gone' where state = 'pending' and seq % 10 = 0;
drop table numbers
"""
#: All of it waits, and nothing is due: every link is dead, every image was tried and is to be tried tomorrow.
_BACKLOG = """
create temp table numbers (value integer primary key);
insert into numbers with recursive counted (value) as
    (select 1 union all select value + 1 from counted where value < :rows) select value from counted;
insert into generations (id, origin, job, prompt, provider, model, stores, state, created_at, not_before)
    select printf('g%09d', value), 'job', 'job-' || (value % 9), 'p' || value, 'provider-' || (value % 3), 'model',
        '["main"]', iif(value % 2, 'planned', 'completed'), '2026-11-01T09:00:00.000Z',
        iif(value % 2, '2026-11-21T09:00:00.000Z', null)
    from numbers;
insert into images (id, generation_id, idx, state, deadline, deadline_from, give_up_at, attempts, created_at,
        attempted_at, not_before, source_host, error)
    select printf('i%09d', value), printf('g%09d', value), 0, 'pending',
        strftime('%Y-%m-%dT%H:%M:%fZ', '2026-11-02 09:00:00', printf('%+d seconds', value % 900000)), 'url',
        '2027-01-01T00:00:00.000Z', 1, '2026-11-01T09:00:00.000Z', '2026-11-20T08:59:00.000Z',
        '2026-11-21T09:00:00.000Z', 'host-' || (value % 4) || '.example', 'timed out'
    from numbers;
drop table numbers
"""
SHAPES = {"archive": _ARCHIVE, "backlog": _BACKLOG}


def fill(catalogue: Catalogue, rows: int, shape: str) -> None:
    """Make so many generations, nearly all with one image; a million in about a minute."""
    database: Any = vars(catalogue)["_database"]
    if not catalogue.rebuilding.is_empty():
        raise SystemExit(f"{catalogue.path} is not empty")
    # Of no worth when the machine stops meanwhile, and of none before it is whole: 2 GB of memory, and no journal.
    for pragma in (
        "journal_mode=delete",
        "journal_mode=off",
        "synchronous=off",
        "secure_delete=off",
        "cache_size=-2000000",
    ):
        database.connection.execute(f"pragma {pragma}")
    with database.write() as db:
        for statement in SHAPES[shape].split(";\n"):
            db.execute(statement, {"rows": rows, "young": min(1000, rows // 10)})
    database.close()
