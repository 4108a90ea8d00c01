"""Keeping: who works on which image, in which order, and what is taken in from elsewhere."""

from datetime import timedelta
from pathlib import Path

import pytest

from archiver.catalogue import Catalogue
from tests.catalogue import racing
from tests.catalogue.filling import (
    DIGEST,
    HOUR,
    LEASE,
    NOW,
    PNG,
    arrival,
    ask,
    claim_one,
    completed,
    image_row,
    kinds,
    no,
    opened,
    safe,
    signed,
)

SECOND = timedelta(seconds=1)


def with_deadlines(catalogue: Catalogue, *hours: float, number: int = 0) -> None:
    """A generation of images that die so many hours from now; their ids are i0, i1 ..."""
    arrivals = [
        arrival(f"{number or ''}{index}", index=index, deadline=NOW + hour * HOUR) for index, hour in enumerate(hours)
    ]
    completed(catalogue, *arrivals, number=number)


def claimed(catalogue: Catalogue, **options: object) -> list[str]:
    """The ids of what is claimed next."""
    values = {"owner": "worker", "now": NOW, "lease": LEASE, "limit": 10} | options
    return [ticket.image_id for ticket in catalogue.images.claim(**values)]  # type: ignore[arg-type]


# --- claims ----------------------------------------------------------------------------------------------------------


def test_nearest_deadline_first_and_what_is_past_it_last(catalogue: Catalogue) -> None:
    """One by one and all at once, the order is the same."""
    with_deadlines(catalogue, 5, -1, 1, 3, -9, 2)
    expected = ["i2", "i5", "i3", "i0", "i4", "i1"]
    tickets = catalogue.images.claim("worker", NOW, LEASE, limit=10)
    assert [ticket.image_id for ticket in tickets] == expected
    assert catalogue.images.free("worker") == len(tickets)
    assert [claim_one(catalogue).image_id for _ in expected] == expected
    assert claimed(catalogue) == []


def test_limit_is_shared_by_both_sides_of_the_deadline(catalogue: Catalogue) -> None:
    with_deadlines(catalogue, -1, 1, -2, 2)
    assert claimed(catalogue, limit=3) == ["i1", "i3", "i2"]


def test_ticket_says_all_that_a_transfer_needs(catalogue: Catalogue) -> None:
    """From a URL, and from the spool."""
    completed(
        catalogue,
        arrival(0),
        arrival(1, index=1, url=None, spool="i1.png", sha256=DIGEST, size=68, info=PNG, deadline=NOW + 200 * HOUR),
        job="daily",
        origin="job",
        created_at=NOW - HOUR,
    )
    first, second = catalogue.images.claim("worker", NOW, LEASE, limit=2)
    assert (first.image_id, first.owner, first.claim, first.attempts) == ("i0", "worker", 1, 0)
    assert (first.job, first.created_at) == ("daily", NOW - HOUR)
    assert first.deadline == NOW + 168 * HOUR
    assert [(want.store, want.key) for want in first.wants] == [("here", None), ("there", None)]
    assert (first.url, first.spooled, first.sha256) == (signed(0), None, None)
    assert (second.url, second.spooled, second.sha256) == (None, "i1.png", DIGEST)


def test_without_a_job_the_origin_names_the_images(catalogue: Catalogue) -> None:
    completed(catalogue, arrival())
    assert claim_one(catalogue).job == "generate"


def test_eight_processes_claim_500_images_once_each(race: racing.Race, tmp_path: Path) -> None:
    """In bites of different sizes."""
    catalogue = opened(tmp_path)
    for number in range(1, 6):
        with_deadlines(catalogue, *range(100), number=number)
    taken = [ident for idents in race.run(racing.claim_all, tmp_path) for ident in idents]
    assert len(taken) == len(set(taken)) == 500
    assert ask(catalogue, "select distinct claim from images") == [(1,)]
    catalogue.close()


def test_a_lease_ends(catalogue: Catalogue) -> None:
    """Until then nobody else gets the image, after it anybody does."""
    with_deadlines(catalogue, 1)
    assert claimed(catalogue) == ["i0"]
    assert claimed(catalogue, now=NOW + LEASE) == []
    assert claimed(catalogue, now=NOW + LEASE + SECOND, owner="other") == ["i0"]
    assert image_row(catalogue)["claimed_by"] == "other"


@pytest.mark.parametrize("heir", ["other", "worker"])
def test_a_ghost_changes_nothing(catalogue: Catalogue, heir: str) -> None:
    """It slept through its lease; even under its own name, its old claim number gives it away."""
    with_deadlines(catalogue, 100)
    ghost = claim_one(catalogue)
    claim_one(catalogue, heir, NOW + 2 * LEASE)
    before = image_row(catalogue), ask(catalogue, "select * from copies")
    settled = catalogue.images.settle([safe(ghost), no(ghost)], NOW + 2 * LEASE)
    assert (settled.images, settled.generations) == (frozenset(), ())
    assert (image_row(catalogue), ask(catalogue, "select * from copies")) == before
    assert kinds(catalogue) == []


def test_claims_of_the_dead_are_freed(catalogue: Catalogue) -> None:
    """Only theirs; and they are dead to what they had claimed."""
    with_deadlines(catalogue, 1, 2, 3)
    dead = catalogue.images.claim("dead", NOW, LEASE, limit=2)
    claim_one(catalogue, "alive")
    assert sorted(catalogue.images.claimants()) == ["alive", "dead"]
    assert catalogue.images.free("dead") == 2
    assert catalogue.images.free("dead") == 0
    assert catalogue.images.claimants() == ["alive"]
    assert catalogue.images.settle([safe(dead[0])], NOW).images == frozenset()
    assert claimed(catalogue, owner="heir") == ["i0", "i1"]


def test_postponed_images_wait(catalogue: Catalogue) -> None:
    """And `next_due` says how long."""
    with_deadlines(catalogue, 1, 2)
    later = NOW + 30 * SECOND
    catalogue.images.settle([no(claim_one(catalogue), at=later)], NOW)
    assert catalogue.images.next_due() == NOW
    assert claimed(catalogue) == ["i1"]
    assert catalogue.images.next_due() == later
    assert claimed(catalogue, now=later - timedelta(milliseconds=1)) == []
    assert claimed(catalogue, now=later) == ["i0"]
    assert catalogue.images.next_due() is None


def test_a_person_who_asks_does_not_wait(catalogue: Catalogue) -> None:
    """With `tried_before`, everything that was not tried since then is due once, whatever its not-before time."""
    with_deadlines(catalogue, 1, 2, 3)
    catalogue.images.settle([no(claim_one(catalogue), at=NOW + HOUR)], NOW)
    start = NOW + 10 * SECOND
    assert claimed(catalogue, now=start, tried_before=start, limit=1) == ["i0"]
    catalogue.images.free("worker")
    ticket = claim_one(catalogue, at=start, tried_before=start)
    catalogue.images.settle([no(ticket, at=start)], start)
    assert claimed(catalogue, now=start, tried_before=start) == ["i1", "i2"]
    assert claimed(catalogue, now=start) == ["i0"]


def test_claims_can_be_kept_to_some_generations(catalogue: Catalogue) -> None:
    with_deadlines(catalogue, 1)
    with_deadlines(catalogue, 0.5, -1, number=7)
    assert claimed(catalogue, generations=[]) == []
    assert claimed(catalogue, generations=["nobody"]) == []
    assert catalogue.images.next_due(["nobody"]) is None
    assert catalogue.images.next_due(["g7"]) == NOW
    assert claimed(catalogue, generations=["g7"]) == ["i70", "i71"]
    assert claimed(catalogue, generations=["g0", "g7"]) == ["i0"]


# --- giving up -------------------------------------------------------------------------------------------------------


def test_hopeless_is_what_was_refused_twice_and_is_out_of_time(catalogue: Catalogue) -> None:
    """The time is over, nobody works on it, and its last two tries were refused."""
    end = NOW + 2 * HOUR
    completed(catalogue, arrival(give_up_at=end))
    for tries in (1, 2, 3):
        at = NOW + tries * 10 * 60 * SECOND
        catalogue.images.settle([no(claim_one(catalogue, at=at), at=at)], at)
        assert [item.attempts for item in catalogue.images.hopeless(end)] == ([tries] if tries > 1 else [])
    found = catalogue.images.hopeless(end)[0]
    assert (found.image_id, found.give_up_at) == ("i0", end)
    assert (found.refused_before_at, found.refused_at) == (NOW + 1200 * SECOND, NOW + 1800 * SECOND)
    assert catalogue.images.hopeless(end - SECOND) == []
    claim_one(catalogue, at=end)
    assert catalogue.images.hopeless(end) == []


def test_lost_forgets_the_url_and_says_why(catalogue: Catalogue) -> None:
    """Once; and never what somebody works on or what is in the spool."""
    completed(catalogue, arrival(0), arrival(1, index=1, url=None, spool="i1.png", sha256=DIGEST, size=1, info=PNG))
    ticket = claim_one(catalogue)
    assert not catalogue.images.lose("i0", NOW)
    catalogue.images.settle([no(ticket)], NOW)
    assert catalogue.images.lose("i0", NOW)
    assert not catalogue.images.lose("i0", NOW)
    assert not catalogue.images.lose("i1", NOW)
    row = image_row(catalogue)
    assert (row["state"], row["url"], row["source"]) == ("lost", None, str(signed(0)))
    assert ask(catalogue, "select kind, image_id, detail from events order by id desc limit 1") == [
        ("lost", "i0", "404")
    ]
    assert claimed(catalogue) == ["i1"]
