"""Money is counted in whole micro-USD, and what is unknown stays unknown."""

from decimal import Decimal

import pytest

from archiver.core.pricing import cost_micro, micro_usd


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
    ("price", "images", "cost"), [(240_000, 1, 240_000), (240_000, 4, 960_000), (0, 4, 0), (5, 0, 0)]
)
def test_cost_is_price_times_images(price: int, images: int, cost: int) -> None:
    assert cost_micro(price, images) == cost


@pytest.mark.parametrize("images", [0, 1, 4])
def test_an_unknown_price_is_an_unknown_cost(images: int) -> None:
    """Never 0: free and unknown are not the same."""
    assert cost_micro(None, images) is None
