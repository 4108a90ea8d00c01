"""Reading tables that somebody else wrote, line by line: CSV and JSON lines.

A file is never refused as a whole for one broken line: it comes as `Broken`, with its number, between the others. What
the columns mean is the business of the caller; this room opens no file.
"""

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
