"""The values that go into and out of the catalogue, and the note that everybody writes.

A value here is written or read by the pipeline; nothing here opens a transaction.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from archiver.catalogue.database import Connection, Row, as_text, as_time
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
