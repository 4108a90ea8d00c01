"""What a source's reply says of the image: whether its own checksum agrees with the bytes, and what a refusal means.

Pure. It refuses to look into the image: that is `core.imagefile`'s work.
"""

import base64
import re
from collections.abc import Mapping

from archiver.core.errors import AdapterError, Corrupt, Gone, Throttled, Transient
from archiver.transport.body import Body
from archiver.transport.reply import Head, error_code, retry_after

#: Google Cloud Storage: "crc32c=AAAAAA==,md5=..." ; the first of the two costs more than it shows.
_GOOGLE_MD5 = re.compile(r"\bmd5=([A-Za-z0-9+/]{22}==)")


def disagreement(body: Body, headers: Mapping[str, str]) -> str | None:
    """The header whose digest differs from that of the bytes, if any."""
    stated = headers.get("x-oss-hash-crc64ecma", "")
    if stated.isdecimal() and int(stated) != body.crc64:
        return "x-oss-hash-crc64ecma"
    stated = headers.get("content-md5", "")
    if stated and stated != _md5(body):
        return "content-md5"
    stated = headers.get("x-goog-hash", "")
    if (found := _GOOGLE_MD5.search(stated)) and found[1] != _md5(body):
        return "x-goog-hash"
    return None


def _md5(body: Body) -> str:
    return base64.b64encode(bytes.fromhex(body.md5())).decode("ascii")


def refused_by_source(host: str, head: Head, page: bytes) -> AdapterError:
    """The word for a status that brings no image."""
    status, pause = head.status, retry_after(head.headers)
    code = error_code(page)
    said = " ".join(part for part in (f"{host}: the source answered {status}", code) if part)
    if status == 429 or (status == 503 and (pause is not None or code == "SlowDown")):
        return Throttled(said, pause)
    if status >= 500 or status in (408, 425):
        return Transient(said)
    if status >= 400:
        return Gone(said + (" (the reply speaks of expiry)" if b"expired" in page.lower() else ""))
    if 200 <= status < 300:
        return Corrupt(f"{said}, which is not a whole body")
    return Transient(said)
