"""Money, in integer micro-USD: 1,000,000 is one dollar.

An unknown price gives an unknown cost (None), never 0: a free image and an image of unknown price are not the same.
"""

from decimal import Decimal

MICRO = Decimal(1_000_000)


def micro_usd(dollars: Decimal) -> int:
    """Dollars as micro-USD, rounded to the nearest one. Raises ValueError for a negative amount."""
    if dollars < 0:
        raise ValueError("a price cannot be negative")
    return int((dollars * MICRO).to_integral_value())


def cost_micro(price_micro: int | None, images: int) -> int | None:
    """The cost of a generation that brought `images` images at a price per image."""
    return None if price_micro is None else price_micro * images
