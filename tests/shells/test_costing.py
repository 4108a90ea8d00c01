"""Costs and refunds, from outside: what a person reads, what a program reads, and what a spreadsheet must not run."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.provider import ImagesProvider, Mishap
from tests.world import World, file_section

HEADERS = {"x-request-id": "req-paid-7"}
PAID_IN_VAIN = Mishap(body=b'{"data": null}', headers=HEADERS, charged=True)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "user")


def asked(world: World, tmp_path: Path, mishaps: list[Mishap | None], **settings: Any) -> None:
    """One generation of two images for each."""
    with ImagesProvider(mishaps) as provider:
        world.configure(file_section("main", tmp_path / "store"), provider=provider, **settings)
        for number in range(len(mishaps)):
            world.run("generate", f"=a fox {number}", "-n", "2")
        assert len(provider.charges) == len(mishaps)


def test_costs_are_told_with_a_forecast_and_the_budgets(world: World, tmp_path: Path) -> None:
    """Two whole, one paid in vain, one unknown: three are known cost, the other may be."""
    asked(world, tmp_path, [None, None, PAID_IN_VAIN, Mishap(cut="after")], price_usd=0.04, budget_usd_per_month=5.0)
    (story,) = world.rows("costs", "--by", "provider")
    assert (story["by"], story["zone"]) == ("provider", "Asia/Shanghai")
    (row,) = story["rows"]
    assert row["provider"] == "double"
    assert (row["generations"], row["images"], row["cost_usd"]) == (4, 4, 0.24)
    assert (row["unknown"], row["unknown_usd"], row["unpriced"]) == (1, 0.08, 0)
    assert story["total"] == {name: value for name, value in row.items() if name != "provider"}
    coming = story["forecast"]
    assert (coming["based_on_usd"], coming["based_on_days"]) == (0.24, 1)
    assert (coming["per_day_usd"], coming["next_30_days_usd"], coming["month_so_far_usd"]) == (0.24, 7.2, 0.24)
    assert 0.24 <= coming["month_usd"] <= 0.24 * 32
    (budget,) = story["budgets"]
    assert (budget["scope"], budget["spent_usd"], budget["limit_usd"]) == ("providers.double", 0.32, 5)

    text = world.ok("costs", "--since", "7d")
    assert "total: $0.24 for 4 images, since " in text
    assert "not in it: 1 generation that may have been charged ($0.08)" in text
    assert "a straight line from $0.24 in 1 days" in text
    assert "budget of providers.double for " in text
    assert ": $0.32 of $5" in text
    rows = list(csv.DictReader(io.StringIO(world.ok("costs", "--by", "month", "--csv"))))
    assert [(row["generations"], row["cost_usd"]) for row in rows] == [("4", "0.24")]
    for by in ("day", "job", "model", "size"):
        assert [row["generations"] for row in world.rows("costs", "--by", by)[0]["rows"]] == [4]


def test_a_cost_that_nobody_knows_is_shown_as_unknown(world: World, tmp_path: Path) -> None:
    asked(world, tmp_path, [None, Mishap(cut="after")])
    (story,) = world.rows("costs")
    assert (story["total"]["cost_usd"], story["total"]["unpriced"]) == (None, 1)
    text = world.ok("costs")
    assert "total: an unknown amount for 2 images" in text
    assert "not in it: 1 generation at a price that nobody knows" in text
    assert "may have been charged (an unknown amount, 1 of them at a price that nobody knows)" in text


def test_a_table_of_ones_own_prices_what_is_asked(world: World, tmp_path: Path) -> None:
    """By the request: two images for the price of one."""
    rows = '[[prices]]\nmodel = "nano-*"\nusd = 0.09\nper = "request"\nfrom = 2026-01-01\nsource = "an invoice"\n'
    world.environment["ARCHIVER_ARCHIVER__PRICES_FILE"] = str(tmp_path / "own.toml")
    (tmp_path / "own.toml").write_text(rows, "utf-8")
    asked(world, tmp_path, [None])
    assert world.rows("costs")[0]["total"]["cost_usd"] == 0.09
    assert world.rows("generations")[0]["price_usd"] == 0.09
    assert world.sql("select cost_usd from lineage")[0]["cost_usd"] == 0.045


def test_nothing_was_spent_yet(world: World, tmp_path: Path) -> None:
    world.configure(file_section("main", tmp_path / "store"))
    assert world.run("costs").returncode == 3, "there is no catalogue"
    (tmp_path / "urls.csv").write_text("url,prompt\nhttps://example.com/a.png,a fox\n", "utf-8")
    world.environment["ARCHIVER_NETWORK__PROXY"] = "http://127.0.0.1:9"  # nothing leaves this machine
    world.run("backfill", str(tmp_path / "urls.csv"))
    assert len(world.sql("select * from generations")) == 1
    text = world.ok("costs")
    assert "total: $0 for 0 images" in text, "what was paid elsewhere is not ours"
    done = world.run("refunds")
    assert (done.returncode, "nothing was paid for in vain" in done.stderr) == (0, True)


def test_refunds_are_a_list_to_send(world: World, tmp_path: Path) -> None:
    """Each with the provider's own id; what is whole is not in it, and no prompt is."""
    mishaps = [None, PAID_IN_VAIN, Mishap(status=500, headers=HEADERS, charged=True), Mishap(images=1)]
    asked(world, tmp_path, mishaps, price_usd=0.04)
    text = world.ok("refunds", "--since", "30d", "--csv")
    assert "fox" not in text
    rows = list(csv.DictReader(io.StringIO(text)))
    found = [(row["what"], row["provider"], row["images"], row["n"], row["expected_usd"]) for row in rows]
    assert found == [
        ("no image", "double", "0", "2", "0.08"),
        ("unknown", "double", "0", "2", "0.08"),
        ("short", "double", "1", "2", "0.08"),
    ]
    assert [row["request_id"] for row in rows][:2] == ["req-paid-7", "req-paid-7"]
    assert all(row["submitted_at"].endswith("Z") for row in rows)
    assert rows[0]["error"].startswith("paid, but without an image: ")
    assert [row["what"] for row in world.rows("refunds")] == ["no image", "unknown", "short"]
    assert "req-paid-7" in world.ok("refunds").splitlines()[1]


def test_a_spreadsheet_runs_nothing_of_what_a_provider_said(world: World, tmp_path: Path) -> None:
    """A cell that begins like a formula is marked as text, and control characters are shown."""
    body = json.dumps({"error": {"message": "no"}}).encode()
    evil = Mishap(status=500, body=body, headers={"x-request-id": '=HYPERLINK("http://evil.example")'}, charged=True)
    asked(world, tmp_path, [evil], price_usd=0.04)
    (row,) = csv.DictReader(io.StringIO(world.ok("refunds", "--csv")))
    assert row["request_id"] == '\'=HYPERLINK("http://evil.example")'


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("costs", "--since", "30"), "is no duration"),
        (("costs", "--since", "0d"), "write a time that has passed"),
        (("refunds", "--since", "99999999d"), "write a time that has passed"),
        (("costs", "--by", "colour"), "'colour' is not one of"),
        (("costs", "--json", "--csv"), "say either --json or --csv"),
        (("refunds", "--json", "--csv"), "say either --json or --csv"),
    ],
)
def test_what_cannot_be_meant_is_refused(world: World, tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    world.configure(file_section("main", tmp_path / "store"))
    done = world.run(*arguments)
    assert done.returncode == 2
    assert words in done.stderr
