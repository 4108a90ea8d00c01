"""Catalogues with something in them: the shortest way to a generation, an image or a settlement in a test.

Everything has numbers for ids and prompts, and one moment from which all times count.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from archiver.catalogue import Arrival, Catalogue, Draft, Settlement, database
from archiver.core.model import Fetched, ImageInfo, Receipt, Ticket
from archiver.core.tempurl import TemporaryURL

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
LEASE = timedelta(minutes=30)
PNG = ImageInfo(content_type="image/png", extension="png", width=8, height=6)
DIGEST = "5e" * 32
FILE = "catalogue.db"
sqlite: Any = vars(database)["sqlite"]
"""The SQLite that the catalogue chose for this platform."""


def opened(folder: Path) -> Catalogue:
    """The catalogue of a folder, made when there is none."""
    return Catalogue.open(folder, create=True)


def draft(number: int | str = 0, **changes: Any) -> Draft:
    """A generation of one image of a fox for two stores."""
    values: dict[str, Any] = {
        "id": f"g{number}",
        "origin": "generate",
        "prompt": f"a fox {number}",
        "provider": "apiyi",
        "model": "nano",
        "stores": ("here", "there"),
    }
    return Draft(**(values | changes))


def signed(number: int | str, signature: str = "first") -> TemporaryURL:
    """The URL of one object, signed for a week."""
    query = f"OSSAccessKeyId=TMP.3Kx&Expires=1795770000&Signature={signature}%3D"
    return TemporaryURL(f"https://bucket.oss-cn-hangzhou.aliyuncs.com/{number}.png?{query}")


def arrival(number: int | str = 0, **changes: Any) -> Arrival:
    """An image with a URL that dies in a week."""
    values: dict[str, Any] = {
        "id": f"i{number}",
        "index": 0,
        "url": signed(number),
        "deadline": NOW + 168 * HOUR,
        "deadline_from": "url",
        "give_up_at": NOW + 240 * HOUR,
    }
    return Arrival(**(values | changes))


def completed(catalogue: Catalogue, *arrivals: Arrival, number: int | str = 0, **changes: Any) -> str:
    """A generation that was asked for and answered with these images. Returns its id."""
    catalogue.generations.add([draft(number, **{"n": max(len(arrivals), 1)} | changes)], NOW)
    taken = catalogue.generations.begin_submit("apiyi", "asker", NOW, ids=[f"g{number}"])
    assert taken is not None
    assert catalogue.generations.complete(f"g{number}", arrivals, answered_at=NOW, now=NOW)
    return f"g{number}"


def claim_one(catalogue: Catalogue, owner: str = "worker", at: datetime = NOW, **options: Any) -> Ticket:
    """The next image that is due."""
    tickets = catalogue.images.claim(owner, at, LEASE, **options)
    assert len(tickets) == 1
    return tickets[0]


def fetched(at: datetime = NOW, sha256: str = DIGEST) -> Fetched:
    """Verified bytes of a small PNG."""
    return Fetched(sha256=sha256, size=68, info=PNG, at=at)


def receipts(
    ticket: Ticket, stores: Sequence[str] = ("here", "there"), record: str | None = "_lineage/1.jsonl"
) -> tuple[tuple[Receipt, str | None], ...]:
    """Proof of one copy in each store."""
    return tuple(
        (
            Receipt(
                store=store,
                key=f"images/{ticket.image_id}.png",
                sha256=DIGEST,
                size=68,
                etag=None,
                proof="checksum-sha256",
            ),
            record,
        )
        for store in stores
    )


def safe(ticket: Ticket, **changes: Any) -> Settlement:
    """Everything went well."""
    values: dict[str, Any] = {"ticket": ticket, "fetched": fetched(), "receipts": receipts(ticket)}
    return Settlement(**(values | changes))


def no(ticket: Ticket, at: datetime = NOW) -> Settlement:
    """The source itself refused."""
    return Settlement(ticket=ticket, not_before=at, error="404", refused=True)


def ask(catalogue: Catalogue, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    """What the file says, read past the house's own methods."""
    return [tuple(row) for row in raw(catalogue).execute(statement, values).fetchall()]


def raw(catalogue: Catalogue) -> Any:
    """The connection of this thread."""
    return catalogue._database.connection


def image_row(catalogue: Catalogue, image_id: str = "i0") -> dict[str, Any]:
    """One row of the table, column by column, and `url`, which has a table of its own."""
    statement = "select images.*, urls.url from images left join urls using (seq) where id = ?"
    return dict(raw(catalogue).execute(statement, (image_id,)).fetchone())


def kinds(catalogue: Catalogue) -> list[str]:
    """The events so far."""
    return [kind for (kind,) in ask(catalogue, "select kind from events order by id")]


def whole(catalogue: Catalogue) -> bool:
    """SQLite's own verdict on the file and on the index of prompts."""
    raw(catalogue).execute("insert into prompts (prompts) values ('integrity-check')")
    return ask(catalogue, "pragma integrity_check") == [("ok",)] and not ask(catalogue, "pragma foreign_key_check")
