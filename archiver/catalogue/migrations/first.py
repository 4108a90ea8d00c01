"""The first schema, with the guards that refuse what must not be."""

from typing import Any


def refuse(table: str, name: str, states: tuple[str, ...], births: tuple[str, ...]) -> tuple[str, str]:
    """The two triggers that let a row of `table` move only along `states` (`from>to`), and be born only in `births`."""
    quoted = ", ".join(f"'{pair}'" for pair in states)
    born = ", ".join(f"'{state}'" for state in births)
    moves = f"""
    create trigger {name}_moves before update of state on {table}
        when new.state <> old.state and old.state || '>' || new.state not in ({quoted})
    begin select raise(abort, 'the state machine of {table} has no such transition'); end
    """
    birth = f"""
    create trigger {name}_births before insert on {table} when new.state not in ({born})
    begin select raise(abort, 'a row of {table} cannot be born in this state'); end
    """
    return moves, birth


def m001_first(db: Any) -> None:
    """Jobs, ticks, generations, images, copies, events; the guards; full-text search of prompts."""
    for statement in _FIRST:
        db.execute(statement)


FIRST_MOVES = (
    "planned>submitted",
    "planned>cancelled",
    "submitted>planned",
    "submitted>accepted",
    "submitted>completed",
    "submitted>failed",
    "submitted>unknown",
    "accepted>completed",
    "accepted>failed",
    "unknown>completed",
    "failed>completed",
)

_FIRST = (
    """
    create table jobs (
        name text primary key,
        schedule text not null,
        first_seen_at text not null
    ) strict
    """,
    """
    create table ticks (
        job text not null,
        scheduled_for text not null,
        created_at text not null,
        primary key (job, scheduled_for)
    ) strict, without rowid
    """,
    # The integer key is for the full-text index: rowids of a table without one may change in a VACUUM.
    """
    create table generations (
        seq integer primary key,
        id text not null unique,
        origin text not null check (origin in ('job', 'generate', 'backfill')),
        job text,
        scheduled_for text,
        position integer,
        prompt text not null,
        provider text,
        model text,
        size text,
        n integer not null default 1 check (n >= 1),
        priority integer not null default 0,
        tags text not null default '[]',
        metadata text not null default '{}',
        stores text not null,
        state text not null,
        attempts integer not null default 0,
        owner text,
        not_before text,
        created_at text not null,
        submitted_at text,
        answered_at text,
        handle text,
        request_id text,
        cost_micro integer check (cost_micro >= 0),
        error text,
        unique (job, scheduled_for, position),
        foreign key (job, scheduled_for) references ticks (job, scheduled_for)
    ) strict
    """,
    """
    create index generations_open on generations (state, provider)
    where state in ('planned', 'submitted', 'accepted')
    """,
    """
    create table images (
        seq integer primary key,
        id text not null unique,
        generation_id text not null references generations (id),
        idx integer not null,
        parent_image_id text references images (id),
        state text not null,
        source_url text,
        source text,
        source_identity text,
        deadline text not null,
        deadline_from text not null check (deadline_from in ('url', 'header', 'host', 'provider', 'default', 'inline')),
        give_up_at text not null,
        evidence text not null default '[]',
        revised_prompt text,
        attempts integer not null default 0,
        attempted_at text,
        not_before text,
        claim integer not null default 0,
        claimed_by text,
        claimed_until text,
        refused_at text,
        refused_before_at text,
        error text,
        spool text,
        sha256 text,
        size integer check (size >= 0),
        content_type text,
        extension text,
        width integer,
        height integer,
        verdict text,
        created_at text not null,
        fetched_at text,
        archived_at text,
        unique (generation_id, idx)
    ) strict
    """,
    "create index images_due on images (deadline) where state in ('pending', 'spooled')",
    "create index images_claimed on images (claimed_by) where claimed_by is not null",
    "create index images_identity on images (source_identity) where source_identity is not null",
    "create index images_states on images (state, archived_at, size)",
    "create index images_sha256 on images (sha256) where sha256 is not null",
    """
    create table copies (
        image_id text not null references images (id),
        store text not null,
        state text not null,
        key text,
        sha256 text,
        size integer check (size >= 0),
        etag text,
        proof text,
        confirmed_at text,
        lineage_key text,
        primary key (image_id, store)
    ) strict, without rowid
    """,
    "create unique index copies_key on copies (store, key) where state <> 'wanted'",
    "create index copies_by_key on copies (key) where key is not null",
    """
    create table events (
        id integer primary key,
        at text not null,
        kind text not null,
        generation_id text,
        image_id text,
        store text,
        detail text
    ) strict
    """,
    "create index events_image on events (image_id) where image_id is not null",
    "create index events_generation on events (generation_id) where generation_id is not null",
    *refuse("generations", "generation", FIRST_MOVES, ("planned", "completed")),
    *refuse(
        "images",
        "image",
        (
            "pending>spooled",
            "pending>stored",
            "pending>lost",
            "spooled>stored",
            "spooled>pending",
            "lost>pending",
            "stored>missing",
            "missing>spooled",
            "missing>stored",
        ),
        ("pending", "spooled"),
    ),
    *refuse("copies", "copy", ("wanted>confirmed", "confirmed>missing", "missing>wanted"), ("wanted",)),
    """
    create trigger image_proof before update of state on images when new.state = 'stored' and (
        new.sha256 is null
        or not exists (select 1 from copies where image_id = new.id)
        or exists (select 1 from copies where image_id = new.id and (state <> 'confirmed' or lineage_key is null))
    ) begin select raise(abort, 'an image is stored only when every wanted copy is confirmed and recorded'); end
    """,
    """
    create trigger copy_proof before update of state on copies when new.state = 'confirmed' and (
        new.sha256 is null or new.key is null or new.proof is null or new.confirmed_at is null
    ) begin select raise(abort, 'a copy is confirmed only with key, digest and proof'); end
    """,
    """
    create trigger copy_unconfirm before update of state on copies when new.state <> 'confirmed'
        and exists (select 1 from images where id = new.image_id and state = 'stored')
    begin select raise(abort, 'a stored image has no unconfirmed copy'); end
    """,
    """
    create trigger copy_late before insert on copies
        when exists (select 1 from images where id = new.image_id and state = 'stored')
    begin select raise(abort, 'a stored image has no unconfirmed copy'); end
    """,
    "create trigger events_fixed before update on events begin select raise(abort, 'events are append-only'); end",
    "create trigger events_kept before delete on events begin select raise(abort, 'events are append-only'); end",
    "create virtual table prompts using fts5 (prompt, content='generations', content_rowid='seq', tokenize='trigram')",
    """
    create trigger prompts_insert after insert on generations
    begin insert into prompts (rowid, prompt) values (new.seq, new.prompt); end
    """,
    """
    create trigger prompts_delete after delete on generations
    begin insert into prompts (prompts, rowid, prompt) values ('delete', old.seq, old.prompt); end
    """,
    """
    create trigger prompts_update after update of prompt on generations begin
        insert into prompts (prompts, rowid, prompt) values ('delete', old.seq, old.prompt);
        insert into prompts (rowid, prompt) values (new.seq, new.prompt);
    end
    """,
)
