"""When two requests are the same: a fingerprint over everything that a provider is told.

Two generations with one fingerprint ask for the same thing, so that the images of the first may serve for the second.
It refuses to be clever: requests that differ in anything at all, a space in the prompt included, are not the same.
"""

import hashlib
import json
from collections.abc import Mapping


def fingerprint(said: Mapping[str, object]) -> str:
    """The sha256, in hexadecimal, of all that goes into a request; the order of keys does not matter."""
    text = json.dumps(said, ensure_ascii=True, sort_keys=True, default=str, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()
