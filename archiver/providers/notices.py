"""Whether a webhook comes from whom it says: Standard Webhooks, symmetric signatures (HMAC-SHA256).

Refused before anything of the body is read. It knows no provider, and remembers no id: a notice only makes us look, and
looking twice is free.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import datetime

TOLERANCE_S = 300
"""How far the time of a notice may be from ours, in seconds, either way."""


def is_genuine(headers: Mapping[str, str], body: bytes, secret: str, now: datetime) -> bool:
    """Whether one of the signatures in `webhook-signature` is that of `secret` (`whsec_` and base64), and the time
    recent. Header names are compared without case."""
    said = {name.lower(): value.strip() for name, value in headers.items()}
    ident, stamp = said.get("webhook-id", ""), said.get("webhook-timestamp", "")
    if not ident or "." in ident or not re.fullmatch(r"[0-9]{1,12}", stamp):
        return False
    if abs(now.timestamp() - int(stamp)) > TOLERANCE_S:
        return False
    try:
        key = base64.b64decode(secret.strip().removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        return False
    text = f"{ident}.{stamp}.".encode() + body
    right = base64.b64encode(hmac.digest(key, text, hashlib.sha256))
    given = [pair.partition(",") for pair in said.get("webhook-signature", "").split()]
    # Every one is compared: how long it takes tells nothing.
    matches = [version == "v1" and hmac.compare_digest(signature.encode(), right) for version, _, signature in given]
    return bool(key) and any(matches)
