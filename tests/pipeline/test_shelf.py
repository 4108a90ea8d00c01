"""Tickets that are claimed together: fewer transactions when copiers come quickly, and nothing is withheld."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from archiver.core.climbing import FIRST
from archiver.core.model import Ticket
from archiver.pipeline.shelf import MOMENT_S, MOST, Purpose, Shelf
from archiver.pipeline.slots import WINDOW_S, Slots
from archiver.resilience import Word
from tests.fault.test_gates import adopt
from tests.pipeline.workshop import Workshop, open_workshop

ALL: Purpose = (None, None)


class Watch:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Workshop]:
    with open_workshop(tmp_path) as shop:
        adopt(shop, [f"https://{host}.example/{n}.png" for n in range(40) for host in ("one", "two")])
        yield shop


def with_shelf(shop: Workshop, watch: Watch) -> Shelf:
    shelf = Shelf(watch)
    shop.pipeline = replace(shop.pipeline, shelf=shelf)
    return shelf


def claimed(shop: Workshop) -> int:
    (row,) = shop.catalogue._database.rows("select count(*) as n from images where claimed_by is not null")
    return int(row["n"])


def take(shop: Workshop) -> Ticket:
    ticket = shop.pipeline.next_to_copy()
    assert ticket is not None
    return ticket


def test_those_who_come_quickly_get_more_at_once() -> None:
    """Doubled when the last were gone within a moment, halved when not, and never above the most."""
    watch = Watch()
    shelf = Shelf(watch)
    assert [shelf.how_many(ALL) for _ in range(8)] == [2, 4, 8, 16, 32, MOST, MOST, MOST]
    watch.seconds += MOMENT_S
    assert shelf.how_many(ALL) == MOST // 2
    assert [Shelf().how_many(ALL) for _ in range(3)] == [1, 1, 1], "without a clock, one by one"


def test_everything_is_handed_out_once_nearest_deadline_first(shop: Workshop) -> None:
    with_shelf(shop, Watch())
    tickets = [take(shop) for _ in range(80)]
    assert len({ticket.image_id for ticket in tickets}) == 80
    assert [ticket.deadline for ticket in tickets] == sorted(ticket.deadline for ticket in tickets)
    assert shop.pipeline.next_to_copy() is None


def test_who_works_slowly_holds_nothing_back(shop: Workshop) -> None:
    """Whoever takes seconds for an image claims what it carries, and nothing beside it."""
    watch = Watch()
    with_shelf(shop, watch)
    for number in range(1, 6):
        watch.seconds += 5.0
        take(shop)
        assert claimed(shop) == number


def test_who_leaves_gives_back_what_it_did_not_try(shop: Workshop) -> None:
    with_shelf(shop, Watch())
    for _ in range(10):
        take(shop)
    assert claimed(shop) > 10
    shop.pipeline.turns.give_back()
    assert claimed(shop) == 10
    (row,) = shop.catalogue._database.rows("select max(attempts) as n from images")
    assert row["n"] == 0, "nothing counts as tried"


def test_when_a_host_begins_to_rest_its_tickets_go_back(shop: Workshop) -> None:
    """They keep their places in the catalogue, and the other host goes on."""
    shelf = with_shelf(shop, Watch())
    for _ in range(7):
        take(shop)
    assert {ticket.url.host for ticket in shelf._tickets if ticket.url} == {"one.example", "two.example"}
    gates = shop.pipeline.doors.hosts
    while not gates.resting(shop.clock()):
        gates.enter("one.example", shop.clock(), urgent=True)
        gates.leave("one.example", shop.clock(), 0.5, Word("throttled", 600.0))
    before = claimed(shop)
    gone = sum(ticket.url is not None and ticket.url.host == "one.example" for ticket in shelf._tickets)
    assert "two.example" in str(take(shop).url)
    assert gone and claimed(shop) == before - gone


def test_what_was_claimed_for_all_is_not_what_somebody_asked_for(shop: Workshop) -> None:
    """A claim for certain generations, or for what was not tried lately, takes nothing from the shelf."""
    shelf = with_shelf(shop, Watch())
    for _ in range(7):
        take(shop)
    kept = list(shelf._tickets)
    assert kept
    ticket = shop.pipeline.next_to_copy(tried_before=shop.clock() + timedelta(hours=1))
    assert ticket is not None
    assert ticket not in kept
    assert shelf._tickets == kept


def test_only_a_full_house_says_how_many_there_should_be() -> None:
    """While copiers are missing work, their number is left as it is."""
    watch = Watch()
    slots = Slots(64, watch, lambda: 0.0)
    for _ in range(50):
        watch.seconds += WINDOW_S
        slots.done(1_000_000, is_full=False)
    assert slots.limit == FIRST
    for _ in range(FIRST):
        watch.seconds += WINDOW_S
        slots.done(1_000_000, is_full=True)
    assert slots.limit == 2 * FIRST
