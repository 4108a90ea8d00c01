"""What every kind of source yields: a line of named values, or a broken line with its number and the reason."""

from collections.abc import Mapping
from dataclasses import dataclass

from archiver.core.model import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One readable line. `number` counts from 1, as an editor does."""

    number: int
    values: Mapping[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """One line that cannot be used, and why. The line itself is not repeated: it may hold a signed URL."""

    number: int
    reason: str
