"""How a reply is read, whoever sent it: its head, the pause it asks for, and the code in an XML error.

Only facts are taken from a reply here, and never its prose: an error page may repeat the request, signature included.
This file refuses to decide what a status means.
"""

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

SHORTEST_PAUSE = 1.0
LONGEST_PAUSE = 3600.0
_HEAD_LIMIT = 64 * 1024
_STATUS = re.compile(rb"HTTP/\d(?:\.\d)? (\d{3})")
_CODE = re.compile(rb"<Code>\s*([A-Za-z0-9._-]{1,64})\s*</Code>")


class Head:
    """Collects status and headers (names in lower case) of the last reply of one exchange; libcurl calls it by line."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.too_long = False
        self._seen = 0

    def line(self, raw: bytes) -> int | None:
        """Take one header line. -1 makes libcurl stop: more than 64 KiB of headers is an attack, not a reply."""
        self._seen += len(raw)
        if self._seen > _HEAD_LIMIT:
            self.too_long = True
            return -1
        if match := _STATUS.match(raw):
            self.status = int(match[1])  # a new reply begins, for example after `100 Continue`
            self.headers.clear()
            return None
        name, colon, value = raw.decode("latin-1").partition(":")
        if colon:
            name, value = name.strip().lower(), value.strip()
            self.headers[name] = f"{self.headers[name]}, {value}" if name in self.headers else value
        return None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of the `Retry-After` header, kept within 1 s and 1 h; None when there is none that can be read.

    A date is measured from the reply's own `Date`, so that a wrong clock of ours does not matter.
    """
    text = headers.get("retry-after", "")
    if re.fullmatch(r"\d{1,9}", text):
        seconds = float(text)
    else:
        try:
            then, now = parsedate_to_datetime(text), parsedate_to_datetime(headers.get("date", ""))
            seconds = (then - now).total_seconds()
        except (ValueError, TypeError):
            return None
    return min(max(seconds, SHORTEST_PAUSE), LONGEST_PAUSE)


def error_code(body: bytes) -> str:
    """The `<Code>` of an S3 or OSS error document, empty when there is none."""
    match = _CODE.search(body)
    return match[1].decode("ascii") if match else ""
