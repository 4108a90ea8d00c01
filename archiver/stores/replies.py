"""What a refusal of an object store means, as one of archiver's error words, with a hint what to do about it.

S3 and OSS answer in the same shape (a status, an XML code), so the shape is read here once; each brings its own table
of codes. Only status, code and region are taken from a reply: its prose may hold the string to sign and key ids.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

from archiver.core.errors import AdapterError, Permanent, Throttled, Transient
from archiver.core.model import HttpReply
from archiver.transport.reply import error_code, retry_after

CLOCK = "the clock of this machine is wrong by minutes; set it, for example with NTP"

_PACE = frozenset(
    ("SlowDown", "RequestLimitExceeded", "TooManyRequests", "Throttling", "ThrottlingException", "QpsLimitExceeded",
     "UploadTrafficRateLimitExceeded", "DownloadTrafficRateLimitExceeded", "TotalQpsLimitExceeded")
)  # fmt: skip
_WEATHER = frozenset(
    ("BadDigest", "InvalidDigest", "IncompleteBody", "RequestTimeout", "XAmzContentSHA256Mismatch", "OperationAborted",
     "ConditionalRequestConflict", "InternalError", "ServiceUnavailable", "ConnectionTimeout", "ObjectSizeMismatch")
)  # fmt: skip
_SKEW = timedelta(minutes=10)  # servers allow 15
_REGION = re.compile(rb"<Region>\s*([a-z0-9-]{1,40})\s*</Region>")
_EXPECTED = re.compile(rb"expecting '([a-z0-9-]{1,40})'")


@dataclass(frozen=True, slots=True)
class Hint:
    """What one code means: the error word, and what somebody may do."""

    word: type[Transient] | type[Permanent]
    text: str


Hints = Mapping[str, Hint]
"""Hints by code, and by status as text (`"403"`) for replies without a code, such as those to HEAD."""


def fault(what: str, reply: HttpReply, hints: Hints, *, code: str = "", now: datetime | None = None) -> AdapterError:
    """The error for a reply that is no success. `what` names the store and the action, for example `main: put`.

    `code` is given by an SDK that has read the body already. With `now`, a denial by a server whose clock is far from
    ours is blamed on the clock: a signed URL that is refused as expired comes back as a plain AccessDenied.
    """
    code = code or error_code(reply.body) or error_code(_oss_error(reply))
    said = f"{what} was answered {reply.status}" + (f" {code}" if code else "")
    pause = retry_after(reply.headers)
    if reply.status == 429 or code in _PACE or (reply.status == 503 and pause is not None):
        return Throttled(said, pause)
    if code in _WEATHER:
        return Transient(said)
    if reply.status == 403 and now is not None and _clocks_differ(reply, now):
        return Transient(f"{said} ({CLOCK})")
    if hint := hints.get(code):
        return hint.word(f"{said} ({hint.text}){_region(reply)}")
    if reply.status >= 500 and reply.status != 501:
        return Transient(said)
    if reply.status in (408, 409):
        return Transient(said)
    if not code and (hint := hints.get(str(reply.status))):
        return hint.word(f"{said} ({hint.text}){_region(reply)}")
    return Permanent(f"{said}{_region(reply)}")


def _region(reply: HttpReply) -> str:
    """Where the bucket really is, when the reply says so."""
    region = reply.headers.get("x-amz-bucket-region", "")
    if not re.fullmatch(r"[a-z0-9-]{1,40}", region):
        found = _REGION.search(reply.body) or _EXPECTED.search(reply.body)
        region = found[1].decode("ascii") if found else ""
    return f' (the store expects region = "{region}")' if region else ""


def _clocks_differ(reply: HttpReply, now: datetime) -> bool:
    try:
        theirs = parsedate_to_datetime(reply.headers.get("date", ""))
    except ValueError:
        return False
    return theirs.tzinfo is not None and abs(theirs - now) > _SKEW


def _oss_error(reply: HttpReply) -> bytes:
    """The error document of a reply without a body: OSS puts it, in base64, into a header of its replies to HEAD."""
    try:
        return base64.b64decode(reply.headers.get("x-oss-err", ""), validate=True)
    except ValueError:
        return b""
