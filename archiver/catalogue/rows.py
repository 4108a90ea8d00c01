"""The values that go into and out of the catalogue, and the inserts that more than one table's file needs.

A value here is written or read by the pipeline; nothing here opens a transaction.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from archiver.catalogue.database import Connection, Row, as_text, as_time
from archiver.catalogue.evidence import evidence_json
from archiver.core.likeness import fingerprint
from archiver.core.model import Ask, Evidence, Fetched, ImageInfo, Json, Receipt, Ticket
from archiver.core.tempurl import TemporaryURL


@dataclass(frozen=True, slots=True, kw_only=True)
class InputRow:
    """An image that goes into a generation: its digest, and where its bytes are: a file, or an archived image. An image
    that is archived already is known by its digest, whatever file it came from."""

    sha256: str
    content_type: str
    path: str | None = None
    image_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A generation to be planned (or, for a backfill, already paid elsewhere). `continues` is the generation whose
    dialogue it goes on with. `settings` are what its provider's section puts into every request; images of an equal
    request that is not older than `reuse` serve for this one."""

    id: str
    origin: str
    prompt: str
    provider: str | None
    model: str | None
    stores: tuple[str, ...]
    n: int = 1
    size: str | None = None
    job: str | None = None
    position: int | None = None
    priority: int = 0
    tags: tuple[str, ...] = ()
    metadata: dict[str, Json] = field(default_factory=dict)
    created_at: datetime | None = None
    parameters: Mapping[str, Json] = field(default_factory=dict)
    inputs: tuple[InputRow, ...] = ()
    continues: str | None = None
    settings: Mapping[str, object] = field(default_factory=dict)
    reuse: timedelta | None = None

    @property
    def fingerprint(self) -> str | None:
        """What the request is known by when the same is wanted again; None for one that was made elsewhere."""
        if self.origin == "backfill":
            return None
        # A dialogue never changes: the id of the generation that it goes on with stands for all that was said.
        names = ("provider", "model", "prompt", "size", "n", "parameters", "continues", "settings")
        return fingerprint(
            {name: getattr(self, name) for name in names} | {"inputs": [item.sha256 for item in self.inputs]}
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One image of an answer on its way into the catalogue, with its deadline and the evidence for it.

    Either `url`, or `spool`, `sha256`, `size` and `info` for bytes that came inline and are in the spool already.
    """

    id: str
    index: int
    deadline: datetime
    deadline_from: str
    give_up_at: datetime
    evidence: tuple[Evidence, ...] = ()
    url: TemporaryURL | None = None
    revised_prompt: str | None = None
    spool: str | None = None
    sha256: str | None = None
    size: int | None = None
    info: ImageInfo | None = None
    role: str = "final"


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A generation that this process may now ask for (or poll, when it has a `handle`). Its `ask` is still without
    inputs and turns: `materials` says where they are."""

    ask: Ask
    provider: str
    attempts: int
    job: str | None
    created_at: datetime
    handle: str | None = None
    continues: str | None = None
    denied_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a generation stands: its state, who asked for it, and of whom."""

    state: str
    owner: str | None
    provider: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hopeless:
    """An image that may have to be given up: what `core.policy.is_lost` wants to know of it."""

    image_id: str
    attempts: int
    give_up_at: datetime
    refused_at: datetime
    refused_before_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What the pipeline decided after one transfer: the whole of it is written in one transaction.

    `receipts` are new copies, each with the key of the lineage record that tells of it (None: the record could not be
    written yet). `recorded` are copies confirmed earlier whose lineage record has been written now, as (store, lineage
    key). When anything is still wanted, the image waits until `not_before` with `error`. `refused` means that the
    source itself said no. `unspool` drops the spool file's name: its bytes were not what they had to be. `evidence` is
    what the source said of the image's end: it may bring the deadline nearer, and never moves it away.
    """

    ticket: Ticket
    fetched: Fetched | None = None
    receipts: tuple[tuple[Receipt, str | None], ...] = ()
    recorded: tuple[tuple[str, str], ...] = ()
    spooled: str | None = None
    unspool: bool = False
    not_before: datetime | None = None
    error: str | None = None
    refused: bool = False
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What a batch came to: the (image, claim) pairs that made their image stored, and the generations of which every
    image is."""

    images: frozenset[tuple[str, int]]
    generations: tuple[str, ...]


def insert_generation(db: Connection, draft: Draft, state: str, now: datetime, scheduled_for: datetime | None) -> None:
    """Write one generation row, inside the caller's transaction."""
    db.execute(
        """
        insert into generations (id, origin, job, scheduled_for, position, prompt, provider, model, size, n, priority,
            tags, metadata, stores, state, created_at, parameters, continues, fingerprint, reuse_s)
        values (:id, :origin, :job, :scheduled_for, :position, :prompt, :provider, :model, :size, :n, :priority,
            :tags, :metadata, :stores, :state, :created_at, :parameters, :continues, :fingerprint, :reuse_s)
        """,
        {
            "id": draft.id,
            "origin": draft.origin,
            "job": draft.job,
            "scheduled_for": as_text(scheduled_for) if scheduled_for else None,
            "position": draft.position,
            "prompt": draft.prompt,
            "provider": draft.provider,
            "model": draft.model,
            "size": draft.size,
            "n": draft.n,
            "priority": draft.priority,
            "tags": json.dumps(draft.tags, ensure_ascii=False),
            "metadata": json.dumps(draft.metadata, ensure_ascii=False),
            "stores": json.dumps(draft.stores, ensure_ascii=False),
            "state": state,
            "created_at": as_text(draft.created_at or now),
            "parameters": json.dumps(dict(draft.parameters), ensure_ascii=False, sort_keys=True),
            "continues": draft.continues,
            "fingerprint": draft.fingerprint,
            "reuse_s": max(int(draft.reuse.total_seconds()), 1) if draft.reuse else None,
        },
    )
    db.executemany(
        """
        insert into inputs (generation_id, position, sha256, content_type, path, image_id) values (?, ?, ?, ?, ?,
            coalesce(?, (select id from images where sha256 = ? order by seq limit 1)))
        """,
        [
            (draft.id, position, item.sha256, item.content_type, item.path, item.image_id, item.sha256)
            for position, item in enumerate(draft.inputs)
        ],
    )


def insert_arrival(db: Connection, generation_id: str, arrival: Arrival, stores: Sequence[str], now: datetime) -> None:
    """Write one image row and its wanted copies, inside the caller's transaction."""
    info = arrival.info
    db.execute(
        """
        insert into images (id, generation_id, idx, state, source, source_host, source_identity, deadline,
            deadline_from, give_up_at, evidence, revised_prompt, spool, sha256, size, content_type, extension, width,
            height, verdict, created_at, fetched_at, role, parent_image_id)
        values (:id, :generation_id, :idx, :state, :source, :host, :identity, :deadline, :deadline_from,
            :give_up_at, :evidence, :revised_prompt, :spool, :sha256, :size, :content_type, :extension, :width, :height,
            :verdict, :now, :fetched_at, :role, (
                select image_id from (
                    select position, image_id from inputs where generation_id = :generation_id
                    union all
                    -- Of a dialogue without an image given, the last final image is what is worked on.
                    select 1000000 - i.idx, i.id from generations as g join images as i on i.generation_id = g.continues
                    where g.id = :generation_id and i.role = 'final'
                ) where image_id is not null order by position limit 1
            ))
        """,
        {
            "id": arrival.id,
            "generation_id": generation_id,
            "idx": arrival.index,
            "state": "spooled" if arrival.spool else "pending",
            "source": str(arrival.url) if arrival.url else None,
            "host": arrival.url.authority if arrival.url else None,
            "identity": arrival.url.identity if arrival.url else None,
            "deadline": as_text(arrival.deadline),
            "deadline_from": arrival.deadline_from,
            "give_up_at": as_text(arrival.give_up_at),
            "evidence": evidence_json(arrival.evidence),
            "revised_prompt": arrival.revised_prompt,
            "spool": arrival.spool,
            "sha256": arrival.sha256,
            "size": arrival.size,
            "content_type": info.content_type if info else None,
            "extension": info.extension if info else None,
            "width": info.width if info else None,
            "height": info.height if info else None,
            "verdict": info.verdict if info else None,
            "now": as_text(now),
            "fetched_at": as_text(now) if arrival.spool else None,
            "role": arrival.role,
        },
    )
    if arrival.url:
        keep_url(db, arrival.id, arrival.url)
    db.executemany(
        "insert into copies (image_id, store, state) values (?, ?, 'wanted')",
        [(arrival.id, store) for store in stores],
    )


def keep_url(db: Connection, image_id: str, url: TemporaryURL) -> None:
    """Write down the URL of an image, in place of an older one, inside the caller's transaction."""
    db.execute("insert or replace into urls select seq, ? from images where id = ?", (url.reveal(), image_id))


def forget_url(db: Connection, image_id: str) -> None:
    """The image is safe, or given up: nobody needs its URL any more."""
    db.execute("delete from urls where seq = (select seq from images where id = ?)", (image_id,))


def note(
    db: Connection,
    now: datetime,
    kind: str,
    *,
    generation_id: str | None = None,
    image_id: str | None = None,
    store: str | None = None,
    detail: str | None = None,
) -> None:
    """Write one event, inside the caller's transaction."""
    db.execute(
        "insert into events (at, kind, generation_id, image_id, store, detail) values (?, ?, ?, ?, ?, ?)",
        (as_text(now), kind, generation_id, image_id, store, detail),
    )


def submission_of(row: Row) -> Submission:
    """A row of `generations` as what may be asked or polled."""
    ask = Ask(
        generation_id=str(row["id"]),
        prompt=str(row["prompt"]),
        model=str(row["model"]),
        size=None if row["size"] is None else str(row["size"]),
        n=int(row["n"] or 1),
        parameters=json.loads(str(row["parameters"])),
    )
    return Submission(
        ask=ask,
        provider=str(row["provider"]),
        attempts=int(row["attempts"] or 0),
        job=None if row["job"] is None else str(row["job"]),
        created_at=as_time(str(row["created_at"])),
        handle=None if row["handle"] is None else str(row["handle"]),
        continues=None if row["continues"] is None else str(row["continues"]),
        denied_at=None if row["denied_at"] is None else as_time(str(row["denied_at"])),
    )
