"""The price table: `prices.toml` of this package, and the user's own file, whose rows win.

A row that nobody can check is refused: each says from which day it holds, and who says so. It decides nothing about
which row holds for a request; that is `core.pricing`.
"""

import tomllib
from datetime import date
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from archiver.config.complaints import validate_section
from archiver.core.errors import ConfigurationError
from archiver.core.pricing import Price, Prices, micro_usd, size_word
from archiver.settings import Section

SHIPPED = "prices.toml"


def _listed(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _amount(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("is no amount; write US dollars, for example 0.09")
    return value


def _day(value: object) -> object:
    if type(value) is not date:  # a time of day would be cut off in silence
        raise ValueError("is no day; write one without quotes, for example 2026-07-01")
    return value


def _size(text: str) -> str:
    return text if text == "*" else size_word(text)


class PriceRow(Section):
    """`[[prices]]`, as written."""

    model: str = Field(min_length=1)
    at: str = Field(default="*", min_length=1)
    size: Annotated[
        tuple[Annotated[str, AfterValidator(_size)], ...], BeforeValidator(_listed), Field(min_length=1)
    ] = ("*",)
    quality: str | None = Field(default=None, min_length=1)
    mode: Literal["now", "batch"] = "now"
    usd: Annotated[Decimal, BeforeValidator(_amount), Field(ge=0, le=1_000_000)]
    per: Literal["image", "request"] = "image"
    since: Annotated[date, BeforeValidator(_day)] = Field(alias="from")
    source: str = Field(min_length=1)

    @property
    def price(self) -> Price:
        """What core decides with."""
        return Price(
            model=self.model,
            micro=micro_usd(self.usd),
            since=self.since,
            source=self.source,
            per=self.per,
            at=self.at,
            sizes=self.size,
            quality=self.quality.lower() if self.quality else None,
            mode=self.mode,
        )


def load_prices(own_file: Path | None) -> Prices:
    """The shipped table, and the rows of `own_file` before it. Raises ConfigurationError."""
    shipped = files("archiver.config").joinpath(SHIPPED).read_text("utf-8")
    return Prices(_own(own_file) if own_file else (), _rows(shipped, Path(SHIPPED)))


def _own(path: Path) -> tuple[Price, ...]:
    key = "archiver.prices_file"
    try:
        return _rows(path.read_text("utf-8-sig"), path)
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}", key=key) from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} is not UTF-8 text", key=key) from None


def _rows(text: str, path: Path) -> tuple[Price, ...]:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path} is no valid TOML: {error}") from None
    raw = document.pop("prices", [])
    if document or not isinstance(raw, list) or not all(isinstance(row, dict) for row in raw):
        raise ConfigurationError(f"{path} may only hold rows that begin with [[prices]]")
    found: dict[tuple[object, ...], Price] = {}
    for number, row in enumerate(raw):
        price = validate_section(PriceRow, row, f"prices[{number}]", path).price
        for size in price.sizes:
            what = (price.model.lower(), price.at.lower(), size, price.quality, price.mode, price.since)
            if what in found:
                raise ConfigurationError(f"says the same as a row before it (in {path})", key=f"prices[{number}]")
            found[what] = price
    return tuple(dict.fromkeys(found.values()))
