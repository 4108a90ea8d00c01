"""Taking in what was generated elsewhere: many images in a few statements, inside the caller's transaction.

SQLite sets up a savepoint for every statement that a guard may stop, and the index of prompts writes itself down at
each: so a table gets all of its new rows at once. It decides nothing about deadlines.
"""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from itertools import chain
from typing import Any

from archiver.catalogue.awaiting import is_fresher, refresh
from archiver.catalogue.database import Connection, Row, as_text
from archiver.catalogue.evidence import evidence_json
from archiver.catalogue.inserting import generation_values, insert_arrival, insert_generation
from archiver.catalogue.rows import Arrival, Draft, note

#: Rows in one statement: few sizes, so that few statements are ever compiled. SQLite lays the rows of one aside before
#: it writes them, in memory while they are less than 2 MB: no URL and no prompt is to lie in a file of its own.
_SIZES = (100, 20, 4, 1)
#: Characters of prompt, metadata and URL. What is longer is written alone.
_LONG = 4000
_IMAGE = (
    "seq id generation_id idx source source_host source_identity deadline deadline_from give_up_at evidence"
    " revised_prompt created_at role state"
)
_KNOWN = """
    select i.source_identity as identity, i.id, i.generation_id, i.state, i.source, i.deadline
    from json_each(?) as asked cross join images as i indexed by images_identity on i.source_identity = asked.value
    order by i.seq
"""
_NEXT = "select (select coalesce(max(seq), 0) from generations), (select coalesce(max(seq), 0) from images)"


def adopt(db: Connection, entries: Sequence[tuple[Draft, Arrival]], now: datetime) -> list[str]:
    """Take in images with their generations: `Images.adopt` says how. One word per entry, in their order."""
    words: list[str] = []
    fresh: dict[str, tuple[Draft, Arrival]] = {}
    known = _known(db, [identity_of(arrival) for _, arrival in entries])
    for draft, arrival in entries:
        identity = identity_of(arrival)
        if identity in fresh:  # the same line twice: the first one must be there before it is asked about
            _insert(db, fresh.values(), now)
            known |= _known(db, fresh)
            fresh.clear()
        if (row := known.get(identity)) is None:
            fresh[identity] = (draft, arrival)
            words.append("new")
        else:
            words.append(_again(db, row, draft, arrival, now))
            if words[-1] in ("refreshed", "requeued"):
                known |= _known(db, [identity])
    _insert(db, fresh.values(), now)
    return words


def identity_of(arrival: Arrival) -> str:
    """What an image is known by. Raises ValueError when it has no URL."""
    if arrival.url is None:
        raise ValueError("only an image with a URL can be adopted")
    return arrival.url.identity


def _known(db: Connection, identities: Iterable[str]) -> dict[str, Row]:
    """The images that are there already, each the one that was taken in last."""
    return {row["identity"]: row for row in db.execute(_KNOWN, (json.dumps(list(identities)),))}


def _again(db: Connection, known: Row, draft: Draft, arrival: Arrival, now: datetime) -> str:
    if draft.prompt and known["state"] in ("pending", "lost"):  # another file knew the URL alone
        db.execute(
            "update generations set prompt = ?, model = coalesce(model, ?)"
            " where id = ? and prompt = '' and origin = 'backfill'",
            (draft.prompt, draft.model, known["generation_id"]),
        )
    # Of a lost image the URL itself is gone; its redacted form carries a mark of the whole text.
    if known["state"] not in ("pending", "lost") or not is_fresher(arrival, known["source"], known["deadline"]):
        return "waiting" if known["state"] in ("pending", "spooled") else "known"
    refresh(db, known["id"], arrival)
    word = "requeued" if known["state"] == "lost" else "refreshed"
    note(db, now, word, image_id=known["id"])
    return word


def _insert(db: Connection, entries: Iterable[tuple[Draft, Arrival]], now: datetime) -> None:
    """Write generations with one image each, in their order. What descends from other images is written alone too: that
    is looked up one by one."""
    waiting: list[tuple[Draft, Arrival]] = []
    for draft, arrival in entries:
        length = len(draft.prompt) + len(str(draft.metadata)) + len(arrival.url.reveal() if arrival.url else "")
        if draft.inputs or draft.continues or length + len(arrival.revised_prompt or "") > _LONG:
            _insert_together(db, waiting, now)
            waiting.clear()
            insert_generation(db, draft, "completed", now, None)
            insert_arrival(db, draft.id, arrival, draft.stores, now)
        else:
            waiting.append((draft, arrival))
    _insert_together(db, waiting, now)


def _insert_together(db: Connection, entries: Sequence[tuple[Draft, Arrival]], now: datetime) -> None:
    generation, image = db.execute(_NEXT).fetchone()  # nobody else writes before this transaction ends
    generations, images, urls, copies = list[Any](), list[Any](), list[Any](), list[Any]()
    names, created = "", as_text(now)
    for number, (draft, arrival) in enumerate(entries, start=1):
        values = generation_values(draft, "completed", now, None)
        names = names or " ".join(values)
        generations.append((generation + number, *values.values()))
        images.append((image + number, *_image_values(draft, arrival, created)))
        urls.append((image + number, arrival.url.reveal() if arrival.url else None))
        copies += [(arrival.id, store, "wanted") for store in draft.stores]
    _insert_rows(db, "generations", f"seq {names}", generations)
    _insert_rows(db, "images", _IMAGE, images)
    _insert_rows(db, "urls", "seq url", urls)
    _insert_rows(db, "copies", "image_id store state", copies)


def _image_values(draft: Draft, arrival: Arrival, created: str) -> tuple[Any, ...]:
    """The columns of `_IMAGE`, but for the first."""
    url = arrival.url
    assert url is not None  # noqa: S101 - `identity_of` was asked
    return (
        arrival.id,
        draft.id,
        arrival.index,
        str(url),
        url.authority,
        url.identity,
        as_text(arrival.deadline),
        arrival.deadline_from,
        as_text(arrival.give_up_at),
        evidence_json(arrival.evidence),
        arrival.revised_prompt,
        created,
        arrival.role,
        "pending",
    )


def _insert_rows(db: Connection, table: str, names: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Write rows, up to a hundred in one statement."""
    begun = 0
    for size in _SIZES:
        while len(rows) - begun >= size:
            values = rows[begun] if size == 1 else tuple(chain.from_iterable(rows[begun : begun + size]))
            db.execute(_statement(table, names, size), values)
            begun += size


@lru_cache(maxsize=100)
def _statement(table: str, names: str, size: int) -> str:
    columns = names.split()
    row = f"({', '.join('?' * len(columns))})"
    return f"insert into {table} ({', '.join(columns)}) values {', '.join([row] * size)}"
