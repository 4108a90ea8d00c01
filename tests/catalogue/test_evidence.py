"""What a source says of its own end, as it is written: the deadline only ever comes nearer, and all of it is kept."""

import json
from datetime import timedelta
from typing import Any

from archiver.catalogue import Catalogue, Settlement, as_text
from archiver.core import policy
from archiver.core.model import Evidence, Ticket
from tests.catalogue.filling import HOUR, NOW, arrival, ask, claim_one, completed, fetched, image_row, kinds, receipts

BY_URL = Evidence(source="url", at=NOW + 168 * HOUR, detail="U03")


def said(hours: float, name: str = "x-amz-expiration") -> Evidence:
    """A header's date, so many hours from now."""
    return Evidence(source="header", at=NOW + hours * HOUR, detail=name)


def told(ticket: Ticket, *evidence: Evidence, **changes: Any) -> Settlement:
    """Postponed, with what the source said."""
    values: dict[str, Any] = {"ticket": ticket, "not_before": NOW, "error": "cut", "evidence": evidence}
    return Settlement(**(values | changes))


def deadline_of(catalogue: Catalogue) -> tuple[str, str, str]:
    """Deadline, what decided it, and when to give up."""
    row = image_row(catalogue)
    return row["deadline"], row["deadline_from"], row["give_up_at"]


def held(catalogue: Catalogue) -> list[tuple[str, str]]:
    """Source and time of all evidence."""
    return [(item["source"], item["at"]) for item in json.loads(image_row(catalogue)["evidence"])]


def test_f042_the_earliest_of_all_evidence_decides_and_all_is_kept(catalogue: Catalogue) -> None:
    """Attempt by attempt: later, earlier, the same again, and earlier still."""
    completed(catalogue, arrival(evidence=(BY_URL,)))
    before = deadline_of(catalogue)
    catalogue.images.settle([told(claim_one(catalogue), said(200))], NOW)
    assert deadline_of(catalogue) == before
    for hours in (20, 20, 10):
        catalogue.images.settle([told(claim_one(catalogue), said(hours, "x-oss-expiration"))], NOW)
    nearest = as_text(NOW + 10 * HOUR - policy.MOST_MARGIN)
    assert deadline_of(catalogue) == (nearest, "header", before[2])
    times = [as_text(NOW + hours * HOUR) for hours in (168, 200, 10, 20)]
    assert held(catalogue) == list(zip(("url", "header", "header", "header"), times, strict=True))
    assert kinds(catalogue) == ["postponed", "hurried", "postponed", "postponed", "hurried", "postponed"]


def test_f042_a_later_date_puts_off_the_giving_up_where_the_url_is_silent(catalogue: Catalogue) -> None:
    default = Evidence(source="default", at=NOW + 168 * HOUR)
    completed(catalogue, arrival(evidence=(default,), deadline_from="default"))
    catalogue.images.settle([told(claim_one(catalogue), said(500))], NOW)
    row = image_row(catalogue)
    assert (row["deadline"], row["give_up_at"]) == (as_text(NOW + 168 * HOUR), as_text(NOW + 500 * HOUR + policy.GRACE))


def test_f042_giving_up_is_never_hastened(catalogue: Catalogue) -> None:
    """A backfilled image may be given more time than its evidence says."""
    late = NOW + timedelta(days=400)
    completed(catalogue, arrival(evidence=(), give_up_at=late))
    catalogue.images.settle([told(claim_one(catalogue), said(1))], NOW)
    assert image_row(catalogue)["give_up_at"] == as_text(late)
    assert image_row(catalogue)["deadline_from"] == "header"


def test_f042_a_date_that_has_passed_is_a_deadline_too(catalogue: Catalogue) -> None:
    """A rule deletes when it comes to it: the image may still be there, and is tried."""
    completed(catalogue, arrival(evidence=(BY_URL,)))
    catalogue.images.settle([told(claim_one(catalogue), said(-3))], NOW)
    assert deadline_of(catalogue)[:2] == (as_text(NOW - 3 * HOUR), "header")
    assert claim_one(catalogue).image_id == "i0"


def test_f042_an_image_that_was_in_the_spool_is_not_touched(catalogue: Catalogue) -> None:
    completed(catalogue, arrival(evidence=(BY_URL,)))
    rescue = told(claim_one(catalogue), fetched=fetched(), spooled="i0.png")
    catalogue.images.settle([rescue], NOW)
    before = (deadline_of(catalogue), held(catalogue))
    catalogue.images.settle([told(claim_one(catalogue), said(1))], NOW)
    assert (deadline_of(catalogue), held(catalogue)) == before


def test_f042_a_stale_claim_says_nothing_of_the_deadline(catalogue: Catalogue) -> None:
    """The URL may have been signed anew since."""
    completed(catalogue, arrival(evidence=(BY_URL,)))
    stale = claim_one(catalogue)
    catalogue.images.free("worker")
    claim_one(catalogue)
    before = deadline_of(catalogue)
    catalogue.images.settle([told(stale, said(1))], NOW)
    assert (deadline_of(catalogue), held(catalogue)) == (before, [("url", as_text(BY_URL.at))])


def test_a_ticket_names_the_copies_that_are_confirmed(catalogue: Catalogue) -> None:
    """Store and key: where the bytes can be had again."""
    completed(catalogue, arrival())
    ticket = claim_one(catalogue)
    assert ticket.copies == ()
    receipt = receipts(ticket, ["here"])
    catalogue.images.settle([told(ticket, fetched=fetched(), receipts=receipt)], NOW)
    again = claim_one(catalogue)
    assert [(copy.store, copy.key) for copy in again.copies] == [("here", "images/i0.png")]
    assert [want.store for want in again.wants] == ["there"]


def test_f063_what_a_store_has_confirmed_is_not_hopeless(catalogue: Catalogue) -> None:
    """Two refusals after the end of all time: hopeless, unless a copy exists."""
    end = NOW + timedelta(days=99)
    completed(catalogue, arrival(0), arrival(1, index=1))
    for item in catalogue.images.claim("worker", NOW, HOUR, limit=2):
        copies = receipts(item, ["here"]) if item.image_id == "i1" else ()
        catalogue.images.settle([told(item, fetched=fetched(), receipts=copies)], NOW)
    for minutes in (0, 30):
        at = end + timedelta(minutes=minutes)
        tickets = catalogue.images.claim("worker", at, HOUR, limit=2)
        catalogue.images.settle([told(item, refused=True, not_before=None) for item in tickets], at)
    assert ask(catalogue, "select count(*) from images where refused_before_at is not null") == [(2,)]
    assert [item.image_id for item in catalogue.images.hopeless(end + HOUR)] == ["i0"]
