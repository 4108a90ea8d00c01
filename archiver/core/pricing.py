"""Money, in integer micro-USD: 1,000,000 is one dollar; and which price holds for a request.

An unknown price gives an unknown cost (None), never 0: a free image and an image of unknown price are not the same.
Prices come in as values, each with the day from which it holds and its source; nothing here reads a file, and nothing
guesses: what no row names has no price.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from typing import Literal

from archiver.core.model import Json

MICRO = Decimal(1_000_000)

#: The side of a square of each class. What is up to a quarter larger is still billed as that class: at other aspect
#: ratios the same class has a few more pixels.
_CLASSES = (("1K", 1024), ("2K", 2048), ("4K", 4096))
_SLACK = 1.25
#: Where a provider's own words may hide the size of a request.
_SIZE_WORDS = ("size", "imageSize", "image_size", "resolution")
#: The provider's choice: nothing was said, or only a shape.
CHOSEN_BY_PROVIDER = "auto"


def micro_usd(dollars: Decimal) -> int:
    """Dollars as micro-USD, rounded to the nearest one. Raises ValueError for a negative amount."""
    if dollars < 0:
        raise ValueError("a price cannot be negative")
    return int((dollars * MICRO).to_integral_value())


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """All that the price of a request depends on. `on` is the UTC day on which it is sent."""

    model: str
    on: date
    size: str | None = None
    n: int = 1
    parameters: Mapping[str, Json] = field(default_factory=dict)
    mode: str = "now"

    @property
    def size_word(self) -> str:
        """The size as a price names it: `2K`, `1024x1536`, or `auto` when the provider chooses."""
        said = [self.size, *(self.parameters.get(name) for name in _SIZE_WORDS)]
        return next((word for word in map(size_word, said) if word != CHOSEN_BY_PROVIDER), CHOSEN_BY_PROVIDER)

    @property
    def quality(self) -> str:
        """The quality in the provider's word, `auto` when none is said."""
        said = self.parameters.get("quality")
        return said.strip().lower() if isinstance(said, str) and said.strip() else CHOSEN_BY_PROVIDER


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """One row of a price table: what a model costs from one day on, and who says so.

    `*` in `model` and in `at` (the host that is asked) stands for anything. `sizes` are sizes as in `Order.size_word`;
    `*` is any. Without `quality` it holds for all of them.
    """

    model: str
    micro: int
    since: date
    source: str
    per: Literal["image", "request"] = "image"
    at: str = "*"
    sizes: tuple[str, ...] = ("*",)
    quality: str | None = None
    mode: str = "now"

    def cost(self, images: int) -> int:
        """What a request cost that brought so many images; one that is paid by the request costs the same for any."""
        return self.micro if self.per == "request" else self.micro * images

    def rank(self, order: Order) -> tuple[object, ...] | None:
        """How closely this row fits an order: of two, the greater one is meant. None when it does not hold."""
        size = max((_fit(size, order.size_word) for size in self.sizes), default=0)
        if (
            self.since > order.on
            or self.mode != order.mode
            or not matches(self.model, order.model)
            or not size
            or self.quality not in (None, order.quality)
        ):
            return None
        closeness = ("*" not in self.model, len(self.model.replace("*", "")), size, self.quality is not None)
        return (self.at != "*", *closeness, self.since)


@dataclass(frozen=True, slots=True)
class Prices:
    """A price table: the user's own rows, and the shipped ones, which are asked where the first have none."""

    own: tuple[Price, ...] = ()
    shipped: tuple[Price, ...] = ()

    def at(self, host: str) -> "Prices":
        """Only the rows that hold for a provider at `host`."""
        own, shipped = (
            tuple(price for price in layer if matches(price.at, host)) for layer in (self.own, self.shipped)
        )
        return Prices(own, shipped)

    def knows(self, model: str) -> bool:
        """Whether any row is about this model, of whatever size, day and mode."""
        return any(matches(price.model, model) for price in (*self.own, *self.shipped))

    def find(self, order: Order) -> Price | None:
        """The row that holds for an order: the one that names it most closely, and of those the latest that had begun.
        None when there is none: the price is unknown."""
        for layer in (self.own, self.shipped):
            fitting = [(rank, price) for price in layer if (rank := price.rank(order)) is not None]
            if fitting:
                return max(fitting, key=lambda pair: pair[0])[1]
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tariff:
    """What one provider charges: `image_micro` for every image when the user says so, else by a price table.

    `parameters` go with every request, and an order's own win over them. `prices` are those at its address. `mode` is
    how it is always asked (None: as the order says).
    """

    image_micro: int | None = None
    prices: Prices = Prices()
    parameters: Mapping[str, Json] = field(default_factory=dict)
    mode: str | None = None

    def price(self, order: Order) -> Price | None:
        """The price of an order, None when it is unknown."""
        if self.image_micro is not None:
            return Price(model=order.model, micro=self.image_micro, since=date.min, source="price_usd")
        parameters = {**self.parameters, **order.parameters}
        return self.prices.find(replace(order, parameters=parameters, mode=self.mode or order.mode))

    def expected(self, order: Order) -> int | None:
        """What an order will cost if all of its images come, in micro-USD; None is unknown."""
        return self.cost(order, order.n)

    def cost(self, order: Order, images: int) -> int | None:
        """What an order did cost that brought so many images, in micro-USD; None is unknown."""
        price = self.price(order)
        return None if price is None else price.cost(images)


def size_word(size: object) -> str:
    """A size as a price names it. A shape without a size (`16:9`) is the provider's choice."""
    if not isinstance(size, str) or not size.strip() or re.fullmatch(r"\s*[0-9.]+\s*:\s*[0-9.]+\s*", size):
        return CHOSEN_BY_PROVIDER
    text = re.sub(r"\s+", "", size)
    sides = re.fullmatch(r"([0-9]{1,9})[xX*×]([0-9]{1,9})", text)
    if sides:
        return f"{int(sides[1])}x{int(sides[2])}"
    return text.upper() if re.fullmatch(r"[0-9.]+[kK]", text) else text.lower()


def size_class(word: str) -> str | None:
    """`1K`, `2K` or `4K` for a width and height, by the number of pixels; None above, and for what names no pixels."""
    if not re.fullmatch(r"[0-9]+x[0-9]+", word):
        return None
    width, height = (int(side) for side in word.split("x"))
    return next((name for name, side in _CLASSES if width * height <= side * side * _SLACK), None)


def matches(pattern: str, text: str) -> bool:
    """Whether `text` is what `pattern` says, in which `*` stands for anything. Upper and lower case are the same."""
    return re.fullmatch(".*".join(re.escape(part) for part in pattern.split("*")), text, re.IGNORECASE) is not None


def _fit(size: str, word: str) -> int:
    """How closely the size of a row fits: 3 the same, 2 the same class, 1 any, 0 not at all."""
    if size == "*":
        return 1
    return 3 if size == word else 2 if size == size_class(word) else 0
