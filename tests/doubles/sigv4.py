"""AWS Signature Version 4 for S3, checked from the server's side with code of its own.

Follows AWS's "Authenticating Requests (AWS Signature Version 4)". Refuses what it cannot verify: streaming payload
signatures, unsigned `x-amz-*` headers, clocks more than 15 minutes away.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, unquote_to_bytes

from tests.doubles.http1 import Request

_SKEW = timedelta(minutes=15)
_WEEK_SECONDS = 604_800
_ALGORITHM = "AWS4-HMAC-SHA256"
_HEADER = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<credential>[^,]+), ?"
    r"SignedHeaders=(?P<signed>[a-z0-9;-]+), ?Signature=(?P<signature>[0-9a-f]{64})"
)


class Denied(Exception):
    """The request is not let in: HTTP status and S3 error code."""

    def __init__(self, status: int, code: str, message: str) -> None:
        self.status = status
        self.code = code
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Keys:
    """Whose signature is expected. With a `token` the request must carry it, without one it must not."""

    access: str
    secret: str
    region: str
    token: str | None = None


@dataclass(frozen=True, slots=True)
class _Claim:
    """What a request says about its own signature."""

    credential: str
    signed: tuple[str, ...]
    signature: str
    date: str
    query: tuple[tuple[str, str], ...]
    payload: str
    token: str | None


def verify(request: Request, keys: Keys, now: datetime) -> None:
    """Return when the signature is good. Raises Denied with the error that S3 gives."""
    query = dict(request.query)
    by_url = "X-Amz-Signature" in query
    if by_url and "authorization" in request.headers:
        raise Denied(400, "InvalidArgument", "Only one auth mechanism allowed")
    claim = _by_url(request, query) if by_url else _by_header(request)
    try:
        moment = datetime.strptime(claim.date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise Denied(403, "AccessDenied", "AWS authentication requires a valid Date or x-amz-date header") from None
    scope = f"{claim.date[:8]}/{keys.region}/s3/aws4_request"
    access, _, claimed_scope = claim.credential.partition("/")
    if access != keys.access:
        raise Denied(403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.")
    if claimed_scope != scope:
        raise Denied(400, "AuthorizationHeaderMalformed", f"the scope must be {scope}")
    if claim.token != keys.token:
        raise Denied(400, "InvalidToken", "The provided token is malformed or otherwise invalid.")
    _check_time(moment, now, query if by_url else None)
    _check_signed(request.headers, claim.signed)
    expected = _signature(request, claim, scope, keys.secret)
    if not hmac.compare_digest(expected, claim.signature):
        raise Denied(403, "SignatureDoesNotMatch", "The request signature we calculated does not match.")
    if claim.payload != "UNSIGNED-PAYLOAD" and claim.payload != hashlib.sha256(request.body).hexdigest():
        raise Denied(400, "XAmzContentSHA256Mismatch", "The provided x-amz-content-sha256 header does not match.")


def _by_header(request: Request) -> _Claim:
    text = request.headers.get("authorization")
    if text is None:
        raise Denied(403, "AccessDenied", "Anonymous access is forbidden")
    match = _HEADER.fullmatch(text)
    if match is None:
        raise Denied(400, "AuthorizationHeaderMalformed", "The authorization header is malformed.")
    payload = request.headers.get("x-amz-content-sha256", "")
    if payload.startswith("STREAMING-"):
        raise Denied(501, "NotImplemented", "aws-chunked encoding is not supported")
    if payload != "UNSIGNED-PAYLOAD" and not re.fullmatch("[0-9a-f]{64}", payload):
        raise Denied(400, "InvalidRequest", "Missing or bad required header x-amz-content-sha256")
    date = request.headers.get("x-amz-date", "")
    signed = tuple(match["signed"].split(";"))
    token = request.headers.get("x-amz-security-token")
    return _Claim(match["credential"], signed, match["signature"], date, request.query, payload, token)


def _by_url(request: Request, query: Mapping[str, str]) -> _Claim:
    if len(query) != len(request.query) or query.get("X-Amz-Algorithm") != _ALGORITHM:
        raise Denied(400, "AuthorizationQueryParametersError", "a parameter came twice, or another algorithm is named")
    rest = tuple(pair for pair in request.query if pair[0] != "X-Amz-Signature")
    return _Claim(
        query.get("X-Amz-Credential", ""),
        tuple(query.get("X-Amz-SignedHeaders", "").split(";")),
        query["X-Amz-Signature"],
        query.get("X-Amz-Date", ""),
        rest,
        "UNSIGNED-PAYLOAD",
        query.get("X-Amz-Security-Token"),
    )


def _check_time(moment: datetime, now: datetime, query: Mapping[str, str] | None) -> None:
    if query is None:
        if abs(now - moment) > _SKEW:
            raise Denied(403, "RequestTimeTooSkewed", "The difference between the request time and ours is too large.")
        return
    life = query.get("X-Amz-Expires", "")
    if not life.isdigit() or not 1 <= int(life) <= _WEEK_SECONDS:
        raise Denied(400, "AuthorizationQueryParametersError", "X-Amz-Expires must be 1 to 604800")
    if moment - now > _SKEW:
        raise Denied(403, "AccessDenied", "Request is not yet valid")
    if now >= moment + timedelta(seconds=int(life)):
        raise Denied(403, "AccessDenied", "Request has expired")


def _check_signed(headers: Mapping[str, str], signed: Iterable[str]) -> None:
    names = list(signed)
    if names != sorted(set(names)) or not set(names) <= headers.keys():
        raise Denied(400, "AuthorizationHeaderMalformed", "SignedHeaders must be sorted, unique and present")
    must = {"host", *(name for name in headers if name.startswith("x-amz-"))}
    if not must <= set(names):
        raise Denied(403, "AccessDenied", "There were headers present in the request which were not signed")


def _signature(request: Request, claim: _Claim, scope: str, secret: str) -> str:
    pairs = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in claim.query)
    canonical = "\n".join(
        [
            request.method,
            quote(unquote_to_bytes(request.path), safe="/-_.~"),
            "&".join(f"{name}={value}" for name, value in pairs),
            *(f"{name}:{' '.join(request.headers[name].split())}" for name in claim.signed),
            "",
            ";".join(claim.signed),
            claim.payload,
        ]
    )
    text = "\n".join([_ALGORITHM, claim.date, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex()
