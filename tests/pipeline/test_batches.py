"""Batches through the real pipeline: handed over once, paid once, and every line comes home, whatever happens."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any, Literal, cast

import pytest

from archiver.core.budget import Limit
from archiver.core.ports import BatchProvider, Outside, Provider
from archiver.core.pricing import Tariff
from archiver.pipeline.crew import Crew
from archiver.providers import batch
from tests.doubles.batches import BatchDouble, long_ago
from tests.doubles.http1 import Request
from tests.doubles.wire import Fault
from tests.pipeline.workshop import Clock, Workshop, open_workshop

DIALECTS: tuple[Literal["openai", "gemini"], ...] = ("openai", "gemini")


@pytest.fixture(params=DIALECTS)
def double(request: pytest.FixtureRequest) -> Iterator[BatchDouble]:
    with BatchDouble(request.param, now=Clock()) as made:
        yield made


def asking(double: BatchDouble, **settings: Any) -> Callable[[Outside], dict[str, Provider]]:
    def make(outside: Outside) -> dict[str, Provider]:
        hands = replace(outside, secret=lambda _: double.api_key)
        values = {"base_url": double.endpoint, "api_key": "env:KEY", "gather": "0s", **double.settings, **settings}
        return {"batch": batch.connect("batch", batch.Settings.model_validate(values), hands)}

    return make


@contextmanager
def shop_of(folder: Path, double: BatchDouble, clock: Clock | None = None, **settings: Any) -> Iterator[Workshop]:
    """A process, with money: an image costs 20,000, half of the double's price."""
    process = {name: settings.pop(name) for name in ("free", "spool_max") if name in settings}
    with open_workshop(folder, clock=clock or Clock(), askers=asking(double, **settings), **process) as shop:
        tariffs = {"batch": Tariff(image_micro=20_000)}
        reception = replace(shop.pipeline.reception, tariffs=tariffs)
        shop.pipeline = replace(shop.pipeline, reception=reception, limits=(LIMIT,))
        yield shop


LIMIT = Limit(scope="archiver", per="day", micro=1_000_000, zone=UTC)


def port(shop: Workshop) -> BatchProvider:
    return cast("BatchProvider", shop.pipeline.providers["batch"])


def submit(shop: Workshop) -> int:
    """Gather and order all that there is; how many batches that were."""
    count = 0
    while (gathered := shop.pipeline.batching.take(port(shop))) is not None:
        shop.pipeline.batching.submit(port(shop), gathered)
        count += 1
    return count


def collect(shop: Workshop) -> int:
    """Look at every batch that is due; how many looks that were."""
    collecting, count = shop.pipeline.collecting(), 0
    while (row := collecting.take(port(shop))) is not None:
        collecting.collect(port(shop), row)
        count += 1
    return count


def see_through(shop: Workshop, minutes: int = 10) -> None:
    for _ in range(minutes):
        shop.clock.advance(seconds=61)
        collect(shop)


def batches(shop: Workshop) -> list[dict[str, Any]]:
    return shop.catalogue.batch_reports.listed(all_of_them=True)


def states(shop: Workshop) -> list[str]:
    return [row["state"] for row in shop.catalogue._database.rows("select state from generations order by seq")]


def spent(shop: Workshop) -> int:
    rows = shop.catalogue._database.rows("select spent_micro from budgets")
    return int(rows[0]["spent_micro"]) if rows else 0


def paid(double: BatchDouble) -> int:
    return sum(charge.amount_micro for charge in double.charges)


def orders(double: BatchDouble) -> int:
    return sum(
        seen.method == "POST" and (seen.key == "/v1/batches" or "batchGenerate" in seen.key) for seen in double.requests
    )


def test_a_batch_comes_home_at_half_the_price(double: BatchDouble, tmp_path: Path) -> None:
    with shop_of(tmp_path, double) as shop:
        shop.plan("batch", "a red fox", "月球上的猫", n=2)
        assert submit(shop) == 1 and states(shop) == ["accepted"] * 2
        assert spent(shop) == 80_000, "debited when it was committed"
        assert collect(shop) == 0, "the first look is due after the interval"
        see_through(shop)
        assert states(shop) == ["completed"] * 2 and batches(shop)[0]["state"] == "collected"
        assert spent(shop) == paid(double) == 80_000
        assert shop.files("inbox") == sorted(f"{row['id']}.answer" for row in rows_of(shop)), "the output is gone"
        shop.copy()
        assert shop.states() == ["stored"] * 4
        archived = {path.read_bytes() for path in (tmp_path / "near").rglob("*.png")}
        assert archived == {double.image(prompt, index) for prompt in ("a red fox", "月球上的猫") for index in (0, 1)}
        assert orders(double) == 1


def rows_of(shop: Workshop) -> list[dict[str, Any]]:
    return [dict(row) for row in shop.catalogue._database.rows("select * from generations order by seq")]


def test_what_went_wrong_with_a_line_concerns_that_line_alone(double: BatchDouble, tmp_path: Path) -> None:
    """An error is free and the budgets have it back; an answer without an image is paid; a missing line may be."""
    double.errors, double.refused, double.silent = {"bad"}, {"refused"}, {"silent"}
    with shop_of(tmp_path, double) as shop:
        shop.plan("batch", "good", "bad", "refused", "silent")
        submit(shop)
        see_through(shop)
        assert states(shop) == ["completed", "failed", "failed", "failed"]
        _, bad, refused, silent = rows_of(shop)
        assert bad["cost_micro"] == 0 and "the batch did not make it: " in bad["error"]
        assert "rejected" in bad["error"]
        assert refused["error"].startswith("paid, but without an image: ") and refused["expected_micro"] == 20_000
        assert "it may have been charged" in silent["error"] and silent["expected_micro"] == 20_000
        assert spent(shop) == paid(double) + 20_000 == 60_000


def test_an_expired_batch_gives_back_what_was_not_made(tmp_path: Path) -> None:
    with BatchDouble("openai", end="expired", made=1, now=Clock()) as double, shop_of(tmp_path, double) as shop:
        shop.plan("batch", "made in time", "too late")
        submit(shop)
        see_through(shop)
        assert states(shop) == ["completed", "failed"]
        assert "not charged" in rows_of(shop)[1]["error"]
        assert spent(shop) == paid(double) == 20_000
        assert batches(shop)[0]["said"] == "expired"


def test_an_expired_batch_of_gemini_has_no_output_at_all(tmp_path: Path) -> None:
    with BatchDouble("gemini", end="expired", now=Clock()) as double, shop_of(tmp_path, double) as shop:
        shop.plan("batch", "one", "two")
        submit(shop)
        see_through(shop)
        assert states(shop) == ["failed"] * 2 and spent(shop) == paid(double) == 0


def test_what_is_planned_soon_after_goes_into_the_same_batch(double: BatchDouble, tmp_path: Path) -> None:
    with shop_of(tmp_path, double, gather="10s") as shop:
        shop.plan("batch", "first")
        shop.clock.advance(seconds=9)
        assert submit(shop) == 0
        shop.plan("batch", "second")
        shop.clock.advance(seconds=9)
        assert submit(shop) == 0, "it waits for quiet"
        shop.clock.advance(seconds=1)
        assert submit(shop) == 1 and [row["n"] for row in batches(shop)] == [2]


def test_a_batch_has_at_most_so_many(double: BatchDouble, tmp_path: Path) -> None:
    """What fills one does not wait; large images make smaller batches."""
    with shop_of(tmp_path, double, gather="1h", most_at_once=2) as shop:
        shop.plan("batch", "1", "2", "3")
        assert submit(shop) == 1
        shop.clock.advance(hours=1)
        assert submit(shop) == 1 and sorted(row["n"] for row in batches(shop)) == [1, 2]
        assert port(shop).most_at_once("4096x4096") == 2
    with shop_of(tmp_path / "other", double) as shop:
        own = port(shop)
        assert own.most_at_once("4096x4096") < own.most_at_once("2048x2048")


def test_a_budget_without_room_for_all_takes_some(double: BatchDouble, tmp_path: Path) -> None:
    with shop_of(tmp_path, double) as shop:
        shop.pipeline = replace(shop.pipeline, limits=(replace(LIMIT, micro=50_000),))
        shop.plan("batch", "1", "2", "3")
        submit(shop)
        assert sorted(states(shop)) == ["accepted", "accepted", "planned"] and spent(shop) == 40_000


def upload(request: Request) -> bool:
    return request.method == "POST" and request.path in ("/v1/files", "/upload/v1beta/files")


def order(request: Request) -> bool:
    return request.method == "POST" and not upload(request)


@pytest.mark.parametrize("fault", [Fault(reset=True), Fault(lost=True), Fault(status=500), Fault(status=503)])
def test_a_file_that_was_not_taken_costs_nothing(double: BatchDouble, fault: Fault, tmp_path: Path) -> None:
    double.script(lambda request: fault if upload(request) else None)
    with shop_of(tmp_path, double) as shop:
        shop.plan("batch", "1", "2")
        submit(shop)
        assert states(shop) == ["planned"] * 2 and spent(shop) == 0 and orders(double) == 0
        double.script(None)
        shop.clock.advance(hours=1)
        assert submit(shop) == 1
        see_through(shop)
        assert states(shop) == ["completed"] * 2


def test_an_order_whose_answer_is_lost_is_found_by_its_name(double: BatchDouble, tmp_path: Path) -> None:
    double.script(lambda request: Fault(lost=True) if order(request) else None)
    with shop_of(tmp_path, double) as shop:
        shop.plan("batch", "1", "2")
        submit(shop)
        assert states(shop) == ["submitted"] * 2 and batches(shop)[0]["state"] == "ordered"
        see_through(shop)
        assert states(shop) == ["completed"] * 2
        assert orders(double) == 1 and spent(shop) == paid(double) == 40_000


def test_an_order_that_nobody_lists_is_in_doubt_and_never_repeated(double: BatchDouble, tmp_path: Path) -> None:
    """Only a list without it counts: while the provider cannot be asked, nobody gives up."""
    double.script(lambda request: Fault(reset=True) if order(request) else None)
    with shop_of(tmp_path, double) as shop:
        shop.plan("batch", "1", "2")
        submit(shop)
        double.is_listed = False
        see_through(shop, 30)
        assert states(shop) == ["submitted"] * 2
        double.is_listed = True
        see_through(shop, 2)
        assert states(shop) == ["unknown"] * 2 and spent(shop) == 40_000, "it may have been charged"
        assert batches(shop)[0]["state"] == "unknown" and orders(double) == 1


@pytest.mark.parametrize(("status", "state"), [(400, "failed"), (429, "planned"), (401, "planned")])
def test_an_order_that_was_refused_is_free(double: BatchDouble, status: int, state: str, tmp_path: Path) -> None:
    double.script(lambda request: Fault(status=status) if order(request) else None)
    with shop_of(tmp_path, double) as shop:
        shop.plan("batch", "1", "2")
        submit(shop)
        assert states(shop) == [state] * 2 and spent(shop) == 0
        assert [row["state"] for row in batches(shop)] == ["withdrawn"] and len(double.batches) == 0


def test_what_cannot_be_asked_for_fails_alone(tmp_path: Path) -> None:
    with BatchDouble("openai", now=Clock()) as double, shop_of(tmp_path, double) as shop:
        shop.plan("batch", "good", n=1)
        shop.plan("batch", "too many", n=10, model="gpt-image-1")
        shop.catalogue._database.connection.execute("update generations set parameters = '{\"n\": 3}' where n = 10")
        submit(shop)
        assert states(shop) == ["accepted", "failed"]
        assert len(next(iter(double.batches.values())).lines) == 1
        see_through(shop)
        assert states(shop) == ["completed", "failed"] and spent(shop) == paid(double) == 20_000


def test_an_order_that_is_listed_late_is_waited_for(double: BatchDouble, tmp_path: Path) -> None:
    double.script(lambda request: Fault(lost=True) if order(request) else None)
    with shop_of(tmp_path, double) as shop:
        shop.plan("batch", "1")
        submit(shop)
        hidden, double.batches = double.batches, {}
        see_through(shop, 5)
        assert states(shop) == ["submitted"] and "does not list it yet" in batches(shop)[0]["error"]
        shop.clock.advance(minutes=-12)
        see_through(shop, 1)
        assert states(shop) == ["submitted"], "a clock that was set back a little gives nothing up"
        double.batches = hidden
        see_through(shop)
        assert states(shop) == ["completed"] and orders(double) == 1


def test_a_fault_of_our_own_before_the_order_buys_nothing(double: BatchDouble, tmp_path: Path) -> None:
    with shop_of(tmp_path, double) as shop:
        shop.plan("batch", "1")
        own = cast("batch.Batch", port(shop))
        own._dialect.uploaded = lambda document: str(1 // 0 * len(document))  # type: ignore[method-assign]
        submit(shop)
        assert states(shop) == ["planned"] and spent(shop) == 0 and orders(double) == 0


def test_a_line_of_another_batch_is_not_taken(double: BatchDouble, tmp_path: Path) -> None:
    """A provider that mixes up its outputs must not give a prompt the image of another one."""
    with shop_of(tmp_path, double, most_at_once=1) as shop:
        one, two = shop.plan("batch", "1", "2")
        assert submit(shop) == 2
        first = next(iter(double.batches.values()))
        double.running = 0
        port(shop).look(first.ident)
        ident = first.files["output"]
        double.files[ident] = double.files[ident].replace(one.encode(), two.encode()) + double.files[ident]
        see_through(shop)
        assert states(shop) == ["completed"] * 2
        shop.copy()
        (row,) = shop.catalogue.reports.lineage(two)
        assert (tmp_path / "near" / row["key"]).read_bytes() == double.image("2", 0)


def test_an_unknown_outcome_is_asked_for_once_more_where_the_settings_say_so(
    double: BatchDouble, tmp_path: Path
) -> None:
    double.script(lambda request: Fault(reset=True) if order(request) else None)
    with shop_of(tmp_path, double) as shop:
        shop.pipeline = replace(shop.pipeline, reception=replace(shop.pipeline.reception, repeating=("batch",)))
        shop.plan("batch", "1", "2")
        submit(shop)
        double.script(None)
        see_through(shop, 12)
        assert states(shop) == ["planned"] * 2
        submit(shop)
        see_through(shop)
        assert states(shop) == ["completed"] * 2 and orders(double) == 2


def test_a_spool_that_is_full_stops_and_goes_on_later(double: BatchDouble, tmp_path: Path) -> None:
    """Nothing is lost meanwhile, and nothing is fetched again: the output stays here."""
    with shop_of(tmp_path, double, free=lambda: 10**12, spool_max=100) as shop:
        shop.plan("batch", "1", "2", "3")
        submit(shop)
        see_through(shop, 3)
        assert states(shop).count("completed") == 1
        assert any(name.endswith(".batch") for name in shop.files("inbox"))
        shop.copy()
        see_through(shop, 2)
        assert states(shop).count("completed") == 2
        for _ in range(3):
            shop.copy()
            see_through(shop, 2)
        shop.copy()
        assert states(shop) == ["completed"] * 3 and shop.states() == ["stored"] * 3
        downloads = [seen for seen in double.requests if seen.key.endswith(("content", ":download"))]
        assert len(downloads) == 1


def test_a_full_disk_stops_a_download(double: BatchDouble, tmp_path: Path) -> None:
    free = 10**12
    with shop_of(tmp_path, double, free=lambda: free) as shop:
        shop.plan("batch", "1")
        submit(shop)
        free = 10
        see_through(shop, 3)
        assert states(shop) == ["accepted"] and shop.files("inbox") == []
        assert "no room" in batches(shop)[0]["error"]
        free = 10**12
        see_through(shop, 3)
        assert states(shop) == ["completed"]


def test_a_download_that_is_cut_is_had_again(double: BatchDouble, tmp_path: Path) -> None:
    seed = random.randrange(10**9)
    print(f"seed {seed}")
    cuts = random.Random(seed).randrange(1, 4)
    left = iter([Fault(reset=True)] * cuts)
    double.script(lambda request: next(left, None) if request.path.endswith(("content", ":download")) else None)
    with shop_of(tmp_path, double) as shop:
        shop.plan("batch", "1", "2")
        submit(shop)
        see_through(shop)
        assert states(shop) == ["completed"] * 2 and len(double.charges) == 2


def test_lines_that_are_no_lines_and_foreign_ones_change_nothing_else(double: BatchDouble, tmp_path: Path) -> None:
    with shop_of(tmp_path, double) as shop:
        (other,) = shop.plan("near", "of somebody else")
        one, two = shop.plan("batch", "1", "2")
        submit(shop)
        made = next(iter(double.batches.values()))
        double.running = 0
        port(shop).look(made.ident)
        ident = made.files["output"]
        first, second = double.files[ident].splitlines(keepends=True)
        foreign = first.replace(one.encode(), other.encode())
        double.files[ident] = b"\n<html>\n" + foreign + second[:-40] + b"\n" + first + first + b'{"key": 7}\n'
        see_through(shop)
        assert states(shop) == ["planned", "completed", "failed"]
        assert "it may have been charged" in rows_of(shop)[2]["error"]
        assert shop.generation(one)["images"] == 1 and shop.generation(two)["images"] == 0
        (odd,) = tmp_path.rglob("*.odd")
        assert odd.read_bytes() == double.files[ident], "it may be all that is left of an image that was paid for"


def test_an_output_that_is_named_nowhere_is_waited_for(
    double: BatchDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was made, and paid for: that we cannot tell where it lies is no end."""
    with shop_of(tmp_path, double) as shop:
        shop.plan("batch", "1", "2")
        submit(shop)
        double.running = 0
        look = port(shop).look
        with monkeypatch.context() as mute:
            mute.setattr(port(shop), "look", lambda handle: replace(look(handle), files=(), done=2))
            see_through(shop)
            assert states(shop) == ["accepted"] * 2
            assert "names no file" in batches(shop)[0]["error"]
        see_through(shop)
        assert states(shop) == ["completed"] * 2 and orders(double) == 1


def test_a_new_process_goes_on_where_one_died(double: BatchDouble, tmp_path: Path) -> None:
    """What was gathered and not ordered was not bought; what was ordered is found; an output is read again."""
    clock = Clock()
    with shop_of(tmp_path, double, clock) as shop:
        shop.plan("batch", "1", "2")
        assert shop.pipeline.batching.take(port(shop)) is not None
        assert states(shop) == ["submitted"] * 2
    with shop_of(tmp_path, double, clock) as shop:
        shop.pipeline.recover(at_start=True)
        assert states(shop) == ["planned"] * 2 and spent(shop) == 0
        gathered = shop.pipeline.batching.take(port(shop))
        assert gathered is not None
        later = clock() + timedelta(minutes=10)
        shop.catalogue.batches.order(gathered.batch_id, shop.pipeline.owner.id, clock(), later)
    with shop_of(tmp_path, double, clock) as shop:
        shop.pipeline.recover(at_start=True)
        assert states(shop) == ["submitted"] * 2, "it may have been ordered: looked for, not repeated"
        assert submit(shop) == 0
        see_through(shop, 12)
        assert states(shop) == ["unknown"] * 2 and orders(double) == 0


def test_an_owner_that_lost_its_batch_changes_nothing(double: BatchDouble, tmp_path: Path) -> None:
    with shop_of(tmp_path, double) as shop:
        shop.plan("batch", "1")
        submit(shop)
        shop.clock.advance(minutes=2)
        row = shop.pipeline.collecting().take(port(shop))
        assert row is not None
        shop.clock.advance(hours=1)
        again = shop.catalogue.batches.take("batch", "another", shop.clock(), shop.clock() + timedelta(minutes=10))
        assert again is not None and again.id == row.id
        assert not shop.catalogue.batches.hold(row.id, shop.pipeline.owner.id, shop.clock())
        assert not shop.catalogue.batches.doubt(row.id, shop.pipeline.owner.id, "?", shop.clock())
        shop.pipeline.collecting().collect(port(shop), row)
        (held,) = shop.catalogue._database.rows("select state, owner, leased_until, polled_at from batches")
        assert (held["state"], held["owner"], held["polled_at"]) == ("accepted", "another", None)
        assert held["leased_until"] is not None


def test_an_output_that_dies_is_told_of(double: BatchDouble, tmp_path: Path) -> None:
    from archiver.core.alerting import conditions

    double.running = 0
    with shop_of(tmp_path, double) as shop:
        shop.plan("batch", "1")
        submit(shop)
        long_ago(double, timedelta(days=30) if double.dialect == "openai" else timedelta(hours=47))
        double.script(lambda request: Fault(status=500) if request.path.endswith(("content", ":download")) else None)
        see_through(shop, 2)
        facts = shop.catalogue.watching.facts(shop.clock())
        (alert,) = conditions(facts, shop.clock(), spool_max=10**9)
        assert (alert.kind, alert.level) == ("batch", "page") and "was not fetched" in alert.text
        double.script(None)
        see_through(shop, 2)
        assert states(shop) == ["completed"]
        assert conditions(shop.catalogue.watching.facts(shop.clock()), shop.clock(), spool_max=10**9) == ()


def test_an_output_that_is_gone_for_good_ends_the_batch(double: BatchDouble, tmp_path: Path) -> None:
    with shop_of(tmp_path, double) as shop:
        shop.plan("batch", "1")
        submit(shop)
        double.script(lambda request: Fault(status=404) if request.path.endswith(("content", ":download")) else None)
        see_through(shop, 3)
        assert states(shop) == ["accepted"], "it may be there again"
        shop.clock.advance(days=40)
        see_through(shop, 1)
        assert states(shop) == ["failed"] and spent(shop) == 20_000
        assert batches(shop)[0]["state"] == "collected"


def test_a_crew_submits_and_ends_and_the_next_one_collects(double: BatchDouble, tmp_path: Path) -> None:
    double.running = 0
    with shop_of(tmp_path, double) as shop:
        ids = shop.plan("batch", "1", "2")
        with Crew(shop.pipeline, copies=2, opened=ids) as crew:
            list(crew.work())
        assert crew.tally.asked == 2 and set(shop.catalogue.batch_reports.holding(ids)) == set(ids)
        shop.clock.advance(minutes=2)
        with Crew(shop.pipeline, copies=2, opened=ids) as crew:
            list(crew.work())
        assert crew.tally.stored == 2 and shop.states() == ["stored"] * 2


def test_the_order_names_the_batch_and_the_lines_name_the_generations(double: BatchDouble, tmp_path: Path) -> None:
    with shop_of(tmp_path, double) as shop:
        ids = shop.plan("batch", "1", "2")
        submit(shop)
        (made,) = double.batches.values()
        assert made.name == batches(shop)[0]["id"]
        assert [line.get("custom_id") or line.get("key") for line in made.lines] == ids
