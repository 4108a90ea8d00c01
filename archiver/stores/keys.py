"""Which texts can be a key in every store: the one rule that all adapters share. It refuses to change a key."""

from archiver.core.errors import Permanent

LIMIT = 1023
"""Bytes of UTF-8: what OSS allows, one less than S3."""


def check(store: str, key: str) -> None:
    """Raise `Permanent` when `key` is empty, longer than `LIMIT`, no Unicode, or holds NUL."""
    try:
        length = len(key.encode("utf-8"))
    except UnicodeEncodeError:
        length = 0
    if not 0 < length <= LIMIT or "\0" in key:
        raise Permanent(f"{store}: {key[:40]!r} can be no key: 1 to {LIMIT} bytes of UTF-8 without NUL")
