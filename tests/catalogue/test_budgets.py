"""Budgets in the catalogue: nothing is asked for that has no room, and what cost nothing is given back."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from archiver.catalogue import Catalogue, as_text
from archiver.catalogue.rows import Submission
from archiver.core.budget import Limit, purses
from tests.catalogue import racing
from tests.catalogue.filling import NOW, arrival, ask, draft, kinds, opened, raw, sqlite

PRICE = 40_000
SHANGHAI = ZoneInfo("Asia/Shanghai")
MIDNIGHT = datetime(2026, 11, 20, 16, 0, tzinfo=UTC)


def day(micro: int, **changes: Any) -> Limit:
    """What may be spent by everybody on a day in Shanghai."""
    values: dict[str, Any] = {"scope": "archiver", "per": "day", "micro": micro, "zone": SHANGHAI}
    return Limit(**(values | changes))


def begin(catalogue: Catalogue, *limits: Limit, at: datetime = NOW, price: int | None = PRICE) -> Submission | None:
    """Ask for the next generation that has room."""
    return catalogue.generations.begin_submit(
        "apiyi", "me", at, cost=lambda order: None if price is None else price * order.n, limits=limits
    )


def begin_all(catalogue: Catalogue, *limits: Limit, at: datetime = NOW, price: int | None = PRICE) -> list[str]:
    """The ids of all that have room."""
    return [found.ask.generation_id for found in iter(lambda: begin(catalogue, *limits, at=at, price=price), None)]


def spent(catalogue: Catalogue) -> dict[tuple[str, str], int]:
    """The balances, by scope and period."""
    rows = ask(catalogue, "select scope, period, spent_micro from budgets")
    return {(scope, name): micro for scope, name, micro in rows}


def plan(catalogue: Catalogue, count: int, **changes: Any) -> None:
    """Generations g0, g1, ..."""
    if "job" in changes:
        job = changes["job"]
        drafts = [draft(number, origin="job", position=number, **changes) for number in range(count)]
        assert catalogue.ticks.plan(job, NOW, drafts, NOW)
    else:
        catalogue.generations.add([draft(number, **changes) for number in range(count)], NOW)


def test_what_has_no_room_waits_for_the_next_day_and_says_so_once(catalogue: Catalogue) -> None:
    """Three of five fit; the others wait until Shanghai's midnight, with one event each, however often one looks."""
    plan(catalogue, 5)
    assert begin_all(catalogue, day(3 * PRICE + PRICE // 2)) == ["g0", "g1", "g2"]
    assert begin_all(catalogue, day(3 * PRICE + PRICE // 2)) == []
    held = ask(catalogue, "select id, not_before, error from generations where state = 'planned' order by seq")
    reason = "budget of archiver for 2026-11-20 is used up until 2026-11-20T16:00Z"
    assert held == [(ident, "2026-11-20T16:00:00.000Z", reason) for ident in ("g3", "g4")]
    catalogue.outcomes.release_held()
    assert begin_all(catalogue, day(3 * PRICE)) == []
    assert kinds(catalogue) == ["held", "held"]
    assert begin_all(catalogue, day(3 * PRICE), at=MIDNIGHT - timedelta(milliseconds=1)) == []
    assert begin_all(catalogue, day(3 * PRICE), at=MIDNIGHT) == ["g3", "g4"]
    assert spent(catalogue) == {("archiver", "2026-11-20"): 3 * PRICE, ("archiver", "2026-11-21"): 2 * PRICE}


def test_a_month_in_new_york_ends_at_its_own_midnight_after_the_clocks_went_back(catalogue: Catalogue) -> None:
    """October and the day of the change: 1 November begins at 04:00 UTC, 2 November at 05:00 UTC."""
    zone = ZoneInfo("America/New_York")
    limits = (day(PRICE, zone=zone), day(2 * PRICE, zone=zone, per="month"))
    catalogue.generations.add([draft(number) for number in range(4)], datetime(2026, 10, 1, tzinfo=UTC))
    times = ["2026-10-31T12:00", "2026-11-01T03:59", "2026-11-01T04:00", "2026-11-02T04:59", "2026-11-02T05:00"]
    taken = [begin_all(catalogue, *limits, at=datetime.fromisoformat(text).replace(tzinfo=UTC)) for text in times]
    assert taken == [["g0"], [], ["g1"], [], ["g2"]]
    # November's two are used up: the last one waits for December, not for tomorrow.
    later = datetime(2026, 11, 3, 12, tzinfo=UTC)
    assert begin(catalogue, *limits, at=later) is None
    assert ask(catalogue, "select not_before from generations where id = 'g3'") == [("2026-12-01T05:00:00.000Z",)]
    assert spent(catalogue)["archiver", "2026-11"] == 2 * PRICE
    assert spent(catalogue).get(("archiver", "2026-11-03"), 0) == 0


def test_one_full_budget_takes_nothing_out_of_the_others(catalogue: Catalogue) -> None:
    plan(catalogue, 3, job="cats")
    everything, cats = day(100 * PRICE), day(PRICE, scope="jobs.cats", job="cats", zone=ZoneInfo("Pacific/Apia"))
    assert begin_all(catalogue, everything, cats) == ["g0"]
    assert spent(catalogue)["archiver", "2026-11-20"] == PRICE


def test_others_go_on_when_a_job_has_no_room(catalogue: Catalogue) -> None:
    """A full job holds back itself; a smaller order of it still fits."""
    plan(catalogue, 3, job="cats", n=3)
    catalogue.generations.add([draft("free"), draft("dogs")], NOW)
    small = draft("small", origin="job", job="cats", position=0, n=1)
    assert catalogue.ticks.plan("cats", NOW + timedelta(hours=1), [small], NOW)
    cats = day(4 * PRICE, scope="jobs.cats", job="cats")
    assert begin_all(catalogue, cats) == ["g0", "gfree", "gdogs", "gsmall"]
    assert spent(catalogue) == {("jobs.cats", "2026-11-20"): 4 * PRICE}


@pytest.mark.parametrize(
    ("ending", "left"),
    [
        (lambda moves: moves.withdraw("g0", "me", NOW, "429", NOW), 0),
        (lambda moves: moves.fail("g0", "me", "refused", NOW, is_free=True), 0),
        (lambda moves: moves.fail("g0", "me", "paid, but without an image", NOW), 3 * PRICE),
        (lambda moves: moves.doubt("g0", "me", "cut", NOW), 3 * PRICE),
        (lambda moves: moves.accept("g0", "me", "task", NOW, NOW), 3 * PRICE),
        (lambda moves: moves.complete("g0", [], answered_at=NOW, now=NOW, cost_micro=PRICE), PRICE),
        (lambda moves: moves.complete("g0", [], answered_at=NOW, now=NOW, cost_micro=None), 3 * PRICE),
        # More than was ordered: it is spent all the same, and nobody else gets in.
        (lambda moves: moves.complete("g0", [], answered_at=NOW, now=NOW, cost_micro=5 * PRICE), 5 * PRICE),
    ],
)
def test_only_what_provably_cost_nothing_is_given_back(catalogue: Catalogue, ending: Any, left: int) -> None:
    """And a finished generation counts with its real cost."""
    plan(catalogue, 1, n=3)
    limit = day(4 * PRICE)
    assert begin_all(catalogue, limit) == ["g0"]
    assert spent(catalogue) == {("archiver", "2026-11-20"): 3 * PRICE}
    assert ending(catalogue.generations)
    assert spent(catalogue) == {("archiver", "2026-11-20"): left}
    catalogue.generations.add([draft("next", n=1)], NOW)
    fits = left <= 3 * PRICE
    assert [ident for ident in begin_all(catalogue, limit) if ident == "gnext"] == (["gnext"] if fits else [])


def test_what_is_given_back_lets_others_go_the_same_day(catalogue: Catalogue) -> None:
    plan(catalogue, 3)
    assert begin_all(catalogue, day(PRICE)) == ["g0"]
    assert catalogue.generations.fail("g0", "me", "refused", NOW, is_free=True)
    assert begin_all(catalogue, day(PRICE)) == ["g1"]
    assert kinds(catalogue) == ["held", "held", "failed"]


def test_two_full_jobs_under_a_budget_with_room_both_wait(catalogue: Catalogue) -> None:
    """What the common budget gives back at a refusal sets nobody free: they would take turns for ever."""
    for job in ("cats", "dogs"):
        drafts = [draft(f"{job}{i}", origin="job", job=job, position=i) for i in range(3)]
        assert catalogue.ticks.plan(job, NOW, drafts, NOW)
    limits = (
        day(100 * PRICE, per="month"),
        *(day(PRICE, scope=f"jobs.{job}", job=job) for job in ("cats", "dogs")),
    )
    taken = []
    for _ in range(10):
        found = begin(catalogue, *limits)
        taken += [found.ask.generation_id] if found else []
    assert taken == ["gcats0", "gdogs0"]
    assert len(kinds(catalogue)) == 4
    assert spent(catalogue)["archiver", "2026-11"] == 2 * PRICE


def test_a_refused_generation_whose_images_come_late_is_paid_for(catalogue: Catalogue) -> None:
    plan(catalogue, 1, n=2)
    assert begin_all(catalogue, day(2 * PRICE)) == ["g0"]
    assert catalogue.generations.fail("g0", "me", "refused", NOW, is_free=True)
    assert catalogue.outcomes.generations(limit=1)[0]["price_usd"] == 0.0
    assert catalogue.generations.complete("g0", [], answered_at=NOW, now=NOW, cost_micro=2 * PRICE)
    assert spent(catalogue) == {("archiver", "2026-11-20"): 2 * PRICE}


def test_it_is_given_back_to_the_day_that_paid(catalogue: Catalogue) -> None:
    """Asked for before midnight, withdrawn and asked for again after it: yesterday has it back, today pays once."""
    plan(catalogue, 1)
    limit = day(PRICE)
    assert begin_all(catalogue, limit, at=MIDNIGHT - timedelta(minutes=1)) == ["g0"]
    after = MIDNIGHT + timedelta(minutes=1)
    assert catalogue.generations.withdraw("g0", "me", after, "429", after)
    assert begin_all(catalogue, limit, at=after) == ["g0"]
    assert catalogue.generations.withdraw("g0", "me", after, "429", after)
    assert begin_all(catalogue, limit, at=after) == ["g0"]
    assert spent(catalogue) == {("archiver", "2026-11-20"): 0, ("archiver", "2026-11-21"): PRICE}


def test_a_changed_limit_holds_at_once(catalogue: Catalogue) -> None:
    """Lowered below what is spent it is no error, and leaves no room; raised, it lets the others go."""
    plan(catalogue, 6)
    assert len(begin_all(catalogue, day(3 * PRICE))) == 3
    catalogue.outcomes.release_held()
    assert begin_all(catalogue, day(PRICE)) == []
    assert ask(catalogue, "select limit_micro, spent_micro from budgets") == [(3 * PRICE, 3 * PRICE)]
    catalogue.outcomes.release_held()
    assert begin_all(catalogue, day(5 * PRICE)) == ["g3", "g4"]
    catalogue.outcomes.release_held()
    assert begin_all(catalogue) == ["g5"]


def test_an_unknown_price_fits_into_no_budget_and_a_free_image_into_every_one(catalogue: Catalogue) -> None:
    plan(catalogue, 2)
    assert begin_all(catalogue, day(PRICE), price=None) == []
    assert "set providers.apiyi.price_usd" in ask(catalogue, "select error from generations")[0][0]
    catalogue.outcomes.release_held()
    assert begin_all(catalogue, day(1), price=0) == ["g0", "g1"]
    assert spent(catalogue) == {("archiver", "2026-11-20"): 0}


def test_without_budgets_the_expected_cost_is_still_recorded(catalogue: Catalogue) -> None:
    plan(catalogue, 2, n=2)
    begin(catalogue)
    begin(catalogue, price=None)
    rows = ask(catalogue, "select expected_micro, charged_to from generations order by seq")
    assert rows == [(2 * PRICE, "[]"), (None, "[]")]
    assert spent(catalogue) == {}


def test_the_database_itself_refuses_to_overspend(catalogue: Catalogue) -> None:
    plan(catalogue, 1)
    begin_all(catalogue, day(PRICE))
    with pytest.raises(sqlite.IntegrityError, match="CHECK"):
        raw(catalogue).execute("update budgets set spent_micro = spent_micro + 1")
    with pytest.raises(sqlite.IntegrityError, match="CHECK"):
        raw(catalogue).execute("insert into budgets (scope, period, limit_micro, spent_micro) values ('a', 'b', 1, 2)")


def test_balances_show_what_is_spent_of_each_limit_today(catalogue: Catalogue) -> None:
    """A budget of which nothing is spent yet shows 0, and yesterday's is not shown."""
    plan(catalogue, 2)
    limits = (day(3 * PRICE), day(PRICE, scope="jobs.cats", job="cats"))
    begin_all(catalogue, *limits)
    assert catalogue.outcomes.balances(purses(limits, NOW)) == [
        {"scope": "archiver", "period": "2026-11-20", "spent_usd": 0.08, "limit_usd": 0.12},
        {"scope": "jobs.cats", "period": "2026-11-20", "spent_usd": 0.0, "limit_usd": 0.04},
    ]
    assert catalogue.outcomes.balances(purses(limits[:1], MIDNIGHT))[0]["spent_usd"] == 0.0


def spend_all(folder: Path, number: int) -> list[str]:
    """Ask for everything that has room; give back every third, and complete every other one for less."""
    catalogue = Catalogue.open(folder, create=False)
    limits = (day(40 * PRICE), day(25 * PRICE, scope="jobs.cats", job="cats"))
    owner, taken = f"process {number}", []
    generations = catalogue.generations
    while found := generations.begin_submit("apiyi", owner, NOW, cost=lambda order: PRICE * order.n, limits=limits):
        ident = found.ask.generation_id
        if found.attempts == 1 and ident.endswith("3"):
            assert generations.withdraw(ident, owner, NOW, "429", NOW)
        elif ident.endswith("6"):
            lone = arrival(ident, url=None, deadline_from="inline", spool=ident, sha256="5e" * 32, size=1)
            assert generations.complete(ident, [lone], answered_at=NOW, now=NOW, cost_micro=PRICE)
            taken.append(ident)
        else:
            taken.append(ident)
    catalogue.close()
    return taken


@pytest.fixture(scope="module")
def contest(race: racing.Race, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Catalogue, list[str]]]:
    """Eight processes, 120 generations of two images of two jobs, and money for a part of them."""
    folder = tmp_path_factory.mktemp("contest")
    catalogue = opened(folder)
    for job in ("cats", "dogs"):
        drafts = [draft(f"{job}{i}", origin="job", job=job, position=i, n=2) for i in range(60)]
        assert catalogue.ticks.plan(job, NOW, drafts, NOW)
    taken = [ident for part in race.run(spend_all, folder) for ident in part]
    yield catalogue, taken
    catalogue.close()


def test_eight_processes_never_overspend(contest: tuple[Catalogue, list[str]]) -> None:
    """What they took is within every budget, each was taken once, and the balance is the sum of what was taken."""
    catalogue, taken = contest
    assert len(taken) == len(set(taken))
    costs = {ident: PRICE if ident.endswith("6") else 2 * PRICE for ident in taken}
    cats = sum(cost for ident, cost in costs.items() if ident.startswith("gcats"))
    assert spent(catalogue) == {("archiver", "2026-11-20"): sum(costs.values()), ("jobs.cats", "2026-11-20"): cats}
    assert cats <= 25 * PRICE
    # It was spent to the last order that had room: no process was refused while there was money.
    assert 39 * PRICE <= sum(costs.values()) <= 40 * PRICE


def test_what_the_eight_could_not_ask_waits_with_one_event_each(contest: tuple[Catalogue, list[str]]) -> None:
    catalogue, taken = contest
    waiting = ask(catalogue, "select id, not_before, held from generations where state = 'planned'")
    assert len(waiting) == 120 - len(taken)
    assert {(moment, held) for _, moment, held in waiting} == {(as_text(MIDNIGHT), 1)}
    events = ask(catalogue, "select generation_id from events where kind = 'held'")
    assert {ident for ident, _, _ in waiting} <= {ident for (ident,) in events}
