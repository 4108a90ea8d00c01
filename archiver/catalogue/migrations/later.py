"""What came after the first schema, in its order."""

from typing import Any

from archiver.catalogue.migrations.first import FIRST_MOVES, refuse


def m002_budgets(db: Any) -> None:
    """Budgets, what a generation was expected to cost and where that counts, and an operator's word on an outcome."""
    for statement in _BUDGETS:
        db.execute(statement)


_BUDGETS = (
    """
    create table budgets (
        scope text not null,
        period text not null,
        limit_micro integer not null check (limit_micro >= 0),
        spent_micro integer not null default 0 check (spent_micro >= 0),
        primary key (scope, period),
        check (spent_micro <= limit_micro)
    ) strict, without rowid
    """,
    "alter table generations add column expected_micro integer check (expected_micro >= 0)",
    # A JSON list of [scope, period]: the budgets that hold the cost, so that it is given back to the right day.
    "alter table generations add column charged_to text not null default '[]'",
    "alter table generations add column held integer not null default 0 check (held in (0, 1))",
    "alter table generations add column written_off_at text",
    "drop trigger generation_moves",
    refuse("generations", "generation", (*FIRST_MOVES, "unknown>planned", "failed>planned"), ())[0],
)


def m003_source_host(db: Any) -> None:
    """The host (with its port) that an image is fetched from, and when a store last confirmed a copy."""
    db.execute("alter table images add column source_host text")
    db.execute("create index images_hosts on images (source_host) where state = 'pending'")
    db.execute("create index copies_confirmed on copies (store, confirmed_at) where confirmed_at is not null")


def m004_alerts(db: Any) -> None:
    """What people were told of, and indexes for what is looked at twice a minute."""
    db.execute(
        """
        create table alerts (
            kind text not null,
            subject text not null,
            level text not null check (level in ('warn', 'page')),
            text text not null,
            since text not null,
            logged_at text,
            sent_at text,
            primary key (kind, subject)
        ) strict, without rowid
        """
    )
    db.execute("create index events_lost on events (at) where kind = 'lost'")
    db.execute("create index generations_unknown on generations (provider) where state = 'unknown'")


def m005_urls(db: Any) -> None:
    """Temporary URLs in a table of their own, whose rows all go in the end: SQLite zeroes a page that becomes empty,
    but of a page that it splits or merges it leaves stale bytes in the gap, `secure_delete` or not."""
    db.execute("create table urls (seq integer primary key references images (seq), url text not null) strict")
    db.execute("insert into urls select seq, source_url from images where source_url is not null")
    db.execute("alter table images drop column source_url")


def m006_requests(db: Any) -> None:
    """What goes into a request besides its prompt, and what an answer says besides its images."""
    for statement in _REQUESTS:
        db.execute(statement)


_MOVES_OF_REQUESTS = (
    *FIRST_MOVES,
    "unknown>planned",
    "unknown>accepted",
    "failed>planned",
    "planned>reused",
    "planned>completed",
)
_MOVES_OF_BATCHES = (
    "gathered>ordered",
    "gathered>withdrawn",
    "ordered>withdrawn",
    "ordered>accepted",
    "ordered>unknown",
    "accepted>ended",
    "ended>collected",
)
_REQUESTS = (
    "alter table generations add column parameters text not null default '{}'",
    "alter table generations add column continues text references generations (id)",
    "alter table generations add column reply text",
    "alter table generations add column facts text not null default '{}'",
    "alter table generations add column mode text not null default 'now' check (mode in ('now', 'batch'))",
    "alter table generations add column fingerprint text",
    "alter table generations add column reused_from text references generations (id)",
    # Seconds: images of an equal request that is not older serve for this one. Null: it is asked in any case.
    "alter table generations add column reuse_s integer check (reuse_s > 0)",
    "create index generations_alike on generations (fingerprint) where fingerprint is not null",
    "alter table images add column role text not null default 'final' check (role in ('final', 'draft'))",
    """
    create table inputs (
        generation_id text not null references generations (id),
        position integer not null,
        sha256 text not null check (length(sha256) = 64),
        content_type text not null,
        path text,
        image_id text references images (id),
        primary key (generation_id, position)
    ) strict, without rowid
    """,
    "create index inputs_sha256 on inputs (sha256)",
    # Many requests that were handed over together. Until when somebody works on it: nobody else does meanwhile.
    """
    create table batches (
        id text primary key,
        provider text not null,
        state text not null,
        n integer not null check (n >= 1),
        handle text,
        said text,
        files text not null default '[]',
        rest_is_free integer not null default 0 check (rest_is_free in (0, 1)),
        done integer,
        failed integer,
        created_at text not null,
        submitted_at text,
        accepted_at text,
        polled_at text,
        ended_at text,
        expires_at text,
        collected_at text,
        error text,
        owner text,
        not_before text,
        leased_until text,
        check (state not in ('accepted', 'ended', 'collected') or handle is not null)
    ) strict, without rowid
    """,
    *refuse("batches", "batch", _MOVES_OF_BATCHES, ("gathered",)),
    "alter table generations add column batch_id text references batches (id)",
    "create index generations_batch on generations (batch_id) where batch_id is not null",
    "create index events_keys on events (at) where kind in ('key-refused', 'key-works')",
    "create index inputs_image on inputs (image_id) where image_id is not null",
    "create index images_parent on images (parent_image_id) where parent_image_id is not null",
    # How many final images came: counted once, so that a report over a million rows need not count them again.
    "alter table generations add column came integer check (came >= 0)",
    """
    update generations set came = (select count(*) from images where generation_id = generations.id)
    where state = 'completed' and submitted_at is not null
    """,
    # Among how many images the cost is divided, where not all of them are rows: a catalogue that was rebuilt.
    "alter table generations add column shares integer check (shares >= 1)",
    # What an operator asked for again was charged before, perhaps: that stays known when the row tells of the new try.
    """
    create table earlier_requests (
        id integer primary key,
        generation_id text not null references generations (id),
        state text not null check (state in ('failed', 'unknown')),
        submitted_at text not null,
        answered_at text,
        request_id text,
        expected_micro integer check (expected_micro >= 0),
        error text
    ) strict
    """,
    "create index earlier_requests_submitted on earlier_requests (submitted_at)",
    "create index generations_submitted on generations (submitted_at) where submitted_at is not null",
    "create index generations_reused on generations (created_at) where state = 'reused'",
    """
    create index generations_unrewarded on generations (submitted_at)
    where state in ('failed', 'unknown') or came < n
    """,
    # Until when somebody polls accepted work: nobody else does meanwhile.
    "alter table generations add column polled_until text",
    "alter table generations add column denied_at text",
    "create index generations_handle on generations (handle) where handle is not null",
    # When the provider was last asked for a fresh URL, and how often.
    "alter table images add column renewal_at text",
    "alter table images add column renewals integer not null default 0",
    "drop trigger generation_moves",
    refuse("generations", "generation", _MOVES_OF_REQUESTS, ())[0],
)


def m007_listings(db: Any) -> None:
    """What listings of a million images need. The partial ones can serve no question about what is still open: who
    claims work must never be led astray by them."""
    for statement in _LISTINGS:
        db.execute(statement)


_LISTINGS = (
    "create index images_created on images (created_at)",
    "create index images_by_size on images (size) where size is not null",
    "create index generations_answered on generations (provider, model) where state = 'completed'",
    "create index generations_model on generations (model) where state = 'completed'",
    "create index generations_cost on generations (cost_micro) where state = 'completed' and cost_micro is not null",
    "create index generations_continues on generations (continues) where continues is not null",
    # The tags of a generation again, by tag: a list in a column has no index.
    """
    create table generation_tags (
        tag text not null,
        seq integer not null references generations (seq),
        primary key (tag, seq)
    ) strict, without rowid
    """,
    "insert or ignore into generation_tags select value, seq from generations, json_each(tags)",
    """
    create trigger tags_insert after insert on generations when new.tags <> '[]'
    begin insert or ignore into generation_tags select value, new.seq from json_each(new.tags); end
    """,
    """
    create trigger tags_update after update of tags on generations begin
        delete from generation_tags where seq = old.seq and tag in (select value from json_each(old.tags));
        insert or ignore into generation_tags select value, new.seq from json_each(new.tags);
    end
    """,
    """
    create trigger tags_delete before delete on generations
    begin delete from generation_tags where seq = old.seq and tag in (select value from json_each(old.tags)); end
    """,
)
