"""What people write for a moment, a size and an amount of money in an option. It refuses to guess a unit."""

from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

import click


class Moment(click.ParamType["timedelta | datetime"]):
    """A time back from now (`7d`), or a day or moment (`2026-11-20`, `2026-11-20T09:15`); `at` gives it a zone."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta | datetime:
        """Raises a usage error that says what to write."""
        from archiver.settings import parse_duration

        try:
            found = parse_duration(value)
            if isinstance(found, timedelta) and found <= timedelta(days=36_500):
                return found
        except ValueError:
            pass
        try:
            return datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is no time; write for example 7d, 2026-11-20 or 2026-11-20T09:15", param, ctx)


def at(written: timedelta | datetime | None, now: datetime, zone: str) -> datetime | None:
    """The moment that was meant; a day without a zone begins at midnight in `zone`."""
    from zoneinfo import ZoneInfo

    if isinstance(written, timedelta):
        return now - written
    if written is not None and written.tzinfo is None:
        return written.replace(tzinfo=ZoneInfo(zone))
    return written


class Size(click.ParamType[int]):
    """Bytes, as `250KB` or `6MB`; a bare number is bytes."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Raises a usage error that says what to write."""
        from archiver.config.values import parse_bytes

        text = str(value)
        try:
            found = parse_bytes(f"{text}B" if text.isdecimal() else text)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return min(int(str(found)), 2**62)


class Usd(click.ParamType[int]):
    """Dollars, as `0.04`; the command gets micro-USD."""

    name = "usd"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Raises a usage error that says what to write."""
        try:
            amount = Decimal(str(value).removeprefix("$"))
        except InvalidOperation:
            amount = Decimal(-1)
        if amount.is_nan() or not Decimal(0) <= amount <= Decimal(1_000_000):
            self.fail(f"{value!r} is no amount; write US dollars, for example 0.04", param, ctx)
        return int(amount * 1_000_000)
