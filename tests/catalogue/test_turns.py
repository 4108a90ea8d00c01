"""Whose turn it is: claims, requests and polls take exactly what a look at every row would, in whatever way they go.

The ways are short cuts for very many rows. Here few rows count as many, so that each of them is taken.
"""

import json
import random
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from archiver.catalogue import Catalogue, Resting, as_text, as_time, beginning, claiming, fitness
from archiver.core.model import Ticket
from archiver.core.tempurl import TemporaryURL
from tests.catalogue.filling import HOUR, LEASE, NOW, arrival, ask, completed, draft, image_row, raw

HOSTS = ("a.example", "b.example", "c.example")
SEEDS = [pytest.param(random.randrange(2**32), id=f"history {number}") for number in range(4)]


@pytest.fixture(autouse=True)
def hasty(catalogue: Catalogue) -> None:
    """These tests are about order: nothing of theirs need survive a power cut."""
    raw(catalogue).execute("pragma synchronous=off")


@pytest.fixture(params=[(3, 4), (3, 1000), (1, 1), (1000, 4)], ids=lambda sizes: f"look {sizes[0]}, sort {sizes[1]}")
def few(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How many are looked at first, and how many are sorted."""
    look, most = request.param
    for module in (claiming, beginning):
        monkeypatch.setattr(module, "FIRST_LOOK", look)
    for module in (claiming, fitness):
        monkeypatch.setattr(module, "MOST_SORTED", most)


def sometimes(chance: random.Random, share: float, text: str) -> str | None:
    return text if chance.random() < share else None


def fill(catalogue: Catalogue, chance: random.Random) -> None:
    """Forty images that wait: living and dead, in the spool, tried, postponed, held by somebody, tried in the
    future."""
    for number in range(40):
        host = chance.choice(HOSTS)
        completed(
            catalogue,
            arrival(
                number,
                url=TemporaryURL(f"https://{host}/{number}.png"),
                deadline=NOW + chance.randrange(-300, 600) * timedelta(minutes=1) + number * timedelta(seconds=1),
            ),
            number=number,
            stores=("here", "there"),
        )
        tried = NOW - chance.randrange(-2, 90) * timedelta(minutes=2)
        raw(catalogue).execute(
            "update images set state = ?, spool = ?, attempted_at = ?, not_before = ?, claimed_by = ?,"
            " claimed_until = ? where id = ?",
            (
                *chance.choice([("pending", None), ("pending", None), ("spooled", f"file {number}")]),
                sometimes(chance, 0.8, as_text(tried)),
                sometimes(chance, 0.6, as_text(NOW + chance.randrange(-60, 60) * timedelta(minutes=1))),
                *((None, None) if chance.random() < 0.8 else ("other", as_text(NOW + chance.choice([-1, 1]) * HOUR))),
                f"i{number}",
            ),
        )


def options(chance: random.Random) -> dict[str, Any]:
    """What a claim may ask for."""
    found: dict[str, Any] = {}
    if chance.random() < 0.3:
        found["tried_before"] = NOW - chance.randrange(0, 90) * timedelta(minutes=2)
    if chance.random() < 0.3:
        found["except_hosts"] = set(chance.sample(HOSTS, 1))
    if chance.random() < 0.3:
        found["resting"] = Resting(
            hosts=chance.sample(HOSTS, 1), stores=["here", "there"], urgent_from=NOW, urgent_until=NOW + HOUR
        )
    if chance.random() < 0.2:
        found["generations"] = [f"g{number}" for number in chance.sample(range(40), 15)]
    if chance.random() < 0.2:
        found["probe"] = (chance.choice(HOSTS), chance.random())
    return found


def expected(catalogue: Catalogue, wants: dict[str, Any]) -> Iterator[str]:
    """The ids of all that may be claimed, in their order, by a look at every row."""
    resting, before = wants.get("resting", Resting()), wants.get("tried_before")

    def may(row: dict[str, Any]) -> bool:
        tried = row["attempted_at"] and as_time(row["attempted_at"])
        if before is None:
            is_due = row["not_before"] is None or as_time(row["not_before"]) <= NOW
        else:
            is_due = tried is None or tried < before
        is_due = is_due or (tried is not None and tried > NOW + claiming.CLOCK_SLACK)
        is_free = row["claimed_by"] is None or as_time(row["claimed_until"]) < NOW
        is_pending, deadline = row["state"] == "pending", as_time(row["deadline"])
        if is_pending and row["source_host"] in wants.get("except_hosts", ()):
            return False
        if is_pending and row["source_host"] in resting.hosts and not NOW <= deadline <= NOW + HOUR:
            return False
        if not is_pending and resting.stores:
            return False
        if "probe" in wants and not (is_pending and row["source_host"] == wants["probe"][0]):
            return False
        return is_due and is_free and row["generation_id"] in wants.get("generations", [row["generation_id"]])

    rows = [image_row(catalogue, image_id) for (image_id,) in ask(catalogue, "select id from images")]
    now = as_text(NOW)
    tiers = {row["id"]: 2 if row["state"] == "spooled" else int(row["deadline"] < now) for row in rows}
    rows.sort(key=lambda row: (tiers[row["id"]], row["deadline"]))
    return (row["id"] for row in rows if may(row))


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("seed", SEEDS)
def test_a_claim_takes_what_a_look_at_every_row_would(catalogue: Catalogue, seed: int) -> None:
    print("seed", seed)
    chance = random.Random(seed)
    fill(catalogue, chance)
    for _ in range(12):
        wants, limit = options(chance), chance.choice([1, 2, 5, 50])
        due = list(expected(catalogue, wants))
        tickets: list[Ticket] = catalogue.images.claim("me", NOW, LEASE, limit=limit, **wants)
        names = [ticket.image_id for ticket in tickets]
        if "probe" in wants:  # any of them, as the number falls
            assert len(names) == len(set(names)) == min(limit, len(due)) and set(names) <= set(due)
        else:
            assert names == due[:limit]
        if chance.random() < 0.5:
            catalogue.images.free("me")


@pytest.mark.parametrize("seed", SEEDS)
def test_the_next_one_that_is_due_is_the_first_of_all(catalogue: Catalogue, seed: int) -> None:
    print("seed", seed)
    chance = random.Random(seed)
    fill(catalogue, chance)
    raw(catalogue).execute("update images set created_at = deadline where seq % 7 = 0")
    for wants in (options(chance) for _ in range(20)):
        resting, chosen = wants.get("resting", Resting()), wants.get("generations")
        rows = [image_row(catalogue, name) for (name,) in ask(catalogue, "select id from images order by seq")]
        times = [
            row["not_before"] or row["created_at"]
            for row in rows
            if row["claimed_by"] is None
            and (chosen is None or row["generation_id"] in chosen)
            and (row["state"] != "spooled" or not resting.stores)
            and (
                row["state"] != "pending"
                or row["source_host"] not in resting.hosts
                or NOW <= as_time(row["deadline"]) <= NOW + HOUR
            )
        ]
        first = as_time(min(times)) if times else None
        assert catalogue.images.next_due(chosen, resting=resting) == first


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_asked_for_next_is_what_a_look_at_every_row_finds(catalogue: Catalogue, seed: int) -> None:
    """By priority and age; what is postponed, of another job or for a store that is not fit is passed over."""
    print("seed", seed)
    chance = random.Random(seed)
    for number in range(40):
        stores = tuple(chance.sample(["here", "there", "far"], chance.randrange(1, 3)))
        of = chance.choice(["daily", "weekly"])
        more = {"priority": chance.randrange(3), "stores": stores, "n": chance.randrange(1, 4)}
        catalogue.generations.add([draft(number, job=of, **more)], NOW)
        later = sometimes(chance, 0.6, as_text(NOW + chance.randrange(-9, 30) * HOUR))
        raw(catalogue).execute("update generations set not_before = ? where id = ?", (later, f"g{number}"))
    now = as_text(NOW)
    for _ in range(25):
        wish: tuple[str | None, list[str] | None, list[str] | None] = (
            chance.choice([None, None, "daily"]),
            chance.choice([None, None, [f"g{number}" for number in range(0, 40, 3)]]),
            chance.choice([None, None, ["here", "there"]]),
        )
        job, ids, fit = wish
        rows = [dict(row) for row in raw(catalogue).execute("select * from generations where state = 'planned'")]
        mine = [row for row in rows if job in (None, row["job"]) and (ids is None or row["id"] in ids)]
        due = [row for row in mine if (row["not_before"] or "") <= now]
        wanted = catalogue.fitness.wanted("apiyi", NOW, job=job, ids=ids)
        assert (wanted is None) == (not due)
        if wanted is not None:
            assert set(wanted.stores) == {store for row in due for store in json.loads(row["stores"])}
            assert wanted.images == max(row["n"] for row in due)
        fits = [row for row in mine if fit is None or set(json.loads(row["stores"])) <= set(fit)]
        times = [row["not_before"] or row["created_at"] for row in fits]
        next_due = catalogue.fitness.next_due(
            "planned", providers=["apiyi", "none"], job=job, ids=ids, fit=fit, now=NOW
        )
        assert next_due == (as_time(min(times)) if times else None)
        free = sorted((row for row in fits if row in due), key=lambda row: (-row["priority"], row["seq"]))
        taken = catalogue.generations.begin_submit("apiyi", "me", NOW, job=job, ids=ids, fit=fit)
        assert (taken and taken.ask.generation_id) == (free[0]["id"] if free else None)


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_polled_next_waits_longest(catalogue: Catalogue, seed: int) -> None:
    """Also after the clock was set back: then what is due far ahead is due."""
    print("seed", seed)
    chance = random.Random(seed)
    for number in range(20):
        catalogue.generations.add([draft(number)], NOW)
        taken = catalogue.generations.begin_submit("apiyi", "me", NOW)
        assert taken is not None
        catalogue.generations.accept(taken.ask.generation_id, "me", f"h{number}", NOW, NOW)
        later = sometimes(chance, 0.9, as_text(NOW + chance.randrange(-100, 100) * timedelta(minutes=1)))
        held = sometimes(chance, 0.2, as_text(NOW + chance.choice([-1, 1]) * timedelta(seconds=30)))
        statement = "update generations set not_before = ?, polled_until = ? where id = ?"
        raw(catalogue).execute(statement, (later, held, f"g{number}"))
    until, ahead = NOW + timedelta(minutes=1), as_text(NOW + timedelta(minutes=2))
    for _ in range(20):
        rows = [dict(row) for row in raw(catalogue).execute("select * from generations where state = 'accepted'")]
        times = [row["not_before"] for row in rows]
        assert catalogue.fitness.next_due("accepted", providers=["apiyi"], job=None, ids=None) == as_time(
            min(time or row["created_at"] for time, row in zip(times, rows, strict=True))
        )
        due = [
            row["not_before"] or ""
            for row in rows
            if ((row["not_before"] or "") <= as_text(NOW) or row["not_before"] > ahead)
            and (row["polled_until"] is None or row["polled_until"] <= as_text(NOW))
        ]
        before = {row["id"]: row["not_before"] or "" for row in rows}
        taken = catalogue.awaiting.next_poll("apiyi", "me", NOW, until)
        assert (taken and before[taken.ask.generation_id]) == (min(due) if due else None)
