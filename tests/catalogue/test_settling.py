"""What a transfer came to: written once, under its claim, and without leaving a secret behind."""

import random
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from archiver.catalogue import Catalogue, Settlement, as_text
from archiver.core.model import Evidence, Ticket
from tests.catalogue.filling import (
    DIGEST,
    HOUR,
    NOW,
    PNG,
    arrival,
    ask,
    claim_one,
    completed,
    fetched,
    image_row,
    kinds,
    no,
    opened,
    raw,
    receipts,
    safe,
    signed,
)

SOON = NOW + timedelta(seconds=20)


def settle(catalogue: Catalogue, *items: Settlement, at: object = NOW) -> list[str]:
    """Write them. Returns the images that are stored now."""
    return sorted(image for image, _ in catalogue.images.settle(items, at).images)  # type: ignore[arg-type]


def copies(catalogue: Catalogue) -> list[tuple[object, ...]]:
    """Store, state, key and record of every copy."""
    return ask(catalogue, "select store, state, key, lineage_key from copies order by image_id, store")


def partial(ticket: Ticket, **changes: object) -> Settlement:
    """One store confirmed, the other failed."""
    values: dict[str, object] = {
        "ticket": ticket,
        "fetched": fetched(),
        "receipts": receipts(ticket, ["here"]),
        "not_before": SOON,
        "error": "there: timeout",
    }
    return Settlement(**(values | changes))  # type: ignore[arg-type]


def test_stored_keeps_the_facts_and_forgets_the_url(catalogue: Catalogue) -> None:
    """Times, digest, shape and proof are in the rows; the claim is over; a clean life writes no event."""
    completed(catalogue, arrival())
    ticket = claim_one(catalogue)
    done = NOW + timedelta(seconds=3)
    item = safe(ticket, fetched=fetched(NOW + timedelta(seconds=2)))
    settled = catalogue.images.settle([item], done)
    assert (settled.images, settled.generations) == (frozenset({("i0", 1)}), ("g0",))
    row = image_row(catalogue)
    assert (row["state"], row["attempts"], row["claimed_by"], row["error"]) == ("stored", 1, None, None)
    assert (row["archived_at"], row["fetched_at"]) == (as_text(done), "2026-11-20T09:00:02.000Z")
    assert (row["sha256"], row["size"], row["extension"]) == (DIGEST, 68, "png")
    assert (row["content_type"], row["width"], row["height"], row["verdict"]) == ("image/png", 8, 6, "ok")
    assert (row["url"], row["source"], row["spool"]) == (None, str(signed(0)), None)
    found = ask(catalogue, "select store, state, key, sha256, size, proof, confirmed_at, lineage_key from copies")
    assert found == [
        (store, "confirmed", "images/i0.png", DIGEST, 68, "checksum-sha256", as_text(done), "_lineage/1.jsonl")
        for store in ("here", "there")
    ]
    assert kinds(catalogue) == []
    assert catalogue.images.claim("worker", NOW + 999 * HOUR, HOUR) == []


def test_a_generation_is_whole_when_its_last_image_is_stored(catalogue: Catalogue) -> None:
    """Not before; then its answer file has done its duty."""
    completed(catalogue, arrival(0), arrival(1, index=1))
    first, second = catalogue.images.claim("worker", NOW, HOUR, limit=2)
    assert not catalogue.images.is_whole("g0")
    assert catalogue.images.settle([safe(first)], NOW).generations == ()
    assert not catalogue.images.is_whole("g0")
    assert catalogue.images.settle([safe(second)], NOW).generations == ("g0",)
    assert catalogue.images.is_whole("g0")
    assert not catalogue.images.is_whole("nobody")


def test_a_batch_is_settled_item_by_item_in_one_transaction(catalogue: Catalogue) -> None:
    """Stored, postponed and stale side by side."""
    completed(catalogue, *(arrival(number, index=number) for number in range(3)))
    tickets = catalogue.images.claim("worker", NOW, HOUR, limit=3)
    catalogue.images.free("worker")
    tickets[:2] = catalogue.images.claim("worker", NOW, HOUR, limit=2)
    assert settle(catalogue, safe(tickets[0]), no(tickets[1]), safe(tickets[2])) == ["i0"]
    assert ask(catalogue, "select state, attempts from images order by id") == [
        ("stored", 1),
        ("pending", 1),
        ("pending", 0),
    ]


def test_postponed_waits_with_its_reason(catalogue: Catalogue) -> None:
    """The URL stays, the claim ends, and the event says why."""
    completed(catalogue, arrival())
    assert settle(catalogue, Settlement(ticket=claim_one(catalogue), not_before=SOON, error="timeout")) == []
    row = image_row(catalogue)
    assert (row["state"], row["not_before"], row["error"]) == ("pending", as_text(SOON), "timeout")
    assert (row["claimed_by"], row["attempts"], row["attempted_at"]) == (None, 1, as_text(NOW))
    assert row["url"] == signed(0).reveal()
    assert ask(catalogue, "select at, kind, image_id, detail from events") == [
        (as_text(NOW), "postponed", "i0", "timeout")
    ]


def test_rescued_bytes_no_longer_depend_on_the_url(catalogue: Catalogue) -> None:
    """Fetched, but no store took it; the next ticket names the spool file and the digest."""
    completed(catalogue, arrival())
    item = partial(claim_one(catalogue), receipts=(), spooled="i0.png", error="here: down; there: down")
    assert settle(catalogue, item) == []
    assert (image_row(catalogue)["state"], image_row(catalogue)["sha256"]) == ("spooled", DIGEST)
    assert kinds(catalogue) == ["rescued"]
    assert catalogue.images.spool_names() == {"i0.png"}
    ticket = claim_one(catalogue, at=SOON)
    assert (ticket.spooled, ticket.sha256) == ("i0.png", DIGEST)
    assert settle(catalogue, safe(ticket, fetched=None), at=SOON) == ["i0"]
    assert catalogue.images.spool_names() == set()


def test_only_the_missing_copy_is_tried_again(catalogue: Catalogue) -> None:
    """One of two stores confirmed: its copy stays, the other one is wanted."""
    completed(catalogue, arrival())
    assert settle(catalogue, partial(claim_one(catalogue), spooled="i0.png")) == []
    assert copies(catalogue) == [
        ("here", "confirmed", "images/i0.png", "_lineage/1.jsonl"),
        ("there", "wanted", None, None),
    ]
    ticket = claim_one(catalogue, at=SOON)
    assert [want.store for want in ticket.wants] == ["there"]
    second = receipts(ticket, ["there"], "_lineage/2.jsonl")
    assert settle(catalogue, safe(ticket, receipts=second, fetched=None), at=SOON) == ["i0"]
    assert copies(catalogue) == [
        ("here", "confirmed", "images/i0.png", "_lineage/1.jsonl"),
        ("there", "confirmed", "images/i0.png", "_lineage/2.jsonl"),
    ]


def test_a_confirmed_copy_is_not_confirmed_twice(catalogue: Catalogue) -> None:
    """A second receipt for the same store changes nothing."""
    completed(catalogue, arrival())
    settle(catalogue, partial(claim_one(catalogue), spooled="i0.png"))
    before = copies(catalogue)
    ticket = claim_one(catalogue, at=SOON)
    settle(catalogue, partial(ticket, receipts=receipts(ticket, ["here"], "other")))
    assert copies(catalogue) == before


def test_stored_waits_for_the_lineage_record(catalogue: Catalogue) -> None:
    """Every copy is confirmed, but one record could not be written: nothing is wanted, and still it is not stored."""
    completed(catalogue, arrival())
    ticket = claim_one(catalogue)
    mixed = (receipts(ticket, ["here"])[0], receipts(ticket, ["there"], None)[0])
    assert settle(catalogue, safe(ticket, receipts=mixed, not_before=SOON, error="lineage", spooled="i0.png")) == []
    assert [row["store"] for row in catalogue.images.unrecorded("i0")] == ["there"]
    ticket = claim_one(catalogue, at=SOON)
    assert ticket.wants == ()
    item = Settlement(ticket=ticket, recorded=(("here", "too late"), ("there", "_lineage/9.jsonl")))
    assert settle(catalogue, item, at=SOON) == ["i0"]
    assert [record for *_, record in copies(catalogue)] == ["_lineage/1.jsonl", "_lineage/9.jsonl"]
    assert catalogue.images.unrecorded("i0") == []


def test_rotten_spool_files_lead_back_to_the_url(catalogue: Catalogue) -> None:
    """The name of the file is dropped, and the URL is fetched again."""
    completed(catalogue, arrival())
    settle(catalogue, partial(claim_one(catalogue), receipts=(), spooled="i0.png"))
    ticket = claim_one(catalogue, at=SOON)
    item = Settlement(ticket=ticket, unspool=True, not_before=SOON, error="wrong digest")
    assert settle(catalogue, item, at=SOON) == []
    row = image_row(catalogue)
    assert (row["state"], row["spool"], row["url"]) == ("pending", None, signed(0).reveal())
    assert kinds(catalogue) == ["rescued", "rotten"]
    assert claim_one(catalogue, at=SOON).spooled is None


def test_a_second_rescue_or_a_rot_without_spool_only_postpones(catalogue: Catalogue) -> None:
    """Neither is a move that the state machine knows."""
    completed(catalogue, arrival(0), arrival(1, index=1, url=None, spool="i1.png", sha256=DIGEST, size=68, info=PNG))
    pending, spooled = catalogue.images.claim("worker", NOW, HOUR, limit=2)
    again = partial(spooled, receipts=(), spooled="other.png")
    assert settle(catalogue, Settlement(ticket=pending, unspool=True, error="x"), again) == []
    assert ask(catalogue, "select state, spool from images order by id") == [("pending", None), ("spooled", "i1.png")]
    assert kinds(catalogue) == ["postponed", "postponed"]


def test_only_the_last_two_tries_count_as_refusals(catalogue: Catalogue) -> None:
    """Anything else in between, and the counting begins anew: one "no" never means lost."""
    completed(catalogue, arrival())
    seen = []
    for minute, refused in enumerate([True, True, False, True, True, True]):
        at = NOW + timedelta(minutes=minute)
        ticket = claim_one(catalogue, at=at)
        settle(catalogue, Settlement(ticket=ticket, not_before=at, error="e", refused=refused), at=at)
        row = image_row(catalogue)
        seen.append((row["refused_before_at"], row["refused_at"]))
    moments = [as_text(NOW + timedelta(minutes=minute)) for minute in range(6)]
    assert seen == [
        (None, moments[0]),
        (moments[0], moments[1]),
        (None, None),
        (None, moments[3]),
        (moments[3], moments[4]),
        (moments[4], moments[5]),
    ]


def test_first_fetch_is_remembered(catalogue: Catalogue) -> None:
    """`fetched_at` is when verified bytes were first had."""
    completed(catalogue, arrival())
    settle(catalogue, partial(claim_one(catalogue)))
    settle(catalogue, safe(claim_one(catalogue, at=SOON), fetched=fetched(SOON)), at=SOON)
    assert image_row(catalogue)["fetched_at"] == as_text(NOW)


def traces(folder: Path, needle: bytes) -> dict[str, int]:
    """How often some bytes are found in each file of the catalogue."""
    return {path.name: path.read_bytes().count(needle) for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("end", ["stored", "lost"])
def test_no_signature_stays_in_any_file(tmp_path: Path, end: str) -> None:
    """Database, log and shared memory: after the URL is erased and the log emptied, not one copy is left on disk."""
    catalogue = opened(tmp_path)
    secret = "needle-in-every-signature"
    completed(catalogue, *(arrival(number, index=number, url=signed(number, secret)) for number in range(60)))
    assert sum(traces(tmp_path, secret.encode()).values()) >= 60
    tickets = catalogue.images.claim("worker", NOW, HOUR, limit=60)
    catalogue.images.settle([no(ticket) for ticket in tickets], NOW)
    if end == "stored":
        again = catalogue.images.claim("worker", NOW, HOUR, limit=60)
        assert len(catalogue.images.settle([safe(ticket) for ticket in again], NOW).images) == 60
    else:
        assert all(catalogue.images.lose(ticket.image_id, NOW) for ticket in tickets)
    catalogue.scrub()
    assert traces(tmp_path, secret.encode()) == {"catalogue.db": 0, "catalogue.db-shm": 0, "catalogue.db-wal": 0}
    assert traces(tmp_path, b"OSSAccessKeyId")["catalogue.db"] == 0
    assert traces(tmp_path, b"bucket.oss-cn-hangzhou")["catalogue.db"] >= 60
    catalogue.close()
    assert traces(tmp_path, secret.encode()) == {"catalogue.db": 0}


def ends(ticket: Ticket, chance: random.Random) -> Settlement:
    """Any end of an attempt."""
    some = receipts(ticket, ("here",), chance.choice([None, "_lineage/1.jsonl"]))
    later = [Evidence(source="header", at=NOW + timedelta(hours=chance.randrange(1, 300)), detail="expires")]
    found: Settlement = chance.choice(
        [
            safe(ticket),
            safe(ticket, evidence=tuple(later)),
            safe(ticket, fetched=fetched(sha256="6f" * 32)),
            safe(ticket, fetched=None if ticket.sha256 else fetched()),
            safe(ticket, receipts=some, spooled="file", error="there: down", not_before=SOON, evidence=tuple(later)),
            no(ticket, SOON),
            Settlement(ticket=replace(ticket, claim=ticket.claim + 1), receipts=receipts(ticket)),
            Settlement(ticket=ticket, unspool=True, error="rotten"),
        ]
    )
    return found


@pytest.mark.parametrize("seed", [pytest.param(random.randrange(2**32), id=f"batch {number}") for number in range(8)])
def test_many_at_once_are_settled_as_one_by_one(tmp_path: Path, seed: int) -> None:
    """Every row of every table, also where one claim is settled twice; events are the same, in any order."""
    print("seed", seed)
    told: list[list[object]] = [[], []]
    for said, is_together in zip(told, (True, False), strict=True):
        chance = random.Random(seed)
        folder = tmp_path / str(is_together)
        folder.mkdir()
        catalogue = opened(folder)
        raw(catalogue).execute("pragma synchronous=off")
        for number in range(12):
            completed(catalogue, *(arrival(f"{number}-{index}", index=index) for index in range(3)), number=number)
        for _ in range(3):
            tickets = catalogue.images.claim("worker", NOW, HOUR, limit=36, tried_before=NOW + HOUR)
            items = [ends(ticket, chance) for ticket in (*tickets, *tickets[:3])]
            done = [catalogue.images.settle(batch, NOW) for batch in ([items] if is_together else [[i] for i in items])]
            said.append({one for settled in done for one in settled.images})
            said.append({one for settled in done for one in settled.generations})
        said += [ask(catalogue, f"select * from {table} order by 1, 2") for table in ("images", "urls", "copies")]
        said.append(ask(catalogue, "select kind, image_id, detail from events order by 1, 2, 3"))
        assert catalogue.counters.differences() == []
        catalogue.close()
    assert told[0] == told[1]
