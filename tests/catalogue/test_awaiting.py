"""Accepted work: who polls it until when, whom a handle belongs to, and what a late answer may still change."""

from datetime import timedelta

from archiver.catalogue import Catalogue
from tests.catalogue.filling import HOUR, NOW, arrival, ask, draft, kinds

SECOND = timedelta(seconds=1)


def accepted(catalogue: Catalogue, number: int, handle: str) -> str:
    """A generation that the provider took, due for its first poll."""
    catalogue.generations.add([draft(number)], NOW)
    submission = catalogue.generations.begin_submit("apiyi", "me", NOW)
    assert submission is not None
    assert catalogue.generations.accept(submission.ask.generation_id, "me", handle, NOW, NOW)
    return submission.ask.generation_id


def state(catalogue: Catalogue, ident: str) -> str:
    standing = catalogue.generations.standing(ident)
    assert standing is not None
    return standing.state


def test_an_error_of_a_poll_is_told_once(catalogue: Catalogue) -> None:
    one = accepted(catalogue, 0, "t-0")
    for number in range(3):
        now = NOW + number * HOUR
        assert catalogue.awaiting.next_poll("apiyi", "me", now, now + 60 * SECOND)
        assert not catalogue.awaiting.polled(one, "you", now, now, error="down"), "somebody else's poll"
        assert catalogue.awaiting.polled(one, "me", now + HOUR, now, error="down")
    assert kinds(catalogue) == ["unreadable"]
    assert catalogue.awaiting.polled(one, "me", NOW + HOUR, NOW)
    assert ask(catalogue, "select error from generations") == [("down",)]


def test_a_handle_belongs_to_what_still_waits(catalogue: Catalogue) -> None:
    """A provider that used one twice did so for work that is over."""
    first, second = accepted(catalogue, 0, "t-0"), accepted(catalogue, 1, "t-0")
    find = catalogue.awaiting.find
    assert catalogue.generations.complete(second, [arrival(1)], answered_at=NOW, now=NOW)
    assert (found := find("apiyi", "t-0")) is not None and found.generation_id == first
    assert find("other", "t-0") is None and find("apiyi", "t-1") is None and find("apiyi", "") is None
    assert catalogue.generations.fail(first, "me", "gone", NOW)
    assert (found := find("apiyi", "t-0")) is not None and (found.generation_id, found.state) == (first, "failed")


def test_a_late_answer_leaves_a_request_under_way_alone(catalogue: Catalogue) -> None:
    """Planned again and just being asked for: the new request has an answer of its own, and its own handle."""
    one = accepted(catalogue, 0, "t-0")
    assert catalogue.generations.fail(one, "me", "gone", NOW)
    assert catalogue.outcomes.retry(one, "again", NOW)
    assert catalogue.generations.begin_submit("apiyi", "me", NOW)
    late = {"answered_at": NOW, "now": NOW}
    assert not catalogue.generations.complete(one, [arrival(0)], is_late=True, **late)  # type: ignore[arg-type]
    assert state(catalogue, one) == "submitted"
    assert catalogue.generations.complete(one, [arrival(0)], **late)  # type: ignore[arg-type]
    assert ask(catalogue, "select state, handle from generations") == [("completed", None)]


def test_a_late_answer_to_what_was_planned_again_is_taken(catalogue: Catalogue) -> None:
    one = accepted(catalogue, 0, "t-0")
    assert catalogue.generations.fail(one, "me", "gone", NOW)
    assert catalogue.outcomes.retry(one, "again", NOW)
    assert catalogue.generations.complete(one, [arrival(0)], answered_at=NOW, now=NOW, is_late=True)
    assert ask(catalogue, "select state, handle from generations") == [("completed", "t-0")]
    assert catalogue.generations.begin_submit("apiyi", "me", NOW) is None


def test_one_process_asks_for_a_fresh_url(catalogue: Catalogue) -> None:
    one = accepted(catalogue, 0, "t-0")
    assert catalogue.generations.complete(one, [arrival(0, deadline=NOW)], answered_at=NOW, now=NOW)
    (dead,) = catalogue.awaiting.dead(["apiyi"], NOW, NOW, 10)
    assert catalogue.awaiting.begin_renewal(dead.image_id, dead.asked_at, NOW)
    assert not catalogue.awaiting.begin_renewal(dead.image_id, dead.asked_at, NOW)
    assert catalogue.awaiting.dead(["apiyi"], NOW, NOW - SECOND, 10) == []
    (again,) = catalogue.awaiting.dead(["apiyi"], NOW, NOW, 10)
    assert (again.asked_at, again.asked) == (NOW, 1)
    assert catalogue.awaiting.dead(["other"], NOW, NOW, 10) == []
    assert catalogue.awaiting.dead(["apiyi"], NOW - SECOND, NOW, 10) == [], "it still lives"
