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
    """Status and headers (names in lower case) of the last reply of one exchange. libcurl appends to `lines`, which
    costs no step of the interpreter; they are read when somebody asks for the first time.

    More than 64 KiB of headers is an attack, not a reply: it is `too_long`, and its status 0. libcurl stops at 300 KiB.
    """

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.too_long = False
        self._read = 0
        self._status = 0
        self._headers: dict[str, str] = {}

    @property
    def status(self) -> int:
        """The status, 0 before there is one."""
        if self._read != len(self.lines):
            self.read()
        return self._status

    @property
    def headers(self) -> dict[str, str]:
        """What it says; a header that comes twice is joined by a comma."""
        if self._read != len(self.lines):
            self.read()
        return self._headers

    def read(self) -> None:
        """Read the lines that came since the last time."""
        new, self._read = self.lines[self._read :], len(self.lines)
        if self.too_long or sum(map(len, self.lines)) > _HEAD_LIMIT:
            self.too_long, self._status, self._headers = True, 0, {}
            return
        headers = self._headers
        for raw in new:
            if raw.startswith(b"HTTP/") and (match := _STATUS.match(raw)):
                self._status = int(match[1])
                headers.clear()  # a new reply begins, for example after `100 Continue`
                continue
            name, colon, value = raw.decode("latin-1").partition(":")
            if colon:
                name, value = name.strip().lower(), value.strip()
                headers[name] = f"{headers[name]}, {value}" if name in headers else value


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
