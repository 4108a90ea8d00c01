"""Types of settings that more than one section uses: secrets by reference, durations, proxy-safe strings.

`config` and the adapters' `Settings` classes build on them, so that `"7d"` and `"env:NAME"` mean the same everywhere.
It reads no file and no environment: a reference stays a reference until wiring resolves it.
"""

import re
from datetime import timedelta
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

from archiver.core.model import SecretReference

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_UNIT = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_duration(value: object) -> object:
    """Turn `"90s"`, `"10m"`, `"1.5h"` or `"7d"` into a timedelta.

    A number without a unit is refused: seconds or hours, nobody knows. Raises ValueError with what to write instead.
    """
    if isinstance(value, timedelta):
        return value
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f'{value!r} is no duration; write a number with ms, s, m, h or d, for example "10m" or "7d"')
    return timedelta(seconds=float(match[1]) * _UNIT[match[2]])


def duration_text(duration: timedelta) -> str:
    """A duration as it is written in the configuration, in the largest unit that it is a whole number of."""
    seconds = duration.total_seconds()
    unit = next((unit for unit in ("d", "h", "m") if seconds and seconds % _UNIT[unit] == 0), "s")
    return f"{seconds / _UNIT[unit]:g}{unit}"


def parse_reference(value: object) -> object:
    """Accept `env:NAME` and `file:PATH`; refuse a literal secret without repeating it."""
    if isinstance(value, SecretReference):
        return value
    if isinstance(value, str) and re.fullmatch(r"env:[A-Za-z_][A-Za-z0-9_]*|file:.+", value):
        return SecretReference(value)
    raise ValueError(
        "a secret does not belong into the configuration; "
        'write "env:NAME" to take it from an environment variable or "file:PATH" to read it from a file'
    )


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
Reference = Annotated[SecretReference, BeforeValidator(parse_reference)]


class Section(BaseModel):
    """One table of the configuration: frozen, and a key that nobody knows is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, arbitrary_types_allowed=True)
