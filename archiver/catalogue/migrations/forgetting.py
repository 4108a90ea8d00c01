"""What lets an image be forgotten, and old events go: two doors in guards that stay shut for everything else."""

from typing import Any

from archiver.catalogue.migrations.first import refuse


def m009_forgetting(db: Any) -> None:
    """The state `forgotten` and what it may still tell; unfinished forgettings; events that may go."""
    for statement in _FORGETTING:
        db.execute(statement)


_MOVES_OF_IMAGES = (
    "pending>spooled",
    "pending>stored",
    "pending>lost",
    "pending>forgotten",
    "spooled>stored",
    "spooled>pending",
    "spooled>forgotten",
    "lost>pending",
    "lost>forgotten",
    "stored>missing",
    "stored>forgotten",
    "missing>spooled",
    "missing>stored",
    "missing>forgotten",
)
_FORGETTING = (
    "alter table images add column forgotten_at text",
    "alter table generations add column forgotten_at text",
    # Which stores (a JSON list) somebody has to visit yet, until the image is gone everywhere; and who does it.
    """
    create table forgettings (
        image_id text primary key references images (id),
        owner text not null,
        begun_at text not null,
        stores text not null
    ) strict, without rowid
    """,
    "drop trigger image_moves",
    refuse("images", "image", _MOVES_OF_IMAGES, ())[0],
    """
    create trigger image_forgotten before update on images when new.state = 'forgotten' and (
        new.forgotten_at is null or new.evidence <> '[]' or coalesce(new.source, new.source_host, new.source_identity,
            new.revised_prompt, new.error, new.spool, new.sha256, new.size, new.claimed_by) is not null
        or exists (select 1 from urls where seq = new.seq)
    ) begin select raise(abort, 'a forgotten image tells nothing'); end
    """,
    """
    create trigger copy_forgotten before insert on copies
        when exists (select 1 from images where id = new.image_id and state = 'forgotten')
    begin select raise(abort, 'a forgotten image has no new copy'); end
    """,
    """
    create trigger url_forgotten before insert on urls
        when exists (select 1 from images where seq = new.seq and state = 'forgotten')
    begin select raise(abort, 'a forgotten image has no URL'); end
    """,
    # The one row says which events may go, and of whom details may be erased. It refers to a row that cannot be, which
    # is asked at the commit: who does not take it away again in the same transaction has done nothing.
    """
    create table event_removals (
        only_row integer primary key check (only_row = 1),
        before text,
        image_id text,
        generation_id text,
        taken_back integer not null default 2 check (taken_back <> only_row)
            references event_removals (only_row) deferrable initially deferred
    ) strict
    """,
    "drop trigger events_kept",
    """
    create trigger events_kept before delete on events when old.kind in ('lost', 'forgotten', 'rebuilt', 'restored')
        or not exists (select 1 from event_removals where old.at < before)
        or exists (select 1 from images
            where id = old.image_id and state not in ('stored', 'lost', 'forgotten'))
        or exists (select 1 from generations
            where id = old.generation_id and state not in ('completed', 'cancelled', 'reused'))
    begin select raise(abort, 'events are append-only'); end
    """,
    "drop trigger events_fixed",
    """
    create trigger events_fixed before update on events when new.detail is not null or new.id <> old.id
        or new.at <> old.at or new.kind <> old.kind or new.generation_id is not old.generation_id
        or new.image_id is not old.image_id or new.store is not old.store
        or not exists (select 1 from event_removals
            where image_id = old.image_id or generation_id = old.generation_id)
    begin select raise(abort, 'events are append-only'); end
    """,
)
