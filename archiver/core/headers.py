"""The time of death that a source states beside the bytes: the lifecycle date of the object, in a header of its reply.

Only what the house of the bucket says of this very object counts. `Cache-Control` and `Expires` speak of caches, never
of deletion, and are not read. This file refuses to decide anything: a date that cannot be understood, or that lies
absurdly far away, is the same as no date.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from archiver.core.expiry import ABSURD
from archiver.core.model import Evidence

LIFECYCLE = ("x-amz-expiration", "x-oss-expiration")
"""Headers of the form `expiry-date="Fri, 20 Nov 2026 00:00:00 GMT", rule-id="..."`, in lower case."""

LATEST = timedelta(days=3)
"""How late a rule may delete."""

_DATE = re.compile(r'expiry-date\s*=\s*"([^"]{1,64})"', re.IGNORECASE)


def header_expiry(headers: Mapping[str, str], received: datetime) -> tuple[Evidence, ...]:
    """What the headers of a reply (names in lower case) say of the object's end: at most one piece of evidence each.

    `received` is when the reply came. A date more than ten years after it is a misread number. So is one more than
    three days before it: rules delete a day late, but what still answers did not end last year, and an image that is
    taken for dead would have to wait for all others.
    """
    found: list[Evidence] = []
    for name in LIFECYCLE:
        dates = (_moment(text) for text in _DATE.findall(headers.get(name, "")))
        sensible = [at for at in dates if at is not None and -LATEST <= at - received <= ABSURD]
        if sensible:
            found.append(Evidence(source="header", at=min(sensible), detail=name))
    return tuple(found)


def joined(held: Sequence[Evidence], found: Sequence[Evidence]) -> tuple[Evidence, ...]:
    """All evidence that is held, and what a reply added to it.

    A header may name another date in every reply. Of all that it named, the earliest and the latest stay: they decide
    the deadline and the giving up, and a million replies take no more room than two.
    """
    kept = [item for item in held if item.source != "header"]
    stated: dict[str, list[Evidence]] = {}
    for item in (*held, *found):
        if item.source == "header":
            stated.setdefault(item.detail, []).append(item)
    for items in stated.values():
        ends = (min(items, key=lambda item: item.at), max(items, key=lambda item: item.at))
        kept += ends[:1] if ends[0].at == ends[1].at else ends
    return tuple(kept)


def _moment(text: str) -> datetime | None:
    try:
        at = parsedate_to_datetime(text)
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
