"""What a price table makes of real answers, and what stays known of those that brought no image."""

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from archiver.core.pricing import Price, Prices, Tariff
from tests.doubles.provider import ImagesProvider, Mishap
from tests.pipeline.workshop import START, Workshop, open_workshop

HEADERS = {"x-request-id": "req-paid-7"}


def priced(shop: Workshop, *prices: Price, **tariff: Any) -> None:
    """Let the double charge by a table."""
    tariffs = {"double": Tariff(prices=Prices(shipped=prices), **tariff)}
    shop.pipeline = replace(shop.pipeline, reception=replace(shop.pipeline.reception, tariffs=tariffs))


def row(shop: Workshop, generation_id: str) -> dict[str, Any]:
    """What the table of generations says."""
    statement = "select expected_micro, cost_micro, request_id, answered_at, state from generations where id = ?"
    return dict(shop.catalogue._database.rows(statement, (generation_id,))[0])


def price(micro: int, **changes: Any) -> Price:
    values: dict[str, Any] = {"model": "m", "micro": micro, "since": START.date(), "source": "a page"}
    return Price(**(values | changes))


@pytest.mark.parametrize(("per", "expected", "cost"), [("image", 120_000, 40_000), ("request", 40_000, 40_000)])
def test_the_real_cost_is_that_of_what_came(tmp_path: Path, per: str, expected: int, cost: int) -> None:
    """Three were ordered and one came: by the image a third is paid, by the request all of it."""
    with ImagesProvider([Mishap(images=1)]) as double, open_workshop(tmp_path, double=double) as shop:
        priced(shop, price(40_000, per=per))
        (ident,) = shop.plan("double", "a fox", n=3)
        shop.ask("double")
        found = row(shop, ident)
    assert (found["expected_micro"], found["cost_micro"]) == (expected, cost)


def test_a_price_of_tomorrow_holds_from_tomorrow_on(tmp_path: Path) -> None:
    """And an answer is paid for at the price of the day on which it was asked for."""
    with ImagesProvider() as double, open_workshop(tmp_path, double=double) as shop:
        priced(shop, price(1), price(2, since=date(2026, 11, 21)))
        first, second = shop.plan("double", "a fox", "two foxes")
        shop.clock.advance(hours=14, minutes=59)
        taken = shop.pipeline.next_to_submit(shop.pipeline.providers["double"], ids=[first])
        assert taken is not None
        shop.clock.advance(minutes=2)
        shop.pipeline.submit(shop.pipeline.providers["double"], taken)
        shop.ask("double")
        found = [(row(shop, ident)["expected_micro"], row(shop, ident)["cost_micro"]) for ident in (first, second)]
    assert found == [(1, 1), (2, 2)]


def test_a_model_without_a_row_has_no_price(tmp_path: Path) -> None:
    """The provider's own settings count where an order says nothing."""
    with ImagesProvider() as double, open_workshop(tmp_path, double=double) as shop:
        priced(shop, price(1, quality="high"))
        (ident,) = shop.plan("double", "a fox")
        shop.ask("double")
        assert (row(shop, ident)["expected_micro"], row(shop, ident)["cost_micro"]) == (None, None)
        priced(shop, price(1, quality="high"), parameters={"quality": "high"})
        (ident,) = shop.plan("double", "a fox")
        shop.ask("double")
        assert row(shop, ident)["cost_micro"] == 1


@pytest.mark.parametrize(
    ("mishap", "state", "what"),
    [
        (Mishap(body=b'{"created": 1, "data": null}', headers=HEADERS, charged=True), "failed", "no image"),
        (Mishap(body=b'{"data": [{"url"', headers=HEADERS, charged=True), "unknown", "unknown"),
        (Mishap(status=500, headers=HEADERS, charged=True), "unknown", "unknown"),
        (Mishap(cut="after"), "unknown", "unknown"),
        (Mishap(images=1), "completed", "short"),
        (Mishap(status=400, headers=HEADERS), "failed", None),
        (None, "completed", None),
    ],
)
def test_what_was_paid_in_vain_is_kept_with_the_providers_own_id(
    tmp_path: Path, mishap: Mishap | None, state: str, what: str | None
) -> None:
    """Every way of it, through the real adapter; what was free or is whole is not in the ledger."""
    with ImagesProvider([mishap]) as double, open_workshop(tmp_path, double=double) as shop:
        priced(shop, price(40_000))
        (ident,) = shop.plan("double", "a fox", n=2)
        shop.ask("double")
        assert row(shop, ident)["state"] == state
        claims = shop.catalogue.costs.unrewarded(START - timedelta(days=1))
        charged = len(double.charges)
    if what is None:
        assert claims == []
        return
    assert charged == 1
    (claim,) = claims
    assert (claim["what"], claim["expected_usd"], claim["provider"], claim["model"]) == (what, 0.08, "double", "m")
    assert claim["submitted_at"] == "2026-11-20T09:00:00.000Z"
    if mishap and mishap.headers:
        assert claim["request_id"] == "req-paid-7"
        assert claim["answered_at"] == "2026-11-20T09:00:00.000Z"
    if what == "short":
        assert (claim["images"], claim["n"]) == (1, 2)
