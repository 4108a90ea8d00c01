"""Backfill: what was generated elsewhere is taken in once, and a URL signed anew gives it more time."""

import random
from pathlib import Path
from typing import Any

import pytest

from archiver.catalogue import Arrival, Catalogue, Draft, InputRow, as_text
from archiver.core.tempurl import TemporaryURL
from tests.catalogue import racing
from tests.catalogue.filling import (
    HOUR,
    NOW,
    arrival,
    ask,
    claim_one,
    completed,
    draft,
    image_row,
    kinds,
    no,
    opened,
    raw,
    safe,
    signed,
    whole,
)


def adopt(catalogue: Catalogue, number: int, url: TemporaryURL, hours: float = 168) -> str:
    """Take in one line."""
    entry = (
        draft(number, origin="backfill", provider=None, model=None, prompt="old"),
        arrival(number, url=url, deadline=NOW + hours * HOUR, give_up_at=NOW + (hours + 72) * HOUR),
    )
    (word,) = catalogue.images.adopt([entry], NOW)
    return word


def test_what_is_new_is_taken_in_as_paid_and_waiting(catalogue: Catalogue) -> None:
    assert adopt(catalogue, 0, signed("a")) == "new"
    assert ask(catalogue, "select state, origin, provider from generations") == [("completed", "backfill", None)]
    ticket = claim_one(catalogue)
    assert (ticket.job, ticket.url) == ("backfill", signed("a"))
    assert [want.store for want in ticket.wants] == ["here", "there"]


def test_the_same_line_twice_is_one_image(catalogue: Catalogue) -> None:
    """In two batches and within one."""
    assert adopt(catalogue, 0, signed("a")) == "new"
    assert adopt(catalogue, 1, signed("a")) == "waiting"
    entries = [(draft(number, origin="backfill"), arrival(number, url=signed("b"))) for number in (2, 3)]
    assert catalogue.images.adopt(entries, NOW) == ["new", "waiting"]
    assert ask(catalogue, "select id from images order by seq") == [("i0",), ("i2",)]
    assert ask(catalogue, "select id from generations order by seq") == [("g0",), ("g2",)]


def test_identity_has_no_signature(catalogue: Catalogue) -> None:
    """Signed anew, it is the same image with more time; another object is another image."""
    assert adopt(catalogue, 0, signed("a")) == "new"
    catalogue.images.settle([no(claim_one(catalogue), at=NOW + 99 * HOUR)], NOW)
    assert adopt(catalogue, 1, signed("a", "second"), hours=200) == "refreshed"
    assert adopt(catalogue, 2, signed("b")) == "new"
    row = image_row(catalogue)
    assert row["url"] == signed("a", "second").reveal()
    assert (row["deadline"], row["give_up_at"]) == (as_text(NOW + 200 * HOUR), as_text(NOW + 272 * HOUR))
    assert (row["not_before"], row["refused_at"], row["attempts"]) == (None, None, 1)
    assert kinds(catalogue) == ["postponed", "refreshed"]


def test_an_older_signature_never_replaces_a_fresher_one(catalogue: Catalogue) -> None:
    """The files of a backfill come in any order."""
    assert adopt(catalogue, 0, signed("a", "fresh"), hours=100) == "new"
    assert adopt(catalogue, 1, signed("a", "stale"), hours=50) == "waiting"
    assert image_row(catalogue)["url"] == signed("a", "fresh").reveal()
    assert image_row(catalogue)["deadline"] == as_text(NOW + 100 * HOUR)


def test_a_lost_image_comes_back_with_a_fresh_url_only(catalogue: Catalogue) -> None:
    adopt(catalogue, 0, signed("a"), hours=1)
    assert catalogue.images.lose("i0", NOW)
    assert adopt(catalogue, 1, signed("a"), hours=1) == "known"
    assert image_row(catalogue)["state"] == "lost"
    assert adopt(catalogue, 2, signed("a", "second"), hours=2) == "requeued"
    ticket = claim_one(catalogue)
    assert (ticket.image_id, ticket.url) == ("i0", signed("a", "second"))
    assert kinds(catalogue) == ["lost", "requeued"]


def test_a_stored_image_is_known_whatever_its_url_says(catalogue: Catalogue) -> None:
    """Also one that was generated here."""
    completed(catalogue, arrival(0, url=signed("a")))
    catalogue.images.settle([safe(claim_one(catalogue))], NOW)
    assert adopt(catalogue, 1, signed("a", "second"), hours=999) == "known"
    row = image_row(catalogue)
    assert (row["state"], row["url"]) == ("stored", None)


def test_eight_processes_take_in_the_same_lines_once(race: racing.Race, tmp_path: Path) -> None:
    """Each looks first and writes then; nobody is told that the catalogue is locked, and every line is new once."""
    catalogue = opened(tmp_path)
    words = [word for found in race.run(racing.adopt_all, tmp_path) for word in found]
    assert (words.count("new"), words.count("waiting")) == (40, 280)
    assert ask(catalogue, "select count(*), count(distinct source_identity) from images") == [(40, 40)]
    catalogue.close()


def test_what_has_no_url_cannot_be_adopted(catalogue: Catalogue) -> None:
    """And the lines before it in the batch are not taken in either."""
    with pytest.raises(ValueError, match="only an image with a URL"):
        catalogue.images.adopt([(draft(0), arrival(0)), (draft(1), arrival(1, url=None, spool="x"))], NOW)
    assert ask(catalogue, "select * from images") == []


@pytest.mark.parametrize("text", ["https://cdn.example/a.png", "https://cdn.example/a.png?size=4k&v=2"])
def test_a_lost_image_is_not_tried_again_with_the_very_url_that_died(catalogue: Catalogue, text: str) -> None:
    """An unsigned link says nothing of its end: taken in anew it has another hour every time, and is no fresher."""
    url = TemporaryURL(text)
    assert adopt(catalogue, 0, url, hours=1) == "new"
    assert catalogue.images.lose("i0", NOW)
    assert adopt(catalogue, 1, url, hours=500) == "known"
    assert (image_row(catalogue)["state"], kinds(catalogue)) == ("lost", ["lost"])


def lines(chance: random.Random) -> list[tuple[Draft, Arrival]]:
    """Hundreds of lines: new ones, the same again, signed anew, long ones, and some that descend from others."""
    found = []
    for number in range(chance.randrange(300)):
        url = signed(chance.randrange(200), chance.choice(["first", "second", "third"]))
        more: dict[str, Any] = {"prompt": chance.choice(["", "a fox", "long " * 1000]), "metadata": {"seed": number}}
        if chance.random() < 0.1:
            more["inputs"] = (InputRow(sha256=f"{number:064x}", content_type="image/png"),)
        hours = chance.randrange(1, 200)
        entry = arrival(number, url=url, deadline=NOW + hours * HOUR, give_up_at=NOW + (hours + 72) * HOUR)
        stores = chance.choice([("here",), ("here", "there")])
        found.append((draft(number, origin="backfill", provider=None, stores=stores, **more), entry))
    return found


@pytest.mark.parametrize("seed", [pytest.param(random.randrange(2**32), id=f"file {number}") for number in range(8)])
def test_many_at_once_are_taken_in_as_one_by_one(tmp_path: Path, seed: int) -> None:
    """Every row of every table, in its order."""
    print("seed", seed)
    found = lines(random.Random(seed))
    told = []
    for name in ("together", "alone"):
        (tmp_path / name).mkdir()
        catalogue = opened(tmp_path / name)
        raw(catalogue).execute("pragma synchronous=off")
        if name == "together":
            words = catalogue.images.adopt(found, NOW)
        else:
            words = [word for entry in found for word in catalogue.images.adopt([entry], NOW)]
        tables = ("generations", "images", "urls", "copies", "inputs", "events", "counters")
        told.append((words, [ask(catalogue, f"select * from {table} order by 1, 2") for table in tables]))
        assert whole(catalogue)
        catalogue.close()
    assert told[0] == told[1]
