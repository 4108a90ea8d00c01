"""Exports hold exactly what their filter means, page by page, in order, with parents and copies."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from archiver.catalogue import Catalogue, Filter
from tests.catalogue.filling import NOW, arrival, claim_one, completed, opened, raw, receipts, safe


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalogue]:
    """Thirty images; each third is stored twice, each fifth was made of the one before it."""
    catalogue = opened(tmp_path_factory.mktemp("family"))
    for number in range(30):
        # Deadlines fall, so that the next claim is the newest.
        late = NOW + timedelta(hours=100 - number)
        completed(catalogue, arrival(number, deadline=late), number=number, tags=("shop",) if number % 2 else ())
        if number % 3 == 0:
            ticket = claim_one(catalogue)
            catalogue.images.settle([safe(ticket, receipts=receipts(ticket))], NOW)
        if number % 5 == 4:
            raw(catalogue).execute(
                "update images set parent_image_id = ? where id = ?", (f"i{number - 1}", f"i{number}")
            )
    yield catalogue
    catalogue.close()


@pytest.mark.parametrize("span", [1, 7, 29, 30, 31, 1000])
def test_every_image_once_in_order_whatever_the_page(family: Catalogue, span: int) -> None:
    newest = [f"i{number}" for number in reversed(range(30))]
    assert [row["image_id"] for row in family.exports.images(Filter(), span=span)] == newest
    oldest = [row["image_id"] for row in family.exports.images(Filter(), reverse=True, span=span)]
    assert oldest == newest[::-1]


def test_filters_mean_what_they_mean_for_lists(family: Catalogue) -> None:
    """The same rows as `Listings.images` looking at everything."""
    for wanted in (
        Filter(states=("stored",)),
        Filter(states=("pending", "lost"), tags=("shop",)),
        Filter(store="there"),
        Filter(store="nowhere"),
        Filter(since=NOW, until=NOW + timedelta(days=1), provider="apiyi", model="nano"),
        Filter(due=NOW + timedelta(hours=90)),
        Filter(min_size=1, max_size=68),
        Filter(cost_over=0),
    ):
        listed, _ = family.listings.images(wanted, limit=1000, deep=True)
        exported = list(family.exports.images(wanted, span=4))
        assert [row["image_id"] for row in exported] == [row["image_id"] for row in listed], wanted


def test_parents_and_copies_are_told(family: Catalogue) -> None:
    rows = {row["image_id"]: row for row in family.exports.images(Filter(), span=8)}
    assert rows["i4"]["parents"] == ["i3"]
    assert rows["i3"]["parents"] == []
    assert [copy["store"] for copy in rows["i3"]["copies"]] == ["here", "there"]
    assert rows["i4"]["copies"] == []
    assert all("Signature=" not in str(row) for row in rows.values())


def test_nothing_of_an_empty_catalogue(catalogue: Catalogue) -> None:
    assert list(catalogue.exports.images(Filter())) == []


def test_images_of_inputs_and_dialogues_are_parents(catalogue: Catalogue) -> None:
    """An image that went into the request, and those that the dialogue showed before."""
    for number in range(3):
        completed(catalogue, arrival(number), number=number)
    values = ("g2", 0, "a" * 64, "image/png", "i0")
    columns = "generation_id, position, sha256, content_type, image_id"
    raw(catalogue).execute(f"insert into inputs ({columns}) values (?, ?, ?, ?, ?)", values)
    raw(catalogue).execute("update generations set continues = 'g1' where id = 'g2'")
    newest = next(iter(catalogue.exports.images(Filter())))
    assert (newest["image_id"], newest["parents"]) == ("i2", ["i0", "i1"])
