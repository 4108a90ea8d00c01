"""Equal requests: the second one is settled with the images of the first, at no cost, or waits for it."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from archiver.catalogue import Draft
from archiver.pipeline.crew import Crew
from tests.doubles.provider import ImagesProvider, Mishap
from tests.doubles.source import Behaviour
from tests.pipeline.workshop import Workshop, open_workshop

DAY = timedelta(hours=24)


def plan(shop: Workshop, prompt: str = "a fox", reuse: timedelta | None = DAY, **changes: Any) -> str:
    """One more generation; its id."""
    values: dict[str, Any] = {"provider": "double", "model": "m", "stores": ("near",), "n": 1}
    made = Draft(id=shop.new_id(), origin="generate", prompt=prompt, reuse=reuse, **values | changes)
    shop.catalogue.generations.add([made], shop.clock())
    return made.id


def row(shop: Workshop, generation_id: str) -> dict[str, Any]:
    """A generation as it stands, with what it cost and whose images it has."""
    found = shop.catalogue._database.rows(
        "select state, reused_from, cost_micro, submitted_at, owner from generations where id = ?", (generation_id,)
    )
    return dict(found[0])


@pytest.fixture
def double() -> Iterator[ImagesProvider]:
    with ImagesProvider() as made:
        yield made


@pytest.fixture
def shop(tmp_path: Path, double: ImagesProvider) -> Iterator[Workshop]:
    with open_workshop(tmp_path / "d", double=double) as made:
        yield made


def test_an_equal_request_within_the_window_costs_nothing(shop: Workshop, double: ImagesProvider) -> None:
    first = plan(shop)
    shop.ask("double")
    shop.copy()
    shop.clock.advance(hours=23)
    second = plan(shop)
    assert shop.ask("double") == 0
    assert len(double.charges) == 1
    assert row(shop, second) == {
        "state": "reused", "reused_from": first, "cost_micro": 0, "submitted_at": None, "owner": None,
    }  # fmt: skip
    assert [line["generation_id"] for line in shop.catalogue.reports.lineage(second)] == [first]
    assert (shop.generation(second)["images"], shop.generation(second)["stored"]) == (1, 1)
    assert shop.catalogue.materials.generation_of(second) == first
    events = shop.catalogue._database.rows("select kind from events where generation_id = ?", (second,))
    assert [event["kind"] for event in events] == ["reused"]


def test_nothing_is_reused_that_is_too_old_or_was_not_asked_to_be(shop: Workshop, double: ImagesProvider) -> None:
    plan(shop)
    shop.ask("double")
    shop.copy()
    plan(shop, reuse=None)
    assert shop.ask("double") == 1
    shop.copy()
    shop.clock.advance(hours=24, seconds=1)
    plan(shop)
    assert shop.ask("double") == 1
    assert len(double.charges) == 3


def test_another_store_needs_images_of_its_own(shop: Workshop) -> None:
    """What was archived in one bucket only is no archive in two."""
    plan(shop, stores=("near",))
    shop.ask("double")
    shop.copy()
    plan(shop, stores=("near", "far"))
    assert shop.ask("double") == 1
    smaller = plan(shop, stores=("near",))
    assert shop.ask("double") == 0
    assert row(shop, smaller)["state"] == "reused"


def test_a_short_answer_serves_nobody(shop: Workshop, double: ImagesProvider) -> None:
    double.script([Mishap(images=1)])
    plan(shop, n=2)
    shop.ask("double")
    shop.copy()
    plan(shop, n=2)
    assert shop.ask("double") == 1


def test_a_twin_waits_while_the_first_is_asked_and_until_its_images_are_safe(shop: Workshop) -> None:
    first, second = plan(shop), plan(shop)
    other = plan(shop, prompt="a cat")
    provider = shop.pipeline.providers["double"]
    submission = shop.pipeline.next_to_submit(provider)
    assert submission is not None and submission.ask.generation_id == first
    following = shop.pipeline.next_to_submit(provider)
    assert following is not None and following.ask.generation_id == other, "the twin waits, the others do not"
    assert shop.pipeline.next_to_submit(provider) is None
    due = shop.catalogue.fitness.next_due
    assert due("planned", providers=["double"], job=None, ids=[second], now=shop.clock()) is None
    assert shop.catalogue.reports.in_other_hands([second]), "somebody is asking for what it waits for"
    shop.pipeline.submit(provider, submission)
    assert shop.pipeline.next_to_submit(provider) is None
    assert row(shop, second)["state"] == "planned", "the image could still be lost"
    shop.copy()
    assert due("planned", providers=["double"], job=None, ids=[second], now=shop.clock()) is not None
    assert shop.pipeline.next_to_submit(provider) is None
    assert row(shop, second)["reused_from"] == first


def test_a_twin_is_asked_for_when_the_first_came_to_nothing(shop: Workshop, double: ImagesProvider) -> None:
    """Failed, in doubt, or lost: no images, so the second one pays for its own."""
    double.script([Mishap(data_null=True), Mishap(cut="after")])
    for _ in range(3):
        plan(shop)
    assert shop.ask("double") == 3
    assert sorted(shop.catalogue.reports.status(shop.clock())["generations"].items()) == [
        ("completed", 1), ("failed", 1), ("unknown", 1),
    ]  # fmt: skip


def test_a_lost_image_serves_nobody(tmp_path: Path) -> None:
    with (
        ImagesProvider(image_first=(Behaviour(status=404),) * 1000, lifetime=timedelta(hours=1)) as double,
        open_workshop(tmp_path / "d", double=double) as shop,
    ):
        plan(shop, reuse=timedelta(days=30))
        shop.ask("double")
        for _ in range(90):
            shop.copy()
            shop.pipeline.expire()
            shop.clock.advance(hours=1)
        assert shop.states() == ["lost"]
        plan(shop, reuse=timedelta(days=30))
        assert shop.ask("double") == 1


def test_bytes_in_the_spool_are_safe_enough(tmp_path: Path) -> None:
    """Inline images need no URL any more: the second request does not wait for a bucket that is down."""
    with (
        ImagesProvider() as double,
        open_workshop(tmp_path / "d", double=double, response_format="b64_json") as shop,
    ):
        first = plan(shop)
        shop.ask("double")
        assert shop.states() == ["spooled"]
        second = plan(shop)
        assert shop.ask("double") == 0
        assert row(shop, second)["reused_from"] == first


def test_what_needs_no_money_needs_no_room_in_a_budget_and_no_open_gate(shop: Workshop, double: ImagesProvider) -> None:
    plan(shop)
    shop.ask("double")
    shop.copy()
    double.script([Mishap(status=429, headers={"Retry-After": "600"})])
    plan(shop, prompt="a cat")
    shop.ask("double")
    assert shop.pipeline.doors.providers.pause("double", shop.clock())
    second = plan(shop)
    assert shop.ask("double") == 0
    assert row(shop, second)["state"] == "reused"


def test_a_crew_settles_a_whole_batch_of_twins_with_one_request(shop: Workshop, double: ImagesProvider) -> None:
    ids = [plan(shop) for _ in range(5)]
    with Crew(shop.pipeline, copies=2, generations=ids) as crew:
        for _ in crew.work():
            pass
    assert len(double.charges) == 1
    assert sorted(row(shop, one)["state"] for one in ids) == ["completed", *["reused"] * 4]


def test_processes_that_race_pay_once_for_equal_requests(tmp_path: Path, double: ImagesProvider) -> None:
    """Two pipelines over one catalogue, at the same moment, each with a twin of its own."""
    with open_workshop(tmp_path / "d", double=double) as one, open_workshop(tmp_path / "d", double=double) as two:
        for _ in range(10):
            for number in range(2):
                plan(one, prompt=f"fox {number}")
        start, taken = threading.Barrier(8, timeout=30), []

        def race(shop: Workshop) -> None:
            start.wait()
            provider = shop.pipeline.providers["double"]
            while (submission := shop.pipeline.next_to_submit(provider)) is not None:
                taken.append(submission.ask.prompt)

        threads = [threading.Thread(target=race, args=(shop,)) for shop in (one, two) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(taken) == ["fox 0", "fox 1"]


def test_a_question_for_one_generation_does_not_read_every_copy(shop: Workshop) -> None:
    """`generate` asks it for each of its prompts, and there may be ten million copies."""
    asked: list[str] = []
    rows = shop.catalogue._database.rows

    def listening(statement: str, parameters: Any = ()) -> list[Any]:
        asked.append(statement)
        return rows(statement, parameters)

    shop.catalogue._database.rows = listening  # type: ignore[method-assign]
    shop.catalogue.reports.lineage("g")
    exact = next(statement for statement in asked if "reused_from" in statement)
    plan = [str(tuple(step)) for step in rows(f"explain query plan {exact}", {"q": "g", "limit": 9})]
    assert not [step for step in plan if "SCAN copies" in step or "SCAN images" in step]
