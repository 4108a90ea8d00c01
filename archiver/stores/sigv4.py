"""Signature Version 4 of AWS, for requests to S3, as a pure function.

The SDK's own signer costs more than the rest of a small upload (docs/performance.md), so every image is signed here;
`tests/contracts/test_sigv4.py` compares the two over random keys, headers, tokens and clock values. The digest of the
payload is known beforehand and always signed. It refuses queries: nothing that is signed here has one.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
"""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache

#: sha256 of no bytes.
NOTHING = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#: What a proxy may change on the way; the SDK leaves them out too.
_UNSIGNED = frozenset(("connection", "expect", "transfer-encoding", "user-agent", "x-amzn-trace-id"))


def sign(
    method: str,
    host: str,
    path: str,
    headers: Mapping[str, str],
    *,
    sha256: str,
    key_id: str,
    secret: str,
    token: str | None,
    region: str,
    now: datetime,
) -> dict[str, str]:
    """The headers to send: those given, and those that sign them (`host` is signed, and left to the sender).

    `path` is as it goes out, percent-encoded and beginning with a slash; `host` has its port when that is not the
    scheme's own; `sha256` is of the payload, in hexadecimal.
    """
    stamp = f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    day = stamp[:8]
    sent = {**headers, "X-Amz-Date": stamp, "X-Amz-Content-SHA256": sha256}
    if token:
        sent["X-Amz-Security-Token"] = token
    signed = {"host": host}
    for name, value in sent.items():
        if (lower := name.lower().strip()) not in _UNSIGNED:
            signed[lower] = " ".join(value.split())
    names = sorted(signed)
    listed = ";".join(names)
    lines = "".join([f"{name}:{signed[name]}\n" for name in names])
    request = f"{method}\n{path}\n\n{lines}\n{listed}\n{sha256}"
    scope = f"{day}/{region}/s3/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    signature = hmac.digest(_key(secret, day, region), text.encode(), "sha256").hex()
    sent["Authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={key_id}/{scope}, SignedHeaders={listed}, Signature={signature}"
    )
    return sent


@lru_cache(maxsize=16)
def _key(secret: str, day: str, region: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (day, region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key
