"""Money is counted in whole micro-USD, and what is unknown stays unknown, whichever rows a table has."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.core.pricing import Order, Price, Prices, Tariff, matches, micro_usd, size_class, size_word

TODAY = date(2026, 11, 20)


def price(micro: int = 1, **changes: Any) -> Price:
    """A row about `pro` that has held for long."""
    values: dict[str, Any] = {"model": "pro", "micro": micro, "since": date(2025, 1, 1), "source": "a page"}
    return Price(**(values | changes))


def order(**changes: Any) -> Order:
    """A request of today for one image of `pro`."""
    values: dict[str, Any] = {"model": "pro", "on": TODAY}
    return Order(**(values | changes))


def found(rows: tuple[Price, ...], **changes: Any) -> int | None:
    """The price in micro-USD that a table has for an order."""
    price = Prices(shipped=rows).find(order(**changes))
    return None if price is None else price.micro


@pytest.mark.parametrize(
    ("dollars", "micro"),
    [
        ("0", 0),
        ("1", 1_000_000),
        ("0.24", 240_000),
        ("0.045", 45_000),
        ("0.000001", 1),
        ("0.0000004", 0),
        ("0.0000006", 1),
        ("1234567.89", 1_234_567_890_000),
    ],
)
def test_dollars_become_micro_dollars(dollars: str, micro: int) -> None:
    """To the nearest one, and exactly where a float would not be."""
    assert micro_usd(Decimal(dollars)) == micro


def test_a_negative_price_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        micro_usd(Decimal("-0.01"))


@pytest.mark.parametrize(
    ("per", "images", "cost"),
    [("image", 1, 5), ("image", 4, 20), ("image", 0, 0), ("request", 4, 5), ("request", 0, 5)],
)
def test_cost_is_by_the_image_or_by_the_request(per: str, images: int, cost: int) -> None:
    """A request that is paid as a whole costs the same when fewer images come."""
    assert price(5, per=per).cost(images) == cost


def test_an_unknown_price_is_an_unknown_cost() -> None:
    """Never 0: free and unknown are not the same."""
    assert Tariff().cost(order(), 4) is None
    assert Tariff(image_micro=0).cost(order(), 4) == 0
    assert Tariff(image_micro=0, prices=Prices(own=(price(7),))).expected(order()) == 0


def test_the_users_own_price_wins_over_every_table() -> None:
    table = Prices(own=(price(7),), shipped=(price(9, sizes=("4K",)),))
    assert Tariff(image_micro=3, prices=table).expected(order(n=2, size="4K")) == 6
    assert Tariff(prices=table).expected(order(n=2, size="4K")) == 14
    assert Tariff(prices=Prices(shipped=table.shipped)).expected(order(size="4K")) == 9


@pytest.mark.parametrize(
    ("said", "word", "belongs_to"),
    [
        (None, "auto", None),
        ("", "auto", None),
        ("auto", "auto", None),
        ("16:9", "auto", None),
        ("2k", "2K", None),
        ("0.5K", "0.5K", None),
        ("1024x1024", "1024x1024", "1K"),
        ("1024 X 1024", "1024x1024", "1K"),
        ("1024*1536", "1024x1536", "2K"),
        ("1376x768", "1376x768", "1K"),
        ("2752x1536", "2752x1536", "2K"),
        ("4096x4096", "4096x4096", "4K"),
        ("5504x3072", "5504x3072", "4K"),
        ("512x512", "512x512", "1K"),
        ("8192x8192", "8192x8192", None),
        ("Large", "large", None),
        (7, "auto", None),
    ],
)
def test_sizes_have_one_spelling_and_a_class(said: object, word: str, belongs_to: str | None) -> None:
    """In every spelling that providers use; the sizes of one class at other aspect ratios belong to it."""
    assert size_word(said) == word
    assert size_class(word) == belongs_to


def test_a_size_in_the_providers_own_words_counts() -> None:
    """Somebody who asks for 4K among the parameters is not told the price of the provider's choice."""
    rows = (price(1, sizes=("1K", "auto")), price(2, sizes=("4K",)))
    assert found(rows, parameters={"imageSize": "4K"}) == 2
    assert found(rows, size="16:9", parameters={"image_size": "4k"}) == 2
    assert found(rows, size="1K", parameters={"imageSize": "4K"}) == 1
    assert found(rows) == 1


@pytest.mark.parametrize(
    ("rows", "asked", "micro"),
    [
        ((price(1),), {"model": "other"}, None),
        ((price(1, model="p*"), price(2)), {}, 2),
        ((price(1, model="p*"), price(2, model="pr*")), {}, 2),
        ((price(1), price(2, sizes=("4K",))), {"size": "4096x4096"}, 2),
        ((price(2, sizes=("4K",)), price(3, sizes=("4096x4096",))), {"size": "4096x4096"}, 3),
        ((price(1), price(2, sizes=("4K",))), {"size": "2K"}, 1),
        ((price(2, sizes=("4K",)),), {"size": "2K"}, None),
        ((price(2, sizes=("4K",)),), {}, None),
        ((price(1), price(2, quality="high")), {"parameters": {"quality": "High"}}, 2),
        ((price(1), price(2, quality="high")), {"parameters": {"quality": "low"}}, 1),
        ((price(2, quality="high"),), {}, None),
        ((price(2, quality="auto"),), {}, 2),
        ((price(1), price(2, mode="batch")), {"mode": "batch"}, 2),
        ((price(1),), {"mode": "batch"}, None),
        ((price(1), price(2, since=TODAY)), {}, 2),
        ((price(1), price(2, since=TODAY + timedelta(days=1))), {}, 1),
        ((price(2, since=TODAY + timedelta(days=1)),), {}, None),
        ((price(1, at="*.example.com"), price(2)), {}, 1),
        # A close fit wins over a newer row that says less.
        ((price(1, sizes=("4K",)), price(2, since=TODAY)), {"size": "4K"}, 1),
    ],
)
def test_the_row_that_names_a_request_most_closely_holds(
    rows: tuple[Price, ...], asked: dict[str, Any], micro: int | None
) -> None:
    assert found(rows, **asked) == micro
    assert found(rows[::-1], **asked) == micro


@pytest.mark.parametrize(
    ("pattern", "text", "does"),
    [
        ("*", "", True),
        ("*.apiyi.com", "api.apiyi.com", True),
        ("*.apiyi.com", "API.APIYI.COM", True),
        ("*.apiyi.com", "apiyi.com", False),
        ("*.apiyi.com", "apiyi.com.evil.example", False),
        ("*.apiyi.com", "apixapiyi.com", False),
        ("gemini-3*", "gemini-3-pro", True),
        ("a.c", "abc", False),
    ],
)
def test_a_star_stands_for_anything_and_nothing_else_does(pattern: str, text: str, does: bool) -> None:
    assert matches(pattern, text) is does


def test_prices_at_one_host_are_not_those_of_another() -> None:
    """The same model has another price elsewhere, and none where nobody told one."""
    table = Prices(shipped=(price(1, at="*.one.example"), price(2, at="two.example")))
    asked = order()
    prices = [table.at(host).find(asked) for host in ("api.one.example", "two.example", "three.example", "")]
    assert [price and price.micro for price in prices] == [1, 2, None, None]
    assert table.at("two.example").knows("PRO")
    assert not table.at("three.example").knows("pro")


_DAYS = st.dates(date(2026, 1, 1), date(2026, 12, 31))
_ROWS = st.lists(
    st.builds(
        Price,
        model=st.sampled_from(["pro", "p*", "flash", "*"]),
        micro=st.integers(0, 10**6),
        since=_DAYS,
        source=st.just("a page"),
        per=st.sampled_from(["image", "request"]),
        sizes=st.lists(st.sampled_from(["1K", "4K", "auto", "*", "4096x4096"]), min_size=1, max_size=3).map(tuple),
        quality=st.sampled_from([None, "high", "auto"]),
        mode=st.sampled_from(["now", "batch"]),
    ),
    max_size=12,
).map(tuple)
_ORDERS = st.builds(
    Order,
    model=st.sampled_from(["pro", "flash", "other"]),
    on=_DAYS,
    size=st.sampled_from([None, "1K", "4K", "4096x4096", "auto", "8K"]),
    n=st.integers(1, 10),
    parameters=st.sampled_from([{}, {"quality": "high"}]),
    mode=st.sampled_from(["now", "batch"]),
)


@given(own=_ROWS, shipped=_ROWS, asked=_ORDERS)
def test_no_price_is_of_a_later_day_and_none_is_invented(
    own: tuple[Price, ...], shipped: tuple[Price, ...], asked: Order
) -> None:
    """Whatever is found is a row that holds; where nothing is found none does, and the cost is unknown."""
    price = Prices(own, shipped).find(asked)
    holding = [row for row in (*own, *shipped) if _holds(row, asked)]
    tariff = Tariff(prices=Prices(own, shipped))
    if price is None:
        assert holding == []
        assert tariff.expected(asked) is None
    else:
        assert price in holding
        assert price.since <= asked.on
        assert price in own or not any(row in own for row in holding)
        alike = [row for row in (own if price in own else shipped) if _alike(row, price) and _holds(row, asked)]
        assert price.since == max(row.since for row in alike)
        assert tariff.cost(asked, 0) == (price.micro if price.per == "request" else 0)


def _holds(row: Price, asked: Order) -> bool:
    """The same question, asked plainly."""
    sizes = {"*", asked.size_word} | ({"4K"} if asked.size == "4096x4096" else set())
    return (
        row.since <= asked.on
        and row.mode == asked.mode
        and row.model in ("*", asked.model, asked.model[0] + "*")
        and bool(sizes & set(row.sizes))
        and row.quality in (None, asked.quality)
    )


def _alike(one: Price, other: Price) -> bool:
    names = ("model", "sizes", "quality", "mode")
    return all(getattr(one, name) == getattr(other, name) for name in names)
