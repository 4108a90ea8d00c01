"""The signer of S3 requests says what the SDK's own signer says, whatever is signed and whenever."""

import random
import string
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from urllib.parse import quote

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from archiver.stores.sigv4 import NOTHING, sign

_ENDPOINTS = ("127.0.0.1:9000", "s3.eu-central-1.amazonaws.com", "bkt.example.com:8443", "[::1]:9000")
_HEADERS = (
    "content-type",
    "if-none-match",
    "x-amz-checksum-sha256",
    "x-amz-meta-sha256",
    "X-Amz-Meta-V",
    "Cache-Control",
)
_LETTERS = string.ascii_letters + string.digits + "-._~/+=@!(),' "


class _At(S3SigV4Auth):
    """The SDK's signer at a moment of our choice, with the payload's digest told."""

    def __init__(self, credentials: Credentials, region: str, stamp: str, sha256: str) -> None:
        super().__init__(credentials, "s3", region)
        self._stamp = stamp
        self._sha256 = sha256

    def payload(self, request: AWSRequest) -> str:
        return self._sha256

    def add_auth(self, request: AWSRequest) -> None:
        request.context["timestamp"] = self._stamp
        self._modify_request_before_signing(request)  # type: ignore[attr-defined]
        text = self.string_to_sign(request, self.canonical_request(request))
        self._inject_signature_to_request(request, self.signature(text, request))  # type: ignore[attr-defined]


def _text(luck: random.Random, most: int = 40) -> str:
    return "".join(luck.choices(_LETTERS, k=luck.randint(1, most)))


def _cases(seed: int) -> Iterator[tuple[str, str, str, dict[str, str], dict[str, Any]]]:
    luck = random.Random(seed)
    for _ in range(400):
        key = "".join(luck.choices("abc/ é猫+?#%&=~._-\\'", k=luck.randint(1, 30)))
        headers = {name: _text(luck) for name in luck.sample(_HEADERS, luck.randint(0, len(_HEADERS)))}
        if luck.random() < 0.3:
            headers["User-Agent"] = "archiver"
        moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=luck.uniform(0, 4e8))
        said = {
            "key_id": _text(luck, 20),
            "secret": _text(luck),
            "token": _text(luck, 400) if luck.random() < 0.5 else None,
            "region": luck.choice(("us-east-1", "eu-central-1", "auto")),
            "sha256": luck.choice((NOTHING, f"{luck.getrandbits(256):064x}")),
            "now": moment.astimezone(timezone(timedelta(hours=luck.randint(-12, 14)))),
        }
        yield (
            luck.choice(("GET", "HEAD", "PUT")),
            luck.choice(_ENDPOINTS),
            quote(f"/bkt/{key}", safe="/~"),
            headers,
            said,
        )


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_it_signs_as_the_sdk_does(scheme: str) -> None:
    """Random keys, headers, tokens, zones and clock values: every header that goes out is the same."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    for method, host, path, headers, said in _cases(seed):
        request = AWSRequest(method=method, url=f"{scheme}://{host}{path}", headers=dict(headers))
        credentials = Credentials(said["key_id"], said["secret"], said["token"])
        stamp = said["now"].astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
        _At(credentials, said["region"], stamp, said["sha256"]).add_auth(request)
        ours = sign(method, host, path, headers, **said)
        assert ours == dict(request.headers.items()), (method, host, path, headers)
