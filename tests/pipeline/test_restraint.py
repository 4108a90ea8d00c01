"""Restraint towards a provider: its pace, its breaker, a refused key, and an outcome that is asked for once more."""

import itertools
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from archiver.core.budget import Limit
from archiver.core.pace import Rate
from archiver.pipeline import inbox
from archiver.pipeline.crew import Crew
from archiver.resilience import Doors, Paces
from tests.doubles.provider import ImagesProvider, Mishap
from tests.pipeline.workshop import Workshop, open_workshop


@pytest.fixture
def double() -> Iterator[ImagesProvider]:
    with ImagesProvider() as made:
        yield made


@pytest.fixture
def shop(tmp_path: Path, double: ImagesProvider) -> Iterator[Workshop]:
    with open_workshop(tmp_path / "d", double=double, price_usd="0.04", concurrency=1) as made:
        yield made


def paced(shop: Workshop, elapsed: list[float], **rate: float) -> None:
    """Give the provider a pace, on a clock that the test sets."""
    rates = {"double": Rate(every_s=rate["every_s"], burst=int(rate.get("burst", 1)))}
    shop.pipeline = replace(shop.pipeline, doors=Doors(paces=Paces(rates, lambda: elapsed[0])))


def states(shop: Workshop) -> dict[str, int]:
    """How many generations there are in each state."""
    counted: dict[str, int] = shop.catalogue.reports.status(shop.clock())["generations"]
    return counted


# --- pace ------------------------------------------------------------------------------------------------------------


def test_a_provider_is_asked_no_faster_than_its_pace(shop: Workshop, double: ImagesProvider) -> None:
    elapsed = [100.0]
    paced(shop, elapsed, every_s=2.0)
    shop.plan("double", *(f"fox {number}" for number in range(4)))
    asked = []
    for moment in (100.0, 101.9, 102.0, 103.9, 104.0, 104.1, 106.0, 200.0):
        elapsed[0] = moment
        asked.append(shop.ask("double"))
    assert asked == [1, 0, 1, 0, 1, 0, 1, 0]
    assert len(double.charges) == 4


def test_after_a_silence_a_burst_may_go(shop: Workshop) -> None:
    elapsed = [0.0]
    paced(shop, elapsed, every_s=60.0, burst=3)
    shop.plan("double", *(f"fox {number}" for number in range(5)))
    assert shop.ask("double") == 3
    elapsed[0] = 60.0
    assert shop.ask("double") == 1


def test_a_look_that_finds_nothing_uses_up_no_turn(shop: Workshop) -> None:
    elapsed = [0.0]
    paced(shop, elapsed, every_s=60.0)
    assert shop.ask("double") == 0
    shop.plan("double", "a fox")
    assert shop.ask("double") == 1


def test_a_crew_waits_for_its_turn_and_does_not_end(tmp_path: Path, double: ImagesProvider) -> None:
    """Ten requests at 50 a second: all are made, though each turn but the first must be waited for."""
    with open_workshop(tmp_path / "d", double=double) as shop:
        doors = Doors(paces=Paces({"double": Rate(every_s=0.02)}, time.monotonic))
        shop.pipeline = replace(shop.pipeline, doors=doors)
        ids = shop.plan("double", *(f"fox {number}" for number in range(10)))
        with Crew(shop.pipeline, copies=2, generations=ids) as crew:
            for _ in crew.work():
                pass
    assert len(double.charges) == 10


def test_a_crew_on_a_real_clock_does_not_end_before_what_is_due_is_asked(
    tmp_path: Path, double: ImagesProvider
) -> None:
    """A clock that moves between two looks at it must not make due work look like work of later."""
    ticks = itertools.count()
    with open_workshop(tmp_path / "d", double=double) as shop:

        def moving() -> datetime:
            return shop.clock() + timedelta(milliseconds=next(ticks))

        doors = Doors(paces=Paces({"double": Rate(every_s=0.4)}, time.monotonic))
        shop.pipeline = replace(shop.pipeline, doors=doors, now=moving)
        ids = shop.plan("double", *(f"fox {number}" for number in range(3)))
        with Crew(shop.pipeline, copies=2, generations=ids) as crew:
            for _ in crew.work():
                pass
    assert len(double.charges) == 3


# --- the breaker -----------------------------------------------------------------------------------------------------


def test_f054_five_failures_stop_the_asking_and_one_probe_opens_it(shop: Workshop, double: ImagesProvider) -> None:
    """A provider that cuts every connection gets five requests, then one, then as many as there are."""
    double.script([Mishap(cut="before")] * 6)
    shop.plan("double", *(f"fox {number}" for number in range(12)))
    assert shop.ask("double") == 5
    assert shop.ask("double") == 0
    shop.clock.advance(minutes=1)
    assert shop.ask("double") == 1, "one probe, which fails"
    assert shop.ask("double") == 0
    shop.clock.advance(minutes=1)
    assert shop.ask("double") == 6, "the probe succeeds, and the rest follows"
    assert states(shop) == {"completed": 6, "unknown": 6}


def test_f055_a_refused_key_rests_the_provider_and_fails_nobody(shop: Workshop, double: ImagesProvider) -> None:
    """One request learns of it; ten minutes later one looks again; with the right key all are made."""
    right, double.api_key = double.api_key, "sk-rotated"
    shop.plan("double", *(f"fox {number}" for number in range(10)))
    assert (shop.ask("double"), states(shop)) == (1, {"planned": 10})
    shop.clock.advance(minutes=5)
    assert shop.ask("double") == 0
    waiting = shop.catalogue.providers.waiting(shop.clock())["double"]
    assert (waiting["generations"], waiting["until"] > "2026-11-20T09:09") == (1, True)
    assert "401" in waiting["error"]
    double.api_key = right
    shop.clock.advance(minutes=8)
    # The key itself rests on a clock of its own, which this test does not move: a restart forgets it.
    shop.pipeline.providers["double"]._account._keys._refused.clear()  # type: ignore[attr-defined]
    assert shop.ask("double") == 10
    assert states(shop) == {"completed": 10}
    assert len(double.charges) == 10


def test_f055_an_account_without_money_rests_too(shop: Workshop, double: ImagesProvider) -> None:
    double.script([Mishap(status=402)])
    shop.plan("double", "a fox", "a cat")
    assert (shop.ask("double"), states(shop)) == (1, {"planned": 2})
    shop.clock.advance(minutes=9)
    assert shop.ask("double") == 0
    shop.clock.advance(minutes=5)
    assert shop.ask("double") == 2


# --- an unknown outcome ----------------------------------------------------------------------------------------------


def repeating(shop: Workshop) -> Workshop:
    """With `on_unknown = "retry"`, and a budget that counts."""
    limit = Limit(scope="all", per="day", micro=1_000_000, zone=ZoneInfo("UTC"))
    reception = replace(shop.pipeline.reception, repeating=("double",))
    shop.pipeline = replace(shop.pipeline, reception=reception, limits=(limit,))
    return shop


def spent(shop: Workshop) -> int:
    """Micro-USD of the budget."""
    return int(shop.catalogue._database.rows("select sum(spent_micro) as spent from budgets")[0]["spent"])


@pytest.mark.parametrize("mishap", [Mishap(cut="after"), Mishap(status=500, charged=True), Mishap(truncated=True)])
def test_an_unknown_outcome_is_asked_for_once_more_and_counts_twice(
    shop: Workshop, double: ImagesProvider, mishap: Mishap
) -> None:
    repeating(shop)
    double.script([mishap])
    (ident,) = shop.plan("double", "a fox")
    assert shop.ask("double") == 2
    assert shop.generation(ident)["state"] == "completed"
    assert (len(double.charges), spent(shop)) == (2, 80_000)
    events = shop.catalogue._database.rows(
        "select kind, detail from events where generation_id = ? order by id", (ident,)
    )
    assert [event["kind"] for event in events] == ["unknown", "asked-again"]
    assert "both requests count as spent" in events[1]["detail"]


def test_a_whole_answer_on_a_sick_disk_is_read_and_not_paid_for_again(
    shop: Workshop, double: ImagesProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(_: Path) -> None:
        raise OSError(5, "Input/output error")

    repeating(shop)
    (ident,) = shop.plan("double", "a fox")
    with monkeypatch.context() as sick:
        sick.setattr(inbox, "flush", refuses)
        assert shop.ask("double") == 1
    assert shop.ask("double") == 0
    shop.pipeline.recover()
    assert shop.generation(ident)["state"] == "completed"
    assert (len(double.charges), spent(shop), len(shop.images())) == (1, 40_000, 1)


def test_what_two_requests_brought_is_kept_of_both(shop: Workshop, double: ImagesProvider) -> None:
    """Both were cut, and both may have been paid for."""
    repeating(shop)
    double.script([Mishap(truncated=True)] * 2)
    (ident,) = shop.plan("double", "a fox")
    assert shop.ask("double") == 2
    assert shop.files("inbox") == [f"{ident}.2.odd", f"{ident}.odd"]


def test_what_is_cancelled_before_its_second_request_says_that_there_was_a_first(
    shop: Workshop, double: ImagesProvider
) -> None:
    repeating(shop)
    double.script([Mishap(cut="after")])
    (ident,) = shop.plan("double", "a fox")
    provider = shop.pipeline.providers["double"]
    submission = shop.pipeline.next_to_submit(provider)
    assert submission is not None
    shop.pipeline.submit(provider, submission)
    assert shop.catalogue.generations.cancel([ident], shop.clock()) == 1
    assert "may have been charged" in shop.generation(ident)["error"]
    assert (len(double.charges), spent(shop)) == (1, 40_000)


def test_a_second_unknown_outcome_is_held_for_the_user(shop: Workshop, double: ImagesProvider) -> None:
    repeating(shop)
    double.script([Mishap(cut="after")] * 2)
    (ident,) = shop.plan("double", "a fox")
    assert shop.ask("double") == 2
    shop.clock.advance(days=2)
    assert shop.ask("double") == 0
    assert shop.generation(ident)["state"] == "unknown"
    assert (len(double.charges), spent(shop)) == (2, 80_000)


def test_nothing_is_asked_for_again_unless_it_was_chosen(shop: Workshop, double: ImagesProvider) -> None:
    double.script([Mishap(cut="after")])
    shop.plan("double", "a fox")
    assert shop.ask("double") == 1
    assert states(shop) == {"unknown": 1}


def test_what_was_unknown_before_stays_so(shop: Workshop, double: ImagesProvider) -> None:
    """Switching it on pays for nothing that is long past."""
    double.script([Mishap(cut="after")])
    shop.plan("double", "a fox")
    shop.ask("double")
    repeating(shop)
    shop.clock.advance(hours=1)
    assert shop.ask("double") == 0
    shop.pipeline.recover()
    assert states(shop) == {"unknown": 1}
