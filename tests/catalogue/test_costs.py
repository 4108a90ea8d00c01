"""What was spent on what: sums over days of a zone, what is unknown apart, and what was paid for without an image."""

import json
import os
import random
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from archiver.catalogue import Catalogue, as_text
from archiver.catalogue.costs import By
from tests.catalogue.filling import HOUR, NOW, arrival, ask, draft, raw

SHANGHAI = ZoneInfo("Asia/Shanghai")
DAY = timedelta(days=1)
#: How many rows the timing is made of; a million by ARCHIVER_COST_ROWS=1000000.
ROWS = int(os.environ.get("ARCHIVER_COST_ROWS", "20000"))
BYS: tuple[By, ...] = ("day", "month", "job", "provider", "model", "size")


def sent(catalogue: Catalogue, name: str, *, at: datetime = NOW, price: int | None = 40_000, **changes: Any) -> str:
    """One generation that has just been asked for."""
    catalogue.generations.add([draft(name, **changes)], at)
    taken = catalogue.generations.begin_submit(
        "apiyi", "me", at, ids=[f"g{name}"], cost=lambda order: None if price is None else price * order.n
    )
    assert taken is not None
    return f"g{name}"


def came(catalogue: Catalogue, name: str, images: int = 1, cost: int | None = 40_000, **changes: Any) -> str:
    """One generation with so many images."""
    ident = sent(catalogue, name, **changes)
    arrivals = [arrival(f"{name}-{index}", index=index) for index in range(images)]
    total = None if cost is None else cost * images
    assert catalogue.generations.complete(ident, arrivals, answered_at=NOW, now=NOW, cost_micro=total)
    return ident


def by(catalogue: Catalogue, what: By, days: int = 30) -> dict[str | None, dict[str, Any]]:
    """The rows, by their label."""
    return {row.pop(what): row for row in catalogue.costs.by(what, NOW - days * DAY, NOW + DAY, SHANGHAI)}


def test_nothing_was_spent_in_an_empty_catalogue(catalogue: Catalogue) -> None:
    assert [by(catalogue, what, days=36500) for what in BYS] == [{}] * 6
    assert catalogue.costs.first() is None
    assert catalogue.costs.unrewarded(NOW - DAY) == []


def test_what_is_unknown_is_never_added_as_nothing(catalogue: Catalogue) -> None:
    """Known cost, unknown price and unknown outcome are three columns; what was given back is none of them."""
    came(catalogue, "a", 2, n=2, size="4K")
    came(catalogue, "b", price=None, cost=None)
    catalogue.generations.doubt(sent(catalogue, "c"), "me", "cut", NOW)
    catalogue.generations.doubt(sent(catalogue, "d", price=None), "me", "cut", NOW)
    catalogue.generations.fail(sent(catalogue, "e"), "me", "400", NOW, is_free=True)
    catalogue.generations.fail(sent(catalogue, "f"), "me", "paid, but without an image", NOW)
    catalogue.generations.withdraw(sent(catalogue, "g"), "me", NOW, "429", NOW)
    sent(catalogue, "h")
    (row,) = by(catalogue, "provider").values()
    assert row == {
        "generations": 7,
        "images": 3,
        "cost_usd": 0.16,
        "unpriced": 1,
        "unknown": 2,
        "unknown_usd": 0.04,
        "unknown_unpriced": 1,
        "reused": 0,
        "saved_usd": 0.0,
    }
    sizes = by(catalogue, "size")
    assert (sizes["4K"]["cost_usd"], sizes["4K"]["images"]) == (0.08, 2)
    assert by(catalogue, "job").keys() == {"generate"}


def test_what_nobody_knows_the_price_of_did_not_cost_nothing(catalogue: Catalogue) -> None:
    came(catalogue, "a", price=None, cost=None)
    catalogue.generations.doubt(sent(catalogue, "b", price=None), "me", "cut", NOW)
    (row,) = by(catalogue, "model").values()
    assert (row["cost_usd"], row["unpriced"], row["unknown_usd"], row["unknown_unpriced"]) == (None, 1, None, 1)


def test_days_and_months_are_those_of_the_zone(catalogue: Catalogue) -> None:
    """Shanghai's 21 November begins at 16:00 UTC of the 20th, its December likewise."""
    for name, at in enumerate(("2026-11-20T15:59", "2026-11-20T16:00", "2026-11-30T15:59", "2026-11-30T16:00")):
        sent(catalogue, str(name), at=datetime.fromisoformat(at).replace(tzinfo=UTC))
    until = datetime(2026, 12, 31, tzinfo=UTC)
    days = catalogue.costs.by("day", NOW, until, SHANGHAI)
    assert [(row["day"], row["generations"]) for row in days] == [
        ("2026-11-20", 1),
        ("2026-11-21", 1),
        ("2026-11-30", 1),
        ("2026-12-01", 1),
    ]
    months = catalogue.costs.by("month", NOW, until, SHANGHAI)
    assert [(row["month"], row["generations"]) for row in months] == [("2026-11", 3), ("2026-12", 1)]
    assert catalogue.costs.first() == datetime(2026, 11, 20, 15, 59, tzinfo=UTC)


def test_what_was_asked_again_was_spent_twice(catalogue: Catalogue) -> None:
    """The first request stays in the sums and in the ledger; what cost nothing does not."""
    ident = sent(catalogue, "a")
    catalogue.generations.doubt(ident, "me", "cut", NOW, answer=("req-1", NOW))
    free = sent(catalogue, "b")
    catalogue.generations.fail(free, "me", "400", NOW, is_free=True)
    for one in (ident, free):
        assert catalogue.outcomes.retry(one, "again", NOW)
    assert ask(catalogue, "select generation_id, request_id from earlier_requests") == [(ident, "req-1")]
    assert ask(catalogue, "select count(*) from generations where request_id is not null") == [(0,)]
    taken = catalogue.generations.begin_submit("apiyi", "me", NOW + HOUR, ids=[ident], cost=lambda _: 40_000)
    assert taken is not None
    assert catalogue.generations.complete(ident, [arrival()], answered_at=NOW, now=NOW, cost_micro=40_000)
    (row,) = by(catalogue, "provider").values()
    assert (row["generations"], row["cost_usd"], row["unknown"], row["unknown_usd"]) == (2, 0.04, 1, 0.04)
    (claim,) = catalogue.costs.unrewarded(NOW - DAY)
    assert (claim["generation_id"], claim["what"], claim["request_id"], claim["expected_usd"]) == (
        ident,
        "unknown",
        "req-1",
        0.04,
    )


def test_reuse_saves_what_its_source_did_cost(catalogue: Catalogue) -> None:
    came(catalogue, "a", 2, n=2)
    catalogue.generations.add([draft("again", n=2)], NOW)
    raw(catalogue).execute("update generations set state = 'reused', reused_from = 'ga' where id = 'gagain'")
    (row,) = by(catalogue, "day").values()
    assert (row["generations"], row["reused"], row["saved_usd"]) == (1, 1, 0.08)
    assert sum(row["reused"] for row in by(catalogue, "job").values()) == 1


def test_the_ledger_has_what_was_paid_without_an_image(catalogue: Catalogue) -> None:
    """With the provider's own id; what was free, what is whole, and what is older are not in it."""
    catalogue.generations.fail(sent(catalogue, "old", at=NOW - 40 * DAY), "me", "paid", NOW)
    came(catalogue, "whole")
    catalogue.generations.fail(sent(catalogue, "free"), "me", "400", NOW, is_free=True)
    paid = sent(catalogue, "a", n=2)
    catalogue.generations.fail(paid, "me", "paid, but without an image: SAFETY", NOW, answer=("req-7", NOW + HOUR))
    catalogue.generations.doubt(sent(catalogue, "b", price=None, at=NOW + HOUR), "me", "cut", NOW)
    short = sent(catalogue, "c", n=3, at=NOW + 2 * HOUR)
    one = [arrival("c-0", index=0), arrival("c-1", index=1, role="draft")]
    facts: dict[str, Any] = {"candidates": [{"finishReason": "STOP"}, {"finishReason": "IMAGE_SAFETY"}]}
    assert catalogue.generations.complete(
        short, one, answered_at=NOW, now=NOW, cost_micro=40_000, request_id="req-9", facts=facts
    )
    claims = catalogue.costs.unrewarded(NOW - 30 * DAY)
    names = ("generation_id", "what", "request_id", "images", "n", "expected_usd", "finish_reason")
    assert [tuple(row[name] for name in names) for row in claims] == [
        (paid, "no image", "req-7", 0, 2, 0.08, None),
        ("gb", "unknown", None, 0, 1, None, None),
        (short, "short", "req-9", 1, 3, 0.12, "STOP, IMAGE_SAFETY"),
    ]
    assert (claims[0]["submitted_at"], claims[0]["answered_at"]) == (as_text(NOW), as_text(NOW + HOUR))
    assert "SAFETY" in claims[0]["error"]


@pytest.mark.parametrize("what", BYS)
def test_questions_about_money_look_at_no_row_outside_of_their_time(catalogue: Catalogue, what: By) -> None:
    """SQLite's own plan names the index for every table that grows, and sorts no day of another year."""
    from archiver.catalogue import costs

    texts = [maker(costs._LABELS[what]) for maker in (costs._sent, costs._sent_before, costs._reused)]
    for text, index in zip(
        texts, ("generations_submitted", "earlier_requests_submitted", "generations_reused"), strict=True
    ):
        plan = " | ".join(row[3] for row in raw(catalogue).execute(f"explain query plan {text}", {"spans": "[]"}))
        assert f"USING INDEX {index}" in plan
        assert "SCAN g" not in plan


def test_the_sums_of_many_rows_are_right_and_their_time_is_told(catalogue: Catalogue) -> None:
    """Against a plain addition of the same rows. The times are printed (pytest -s), and nobody is held to them."""
    seed = int(os.environ.get("ARCHIVER_SEED") or random.SystemRandom().randrange(2**32))
    print(f"ARCHIVER_SEED={seed} ARCHIVER_COST_ROWS={ROWS}")
    luck = random.Random(seed)
    start = NOW - 30 * DAY
    micro: Counter[str] = Counter()
    unknown: Counter[str] = Counter()

    def rows() -> Any:
        for number in range(ROWS):
            at = start + number * 30 * DAY / ROWS
            state = luck.choices(("completed", "failed", "unknown"), (96, 2, 2))[0]
            cost = luck.choice((40_000, 90_000, 134_000))
            (unknown if state == "unknown" else micro)[f"{at.astimezone(SHANGHAI):%Y-%m-%d}"] += cost
            model, size = luck.choice(("nano", "pro", "flash")), luck.choice(("1K", "4K", None))
            yield f"m{number}", f"job{number % 7}", f"a fox, number {number}", model, size, as_text(at), cost, state

    db = raw(catalogue)
    began = time.perf_counter()
    db.execute("begin")
    for trigger in ("prompts_insert", "generation_births"):
        db.execute(f"drop trigger {trigger}")
    db.executemany(
        "insert into generations (id, origin, prompt, provider, model, size, stores, created_at, submitted_at,"
        " expected_micro, state, came, metadata, facts) select ?1, 'job', ?3, 'apiyi', ?4, ?5, '[\"main\"]', ?6, ?6,"
        f" ?7, ?8, ?8 = 'completed', json_object('job', ?2), '{json.dumps({'usage': 'x' * 200})}'",
        rows(),
    )
    db.execute("commit")
    print(f"filled in {time.perf_counter() - began:.1f} s, {catalogue.path.stat().st_size / 1e6:.0f} MB")
    for what in BYS:
        began = time.perf_counter()
        found = catalogue.costs.by(what, start, NOW, SHANGHAI)
        print(f"by {what}: {(time.perf_counter() - began) * 1000:.0f} ms")
        assert sum(row["generations"] for row in found) == ROWS
        assert round(sum(row["cost_usd"] for row in found) * 1e6) == micro.total()
        assert round(sum(row["unknown_usd"] for row in found) * 1e6) == unknown.total()
        if what == "day":
            assert {row["day"]: round(row["cost_usd"] * 1e6) for row in found} == micro
    began = time.perf_counter()
    lately = catalogue.costs.by("day", NOW - DAY, NOW, SHANGHAI)
    print(f"by day, one day of thirty: {(time.perf_counter() - began) * 1000:.0f} ms")
    assert 0 < sum(row["generations"] for row in lately) <= ROWS / 30 + 1
    began = time.perf_counter()
    claims = catalogue.costs.unrewarded(start)
    print(f"unrewarded: {(time.perf_counter() - began) * 1000:.0f} ms for {len(claims)}")


def test_a_late_answer_is_not_counted_beside_its_own_doubt(catalogue: Catalogue) -> None:
    """Planned again, and the first answer comes home before anybody asks: one request was paid for, not two."""
    ident = sent(catalogue, "a")
    catalogue.generations.doubt(ident, "me", "cut", NOW)
    assert catalogue.outcomes.retry(ident, "again", NOW)
    assert catalogue.generations.complete(ident, [arrival()], answered_at=NOW, now=NOW, cost_micro=40_000)
    (row,) = by(catalogue, "provider").values()
    assert (row["generations"], row["images"], row["cost_usd"], row["unknown"]) == (1, 1, 0.04, 0)
    assert catalogue.costs.unrewarded(NOW - DAY) == []
