"""What a bucket does to its objects by itself. Facts only: what they mean for an archive is decided elsewhere."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketRule:
    """A rule by which a bucket acts on its objects by itself: on all whose key begins with `prefix` (empty: on all).

    `action` is `delete` or `move` (to a class of storage from which bytes are not had at once). `days` counts from when
    an object was written; `on` is the one day on which all older ones are acted on; `narrowed` means that the rule also
    asks for something that is not known here (tags, sizes): it may act on less than it says.
    """

    name: str
    action: Literal["delete", "move"]
    prefix: str = ""
    days: int | None = None
    on: datetime | None = None
    narrowed: bool = False
