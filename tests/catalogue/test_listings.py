"""Lists of images are what a person would pick by hand, whatever way the catalogue takes to find them."""

import random
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from archiver.catalogue import Catalogue, Filter, as_text, listings, searching
from tests.catalogue.filling import HOUR, NOW, arrival, ask, claim_one, completed, fetched, opened, raw, receipts, safe

STATES = ("pending", "stored", "lost")


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalogue]:
    """Sixty images of all sorts, made an hour apart."""
    catalogue = opened(tmp_path_factory.mktemp("mixed"))
    for number in range(60):
        completed(
            catalogue,
            arrival(number, deadline=NOW + (number * 7 % 60 + 1) * HOUR),
            number=number,
            provider="apiyi",
            model=("nano", "large")[number % 2],
            tags=(("shop",), ("shop", "odd"), ())[number % 3],
            stores=("here", "there") if number % 4 else ("here",),
            created_at=NOW,
        )
        raw(catalogue).execute(
            "update images set created_at = ? where id = ?", (as_text(NOW + number * HOUR), f"i{number}")
        )
        raw(catalogue).execute(
            "update generations set provider = ?, job = ?, origin = 'job', cost_micro = ? where id = ?",
            (
                f"p{number % 5}",
                f"job-{number % 7}" if number % 7 else None,
                number * 13 % 11 * 10_000 or None,
                f"g{number}",
            ),
        )
        if number % 3:
            ticket = claim_one(catalogue, at=NOW)
            stores = ("here", "there") if number % 4 else ("here",)
            settled = safe(ticket, fetched=fetched(), receipts=receipts(ticket, stores))
            catalogue.images.settle([settled], NOW)
            raw(catalogue).execute("update images set size = ? where id = ?", (number * 17 % 23 * 1000, f"i{number}"))
        elif number % 2:
            raw(catalogue).execute("update images set state = 'lost' where id = ?", (f"i{number}",))
        else:  # out of reach of the next claim
            raw(catalogue).execute(
                "update images set not_before = ? where id = ?", (as_text(NOW + 900 * HOUR), f"i{number}")
            )
    yield catalogue
    catalogue.close()


def by_hand(catalogue: Catalogue, wanted: Filter, sort: str, reverse: bool) -> list[str]:
    """The same by reading everything."""
    rows = [
        dict(row)
        for row in raw(catalogue).execute(
            "select i.seq, i.id, i.state, i.size, i.deadline, i.created_at, g.job, g.provider, g.model, g.tags,"
            " g.cost_micro as cost, (select group_concat(store) from copies where image_id = i.id"
            " and state = 'confirmed') as stores from images as i join generations as g on g.id = i.generation_id"
        )
    ]
    sized = wanted.min_size is not None or wanted.max_size is not None or sort == "size"
    kept = [
        row
        for row in rows
        if (not wanted.states or row["state"] in wanted.states)
        and all(getattr(wanted, name) in (None, row[name]) for name in ("job", "provider", "model"))
        and all(f'"{tag}"' in row["tags"] for tag in wanted.tags)
        and (wanted.store is None or wanted.store in (row["stores"] or "").split(","))
        and (wanted.since is None or row["created_at"] >= as_text(wanted.since))
        and (wanted.until is None or row["created_at"] < as_text(wanted.until))
        and (wanted.due is None or (row["state"] == "pending" and row["deadline"] <= as_text(wanted.due)))
        and (not sized or (row["size"] is not None and row["size"] >= (wanted.min_size or 0)))
        and (wanted.max_size is None or row["size"] <= wanted.max_size)
        and (wanted.cost_over is None or (row["cost"] or 0) > wanted.cost_over)
        and (sort != "cost" or row["cost"] is not None)
        and (sort != "deadline" or wanted.states or row["state"] in ("pending", "spooled"))
    ]
    name = {"created": "created_at"}.get(sort, sort)
    kept.sort(key=lambda row: (row[name], row["seq"]), reverse=(sort != "deadline") != reverse)
    return [row["id"] for row in kept]


@pytest.mark.parametrize(("first", "bound"), [(500, 20_000), (3, 9), (1, 1), (2, 30)])
def test_every_question_is_answered_as_by_hand_or_says_how_far_it_looked(
    mixed: Catalogue, monkeypatch: pytest.MonkeyPatch, first: int, bound: int
) -> None:
    """Random filters in every order: with room enough, with hardly any, and with --deep."""
    monkeypatch.setattr(listings, "FIRST_LOOK", first)
    monkeypatch.setattr(listings, "BOUND", bound)
    seed = random.randrange(10**6)
    print("seed", seed)
    chance = random.Random(seed)
    cut_short = 0
    for _ in range(150):
        wanted, sort = Filter(**picked(chance)), chance.choice(listings.SORTS)
        reverse, limit = chance.random() < 0.4, chance.choice((1, 4, 100))
        right = by_hand(mixed, wanted, sort, reverse)
        rows, looked_at = mixed.listings.images(wanted, sort=sort, reverse=reverse, limit=limit)
        found = [row["image_id"] for row in rows]
        if looked_at is None:
            assert found == right[:limit], (wanted, sort, reverse)
        else:
            cut_short += 1
            assert found == [one for one in right if one in found], (wanted, sort, reverse)
        deep, whole = mixed.listings.images(wanted, sort=sort, reverse=reverse, limit=limit, deep=True)
        assert ([row["image_id"] for row in deep], whole) == (right[:limit], None), (wanted, sort, reverse)
    assert (cut_short > 0) == (bound < 20_000)


def picked(chance: random.Random) -> dict[str, Any]:
    """Up to three filters."""
    some: dict[str, Any] = {
        "states": tuple(chance.sample(STATES, chance.randint(1, 2))),
        "job": f"job-{chance.randint(0, 8)}",
        "provider": f"p{chance.randint(0, 5)}",
        "model": chance.choice(("nano", "large", "none")),
        "store": chance.choice(("here", "there", "nowhere")),
        "tags": chance.choice((("shop",), ("odd",), ("shop", "odd"), ("none",))),
        "since": NOW + chance.randint(-2, 60) * HOUR,
        "until": NOW + chance.randint(-2, 60) * HOUR,
        "due": NOW + chance.randint(0, 60) * HOUR,
        "min_size": chance.randint(0, 22_000),
        "max_size": chance.randint(0, 22_000),
        "cost_over": chance.randint(0, 110_000),
    }
    return {name: some[name] for name in chance.sample(sorted(some), chance.randint(0, 3))}


def test_tags_stay_in_step_with_their_list(catalogue: Catalogue) -> None:
    """Born, changed, erased: the table by tag says what the column says."""
    completed(catalogue, arrival(), tags=("a", "b", "a"))
    assert ask(catalogue, "select tag from generation_tags order by tag") == [("a",), ("b",)]
    raw(catalogue).execute("""update generations set tags = '["b","c"]'""")
    assert ask(catalogue, "select tag from generation_tags order by tag") == [("b",), ("c",)]
    raw(catalogue).execute("update generations set tags = '[]'")
    assert ask(catalogue, "select tag from generation_tags") == []


def test_search_finds_short_words_in_what_it_looks_at(mixed: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    """A word of two characters is looked for in the newest prompts only, and that is said."""
    monkeypatch.setattr(searching, "FIRST_LOOK", 5)
    monkeypatch.setattr(searching, "BOUND", 10)
    assert [row["image_id"] for row in mixed.listings.search("fox 59", limit=9)[0]] == ["i59"]
    rows, looked_at = mixed.listings.search("x 7", limit=9)
    assert ([row["image_id"] for row in rows], looked_at) == (["i57"], 10)
    rows, looked_at = mixed.listings.search("x 7", limit=9, deep=True)
    assert ([row["image_id"] for row in rows], looked_at) == (["i57", "i47", "i37", "i27", "i17", "i7"], None)
    assert mixed.listings.search("heron", limit=9) == ([], None)
    assert mixed.listings.search("  \0 ", limit=9) == ([], None)


def test_losses_are_the_rows_of_the_view(mixed: Catalogue) -> None:
    lost = [row["image_id"] for row in mixed.listings.losses(None, 100)]
    assert lost == by_hand(mixed, Filter(states=("lost",)), "created", False)
    late = mixed.listings.losses(NOW + timedelta(hours=30), 2)
    assert [row["image_id"] for row in late] == lost[:2]


def test_at_risk_is_the_soonest_to_die_first(catalogue: Catalogue) -> None:
    """Of links that have lived half of their lives by the clock of the machine."""
    completed(catalogue, *(arrival(number, index=number) for number in range(4)))
    for number, hours in enumerate((7, 3, 5)):
        raw(catalogue).execute(
            "update images set created_at = '2020-01-01T00:00:00.000Z', deadline = ? where id = ?",
            (f"2020-01-01T{hours:02}:00:00.000Z", f"i{number}"),
        )
    raw(catalogue).execute("update images set deadline = '2999-01-01T00:00:00.000Z' where id = 'i3'")
    assert [row["image_id"] for row in catalogue.listings.at_risk(9)] == ["i1", "i2", "i0"]
    assert [row["image_id"] for row in catalogue.listings.at_risk(2)] == ["i1", "i2"]
