"""Reading what somebody else wrote, line by line: tables, JSON, SQL dumps, in any encoding.

A file is never refused as a whole for one broken line: it comes as `Broken`, with its number, between the others. What
the columns mean is the business of the caller; this room opens no file.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """Text that could not be read as what the file is, from a line on. It may still hold what somebody looks for."""

    number: int
    text: str = field(repr=False)
