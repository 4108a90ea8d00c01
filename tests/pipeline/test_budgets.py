"""What an answer does to a budget: real requests to a provider with a ledger, in a pipeline with limits."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC
from decimal import Decimal
from pathlib import Path

import pytest

from archiver.core.budget import Limit, purses
from tests.doubles.provider import ImagesProvider, Mishap
from tests.pipeline.workshop import Workshop, open_workshop

PRICE = 40_000


@contextmanager
def budgeted(folder: Path, double: ImagesProvider, images: int) -> Iterator[Workshop]:
    """A workshop that may spend so much per UTC day."""
    with open_workshop(folder, double=double, price_usd=Decimal("0.04")) as shop:
        limits = (Limit(scope="archiver", per="day", micro=images * PRICE, zone=UTC),)
        shop.pipeline = replace(shop.pipeline, limits=limits)
        yield shop


def spent(shop: Workshop) -> int:
    """Images that today's budget has paid for."""
    (balance,) = shop.catalogue.outcomes.balances(purses(shop.pipeline.limits, shop.clock()))
    return round(balance["spent_usd"] * 1_000_000 / PRICE)


@pytest.mark.parametrize(
    ("mishap", "state", "left", "paid"),
    [
        (Mishap(status=400), "failed", 0, 0),
        (Mishap(status=429), "planned", 0, 0),
        (Mishap(cut="after"), "unknown", 2, 2),
        (Mishap(cut="before"), "unknown", 2, 0),
        (Mishap(status=500, charged=True), "unknown", 2, 2),
        (Mishap(data_null=True), "failed", 2, 2),
        (Mishap(truncated=True), "unknown", 2, 2),
        (Mishap(images=1), "completed", 1, 2),
        (None, "completed", 2, 2),
    ],
)
def test_a_budget_counts_what_may_have_been_charged(
    tmp_path: Path, mishap: Mishap | None, state: str, left: int, paid: int
) -> None:
    """Given back is only what provably cost nothing; `paid` is what the provider's own ledger says."""
    with ImagesProvider([mishap]) as double, budgeted(tmp_path, double, 10) as shop:
        (ident,) = shop.plan("double", "a fox", n=2)
        shop.ask("double")
        assert shop.generation(ident)["state"] == state
        assert spent(shop) == left
        assert sum(charge.n for charge in double.charges) == paid


def test_unknown_outcomes_use_up_the_budget_and_tomorrow_has_a_new_one(tmp_path: Path) -> None:
    """Three lost answers for three images: nothing more is asked today, however often one looks."""
    with ImagesProvider([Mishap(cut="after")] * 3) as double, budgeted(tmp_path, double, 3) as shop:
        shop.plan("double", *(f"fox {number}" for number in range(5)))
        assert shop.ask("double") == 3
        shop.clock.advance(hours=14, minutes=59)
        assert shop.ask("double") == 0
        assert len(double.charges) == 3
        shop.clock.advance(minutes=1)
        assert shop.ask("double") == 2
        assert [charge.prompt for charge in double.charges] == [f"fox {number}" for number in range(5)]


def test_an_operator_may_pay_again_and_only_once(tmp_path: Path) -> None:
    """A retried generation is asked for once more; the first request stays spent."""
    with ImagesProvider([Mishap(cut="after")]) as double, budgeted(tmp_path, double, 10) as shop:
        (ident,) = shop.plan("double", "a fox")
        shop.ask("double")
        assert shop.ask("double") == 0
        assert shop.catalogue.outcomes.retry(ident, "paid again", shop.clock())
        assert not shop.catalogue.outcomes.retry(ident, "paid again", shop.clock())
        assert shop.ask("double") == 1
        shop.copy()
        assert shop.states() == ["stored"]
        assert len(double.charges) == spent(shop) == 2
        assert not shop.catalogue.outcomes.write_off(ident, "too late", shop.clock())


def test_a_written_off_generation_is_asked_for_no_more_and_stays_spent(tmp_path: Path) -> None:
    with ImagesProvider([Mishap(cut="after")]) as double, budgeted(tmp_path, double, 10) as shop:
        (ident,) = shop.plan("double", "a fox")
        shop.ask("double")
        assert shop.catalogue.reports.status(shop.clock())["unknown_generations"] == 1
        assert shop.catalogue.outcomes.write_off(ident, "known", shop.clock())
        assert not shop.catalogue.outcomes.write_off(ident, "known", shop.clock())
        standing = shop.catalogue.reports.status(shop.clock())
        assert (standing["unknown_generations"], standing["unknown_price_usd"]) == (0, None)
        shop.clock.advance(hours=1)
        assert shop.ask("double") == 0
        assert len(double.charges) == spent(shop) == 1
        # Asked again after all, and in doubt again: it is open again.
        double.script([Mishap(cut="after")])
        assert shop.catalogue.outcomes.retry(ident, "paid again", shop.clock())
        assert shop.ask("double") == 1
        standing = shop.catalogue.reports.status(shop.clock())
        assert (standing["unknown_generations"], standing["unknown_price_usd"]) == (1, 0.04)


def test_a_generation_that_waits_for_its_budget_keeps_the_others_going(tmp_path: Path) -> None:
    """Four images do not fit into three; the ones after it do."""
    with ImagesProvider() as double, budgeted(tmp_path, double, 3) as shop:
        (large,) = shop.plan("double", "four foxes", n=4)
        shop.plan("double", "a fox", "two foxes")
        assert shop.ask("double") == 2
        assert shop.generation(large)["state"] == "planned"
        assert "is used up until 2026-11-21T00:00Z" in shop.generation(large)["error"]
