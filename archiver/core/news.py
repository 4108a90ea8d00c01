"""What somebody may have to be told: of a request before it is paid for, and of a key.

Values only; who is told, and how, is decided elsewhere.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """What is wrong, or odd, with a request before it is paid for. An error would fail for sure; a warning may not.
    `about` is `model` for one that nobody here knows: a table of prices may know it all the same."""

    level: Literal["error", "warning"]
    text: str
    about: Literal["", "model"] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyNews:
    """A provider refused a key, or took one. `reference` says where it is kept (`env:NAME`), `keys` how many its
    section names."""

    provider: str
    reference: str
    refused: bool
    keys: int
