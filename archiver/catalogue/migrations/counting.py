"""What a status of ten million images needs: numbers that are kept instead of counted, and indexes on what is rare."""

from typing import Any


def m008_counters(db: Any) -> None:
    """Counters, kept by triggers, and the indexes of what waits, failed or needs somebody."""
    for statement in _COUNTERS + _INDEXES:
        db.execute(statement)


def _follow(
    table: str, counter: str, key: str, *, columns: str, moved: str, counts: str = "true", size: str = "0"
) -> list[str]:
    """The triggers that keep one counter in step with a table: a row (`{}`) adds 1 and its size to `key` while it
    `counts`, and has `moved` when a change of `columns` means another key, another size, or that it counts no more.
    Each is one small statement, and most rows fire one or two: settling an image is not to be felt."""

    def change(row: str, sign: str) -> str:
        return (
            f"when {counts.format(row)} begin insert into counters (name, key, value, size)"
            f" values ('{counter}', {key.format(row)}, {sign}1, {sign}({size.format(row)}))"
            " on conflict (name, key) do update set value = value + excluded.value, size = size + excluded.size; end"
        )

    def change_of(row: str, sign: str) -> str:
        return change(row, sign).replace("when ", f"when ({moved}) and ", 1)

    return [
        f"create trigger count_{counter}_born after insert on {table} {change('new', '')}",
        f"create trigger count_{counter}_gone after delete on {table} {change('old', '-')}",
        f"create trigger count_{counter}_left after update of {columns} on {table} {change_of('old', '-')}",
        f"create trigger count_{counter}_came after update of {columns} on {table} {change_of('new', '')}",
    ]


_COUNTERS = (
    """
    create table counters (
        name text not null,
        key text not null,
        value integer not null,
        size integer not null,
        primary key (name, key)
    ) strict, without rowid
    """,
    "insert into counters select 'images', state, count(*), 0 from images group by state",
    "insert into counters select 'generations', state, count(*), 0 from generations group by state",
    "insert into counters select 'copies', store, count(*), 0 from copies where state = 'confirmed' group by store",
    "insert into counters select 'ticks', job, count(*), 0 from ticks group by job",
    """
    insert into counters select 'spool', state, count(*), coalesce(sum(size), 0)
    from images where state = 'spooled' group by state
    """,
    # By hour: a status of the last day adds up 23 of them, and looks at the images of one.
    """
    insert into counters select 'archived', substr(archived_at, 1, 13), count(*), coalesce(sum(size), 0)
    from images where archived_at is not null group by 2
    """,
    *_follow("images", "images", "{}.state", columns="state", moved="old.state <> new.state"),
    *_follow(
        "images",
        "spool",
        "{}.state",
        columns="state, size",
        moved="old.state <> new.state or old.size is not new.size",
        counts="{}.state = 'spooled'",
        size="coalesce({}.size, 0)",
    ),
    *_follow(
        "images",
        "archived",
        "substr({}.archived_at, 1, 13)",
        columns="archived_at, size",
        moved="old.archived_at is not new.archived_at or old.size is not new.size",
        counts="{}.archived_at is not null",
        size="coalesce({}.size, 0)",
    ),
    *_follow("generations", "generations", "{}.state", columns="state", moved="old.state <> new.state"),
    *_follow(
        "copies",
        "copies",
        "{}.store",
        columns="state, store",
        moved="old.state <> new.state or old.store <> new.store",
        counts="{}.state = 'confirmed'",
    ),
    *_follow("ticks", "ticks", "{}.job", columns="job", moved="old.job <> new.job"),
)

_WAITS = "state in ('pending', 'spooled')"
_INDEXES = (
    # In the order of deadlines, with all that decides whether an image is passed over: a claim looks at the row of what
    # it may have, and not at a million rows of what it may not.
    "drop index images_due",
    f"create index images_due on images (deadline, seq, state, not_before, attempted_at, source_host) where {_WAITS}",
    # In the order in which they may be tried: those that may be tried at once come first, as ''.
    f"""
    create index images_next on images (state, coalesce(not_before, ''), created_at, source_host, deadline)
    where {_WAITS}
    """,
    f"""
    create index images_attempted on images (coalesce(attempted_at, ''), state)
    where {_WAITS} and not_before is not null
    """,
    "create index images_asleep on images (created_at) where state = 'pending' and not_before is not null",
    # When half of the life of a link is over, spelled as in the view `at_risk`.
    """
    create index images_risk on images
        (strftime('%Y-%m-%dT%H:%M:%fZ', (julianday(created_at) + julianday(deadline)) / 2))
    where state = 'pending'
    """,
    "create index images_hopeless on images (give_up_at) where state = 'pending' and refused_before_at is not null",
    f"""
    create index images_unconfirmed on images (fetched_at)
    where {_WAITS} and fetched_at is not null and error is not null
    """,
    "create index images_spool on images (spool) where spool is not null",
    "create index images_lost on images (created_at, id) where state = 'lost'",
    "create index images_odd on images (archived_at) where state = 'stored' and verdict <> 'ok'",
    # The kinds of requests that are planned, each with what is due first.
    """
    create index generations_wanted on generations (provider, stores, n, coalesce(not_before, ''), job)
    where state = 'planned'
    """,
    """
    create index generations_turn on generations (provider, priority desc, seq, not_before, job)
    where state = 'planned'
    """,
    """
    create index generations_paused on generations (provider, not_before)
    where state = 'planned' and held = 0 and not_before is not null
    """,
    "create index generations_reusing on generations (provider) where state = 'planned' and reuse_s is not null",
    """
    create index generations_polls on generations (provider, not_before)
    where state = 'accepted' and batch_id is null
    """,
    "create index generations_polled on generations (owner) where state = 'accepted' and polled_until is not null",
    "create index generations_doubtful on generations (provider) where state = 'unknown' and written_off_at is null",
    "create index generations_other on generations (state) where state <> 'completed'",
    "create index generations_job on generations (job) where job is not null",
    "create index generations_success on generations (provider) where state = 'completed' and origin <> 'backfill'",
    "create index generations_errors on generations (provider) where error is not null",
    "drop index generations_batch",
    "create index generations_batch on generations (batch_id, state) where batch_id is not null",
)
