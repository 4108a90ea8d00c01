"""The facts behind alerts, and the memory of what people were told."""

from datetime import UTC, timedelta

from archiver.catalogue import Catalogue
from archiver.core.alerting import Alert, Facts, Spent, Told
from archiver.core.budget import Limit, purses
from archiver.core.model import ImageInfo
from tests.catalogue.filling import (
    HOUR,
    NOW,
    arrival,
    ask,
    claim_one,
    completed,
    draft,
    fetched,
    no,
    receipts,
    safe,
    whole,
)

MINUTE = timedelta(minutes=1)


def test_an_empty_catalogue_has_nothing_to_tell(catalogue: Catalogue) -> None:
    assert catalogue.watching.facts(NOW) == Facts()
    assert catalogue.watching.told() == {}


def test_failing_images_count_from_half_of_their_life(catalogue: Catalogue) -> None:
    """By job; only those that were tried in vain; what is on its way for the first time is not failing."""
    completed(
        catalogue,
        *(arrival(number, index=number, deadline=NOW + hours * HOUR) for number, hours in enumerate((10, 20, 4))),
    )
    for ticket in catalogue.images.claim("worker", NOW, HOUR, limit=2):  # the images with 4 and 10 hours
        catalogue.images.settle([no(ticket, NOW)], NOW)
    assert catalogue.watching.facts(NOW + 1.9 * HOUR).failing == ()
    (failing,) = catalogue.watching.facts(NOW + 3 * HOUR).failing
    assert (failing.job, failing.images, round(failing.used, 3)) == ("generate", 1, 0.75)
    assert (failing.deadline, failing.error) == (NOW + 4 * HOUR, "404")
    (failing,) = catalogue.watching.facts(NOW + 15 * HOUR).failing
    assert (failing.images, failing.deadline) == (2, NOW + 4 * HOUR)
    assert failing.used > 1


def test_unknown_outcomes_are_counted_by_provider_with_what_they_may_cost(catalogue: Catalogue) -> None:
    """An operator who wrote one off has heard of it."""
    catalogue.generations.add([draft(1), draft(2), draft(3)], NOW)
    for _ in range(3):
        taken = catalogue.generations.begin_submit("apiyi", "me", NOW)
        assert taken is not None
        catalogue.generations.doubt(taken.ask.generation_id, "me", "timeout", NOW)
    ask(catalogue, "update generations set expected_micro = 40000 where id = 'g1'")
    (unknown,) = catalogue.watching.facts(NOW).unknown
    assert (unknown.provider, unknown.generations, unknown.cost_micro, unknown.unpriced) == ("apiyi", 3, 40_000, 2)
    ask(catalogue, "update generations set written_off_at = 'x' where id <> 'g1'")
    (unknown,) = catalogue.watching.facts(NOW).unknown
    assert (unknown.generations, unknown.unpriced) == (1, 0)


def test_images_that_wait_for_a_store_name_it(catalogue: Catalogue) -> None:
    """Two stores: the one that took its copy is not accused. Their bytes count as the spool."""
    completed(catalogue, arrival(0))
    ticket = claim_one(catalogue)
    kept = safe(
        ticket, receipts=receipts(ticket, ["here"]), spooled="i0.x", not_before=NOW, error="there: access denied"
    )
    catalogue.images.settle([kept], NOW)
    facts = catalogue.watching.facts(NOW + HOUR)
    (waiting,) = facts.waiting
    assert (waiting.store, waiting.images, waiting.since) == ("there", 1, NOW)
    assert facts.spooled == 68
    assert facts.failing == ()
    again = claim_one(catalogue)
    catalogue.images.settle([safe(again, receipts=receipts(again, ["there"]))], NOW)
    assert catalogue.watching.facts(NOW + HOUR) == Facts()


def test_losses_and_odd_bytes_are_told_of_for_a_day(catalogue: Catalogue) -> None:
    completed(catalogue, arrival(0), arrival(1, index=1))
    odd = claim_one(catalogue)
    bytes_of_no_format = ImageInfo(content_type="application/octet-stream", extension="bin", verdict="unknown format")
    catalogue.images.settle([safe(odd)], NOW)
    ask(catalogue, "update images set verdict = ? where id = ?", bytes_of_no_format.verdict, odd.image_id)
    other = "i1" if odd.image_id == "i0" else "i0"
    assert catalogue.images.lose(other, NOW)
    facts = catalogue.watching.facts(NOW + 23 * HOUR)
    assert [(count.job, count.images) for count in (*facts.lost, *facts.odd)] == [("generate", 1), ("generate", 1)]
    facts = catalogue.watching.facts(NOW + 25 * HOUR)
    assert facts.lost == facts.odd == ()


def test_a_sound_image_is_not_odd(catalogue: Catalogue) -> None:
    completed(catalogue, arrival(0))
    ticket = claim_one(catalogue)
    catalogue.images.settle([safe(ticket, fetched=fetched())], NOW)
    assert catalogue.watching.facts(NOW).odd == ()


def test_what_was_told_is_remembered_until_it_has_cleared(catalogue: Catalogue) -> None:
    """`since` stays, the rest follows, and another process sees it."""
    first, second = (Alert(kind="store", level="warn", text=name, subject=name) for name in ("a", "b"))
    watching = catalogue.watching
    watching.remember({first: Told(level="warn", logged_at=NOW), second: Told(level="warn")}, NOW)
    assert watching.told() == {
        ("store", "a"): Told(level="warn", logged_at=NOW),
        ("store", "b"): Told(level="warn"),
    }
    worse = Alert(kind="store", level="page", text="c", subject="a")
    later = NOW + MINUTE
    watching.remember({worse: Told(level="page", logged_at=later, sent_at=later)}, later)
    assert watching.told() == {("store", "a"): Told(level="page", logged_at=later, sent_at=later)}
    ((since,),) = ask(catalogue, "select since from alerts")
    assert since == "2026-11-20T09:00:00.000Z"
    watching.remember({}, later)
    assert watching.told() == {}
    assert whole(catalogue)


def test_budgets_are_those_of_now_with_the_limits_of_now(catalogue: Catalogue) -> None:
    """One that nobody configures any more, and one of yesterday, are nobody's concern; what was told is remembered."""
    day = Limit(scope="archiver", per="day", micro=100_000, zone=UTC)
    other = Limit(scope="jobs.gone", per="month", micro=100_000, zone=UTC)
    catalogue.generations.add([draft(number) for number in range(2)], NOW)
    for at in (NOW - timedelta(days=1), NOW):
        assert catalogue.generations.begin_submit("apiyi", "me", at, cost=lambda _: 80_000, limits=(day, other))
        other = Limit(scope="jobs.gone", per="month", micro=10**9, zone=UTC)
    assert catalogue.watching.facts(NOW).budgets == ()
    raised = Limit(scope="archiver", per="day", micro=200_000, zone=UTC)
    expected = Spent(scope="archiver", period="2026-11-20", spent_micro=80_000, limit_micro=200_000)
    assert catalogue.watching.facts(NOW, purses([raised], NOW)).budgets == (expected,)
    alert = Alert(kind="budget", level="warn", text="t", subject=expected.subject)
    catalogue.watching.remember({alert: Told(level="warn")}, NOW)
    (found,) = catalogue.watching.facts(NOW, purses([day], NOW)).budgets
    assert (found.is_told, found.limit_micro) == (True, 100_000)
    assert catalogue.watching.facts(NOW, purses([day], NOW + timedelta(days=1))).budgets == ()
