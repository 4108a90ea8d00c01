"""Aliyun OSS signatures V1 and V4, checked from the server's side with code of its own.

Follows Aliyun's pages "Include V1 (V4) signatures in the Authorization header" and "... in a URL"; proven against the
vectors that Aliyun publishes in its SDKs. Refuses what it cannot verify: V2 signatures, signed payload digests, an
unsorted or empty list of additional headers, clocks more than 15 minutes away.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import quote

from tests.doubles.http1 import Request

_SKEW = timedelta(minutes=15)
_WEEK_SECONDS = 604_800
_V4 = "OSS4-HMAC-SHA256"
_V1_HEADER = re.compile(r"OSS (?P<access>[^:\s]+):(?P<signature>[A-Za-z0-9+/]{27}=)")
_V1_URL = ("OSSAccessKeyId", "Expires", "Signature")
_SUBRESOURCE = re.compile(
    "acl|append|bucketInfo|cname|comp|continuation-token|cors|delete|encryption|inventory|lifecycle|location|logging|"
    "objectMeta|partNumber|policy|position|qos|referer|replication|requestPayment|resourceGroup|restore|"
    "response-(cache-control|content-disposition|content-encoding|content-language|content-type|expires)|"
    "security-token|sequential|stat|symlink|tagging|uploadId|uploads|versionId|versioning|versions|website|worm|"
    "x-oss-process|x-oss-traffic-limit"
)


class Denied(Exception):
    """The request is not let in: HTTP status, OSS error code, message, and further elements of the error XML."""

    def __init__(self, status: int, code: str, message: str, details: Mapping[str, str] | None = None) -> None:
        self.status = status
        self.code = code
        self.details = dict(details or {})
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Keys:
    """Whose signature is expected. With a `token` the request must carry it, and before `token_expires`."""

    access: str
    secret: str = field(repr=False)
    region: str
    token: str | None = field(default=None, repr=False)
    token_expires: datetime | None = None


def verify(request: Request, bucket: str, key: str, keys: Keys, now: datetime) -> None:
    """Return when the signature is good. Raises Denied with the error that OSS gives."""
    query = dict(request.query)
    if len(query) != len(request.query):
        raise Denied(400, "InvalidArgument", "a query parameter came twice")
    text = request.headers.get("authorization", "")
    forms = [bool(text), "Signature" in query, "x-oss-signature" in query]
    if sum(forms) > 1:
        raise Denied(400, "InvalidArgument", "Only one auth mechanism allowed")
    if text.startswith("OSS "):
        _v1_by_header(request, bucket, key, query, keys, now)
    elif text.startswith(_V4 + " "):
        _v4_by_header(request, bucket, key, query, keys, now)
    elif text:
        raise Denied(400, "InvalidArgument", "Authorization header is invalid.")
    elif "Signature" in query:
        _v1_by_url(request, bucket, key, query, keys, now)
    elif "x-oss-signature" in query:
        _v4_by_url(request, bucket, key, query, keys, now)
    else:
        raise Denied(403, "AccessDenied", "You have no right to access this object because of bucket acl.")


def _v1_by_header(request: Request, bucket: str, key: str, query: dict[str, str], keys: Keys, now: datetime) -> None:
    match = _V1_HEADER.fullmatch(request.headers["authorization"])
    if match is None:
        raise Denied(400, "InvalidArgument", "Authorization header is invalid.")
    _check_owner(match["access"], request.headers.get("x-oss-security-token"), keys, now)
    date = request.headers.get("x-oss-date") or request.headers.get("date", "")
    try:
        moment = parsedate_to_datetime(date)
    except ValueError:
        raise Denied(403, "AccessDenied", "OSS authentication requires a valid Date.") from None
    if moment.tzinfo is None or not date.endswith(" GMT"):
        raise Denied(403, "AccessDenied", "OSS authentication requires a valid Date.")
    _check_skew(moment, now)
    text = v1_string_to_sign(request, bucket, key, query, date)
    _compare(v1_signature(text, keys.secret), match["signature"], keys, text)


def _v1_by_url(request: Request, bucket: str, key: str, query: dict[str, str], keys: Keys, now: datetime) -> None:
    if not all(query.get(name) for name in _V1_URL) or not query["Expires"].isdigit():
        raise Denied(403, "AccessDenied", "Query-string authentication requires Signature, Expires and OSSAccessKeyId")
    _check_owner(query["OSSAccessKeyId"], query.get("security-token"), keys, now)
    if now >= datetime.fromtimestamp(int(query["Expires"]), UTC):
        raise _expired(datetime.fromtimestamp(int(query["Expires"]), UTC), now)
    text = v1_string_to_sign(request, bucket, key, query, query["Expires"])
    _compare(v1_signature(text, keys.secret), query["Signature"], keys, text)


def v1_string_to_sign(request: Request, bucket: str, key: str, query: Mapping[str, str], date: str) -> str:
    """What V1 signs; `date` is the Date header, or the Expires of a signed URL."""
    names = sorted(name for name in query if _SUBRESOURCE.fullmatch(name))
    resource = "&".join(f"{name}={query[name]}" if query[name] else name for name in names)
    oss = sorted(name for name in request.headers if name.startswith("x-oss-"))
    lines = [request.method, request.headers.get("content-md5", ""), request.headers.get("content-type", ""), date]
    lines += [f"{name}:{request.headers[name]}" for name in oss]
    lines.append((f"/{bucket}/{key}" if bucket else "/") + (f"?{resource}" if resource else ""))
    return "\n".join(lines)


def v1_signature(text: str, secret: str) -> str:
    """Base64 of HMAC-SHA1."""
    return base64.b64encode(hmac.digest(secret.encode(), text.encode(), "sha1")).decode()


def _v4_by_header(request: Request, bucket: str, key: str, query: dict[str, str], keys: Keys, now: datetime) -> None:
    pairs = [part.strip().partition("=") for part in request.headers["authorization"][len(_V4) :].split(",")]
    fields = {name: value for name, _, value in pairs}
    if len(fields) != len(pairs) or not {"Credential", "Signature"} <= fields.keys() <= _V4_FIELDS:
        raise Denied(400, "InvalidArgument", "Authorization header is invalid.")
    if request.headers.get("x-oss-content-sha256") != "UNSIGNED-PAYLOAD":
        raise Denied(400, "InvalidArgument", "x-oss-content-sha256 must be UNSIGNED-PAYLOAD.")
    date = request.headers.get("x-oss-date", "")
    scope, moment = _check_scope(fields["Credential"], request.headers.get("x-oss-security-token"), date, keys, now)
    _check_skew(moment, now)
    additional = _additional(fields.get("AdditionalHeaders"), request.headers)
    canonical = v4_canonical(request, bucket, key, query, additional)
    text = v4_string_to_sign(date, scope, canonical)
    _compare(v4_signature(text, scope, keys.secret), fields["Signature"], keys, text, canonical)


_V4_FIELDS = frozenset({"Credential", "Signature", "AdditionalHeaders"})


def _v4_by_url(request: Request, bucket: str, key: str, query: dict[str, str], keys: Keys, now: datetime) -> None:
    life, date = query.get("x-oss-expires", ""), query.get("x-oss-date", "")
    if query.get("x-oss-signature-version") != _V4 or not life.isdigit() or not 1 <= int(life) <= _WEEK_SECONDS:
        raise Denied(403, "AccessDenied", "x-oss-signature-version, or x-oss-expires (1 to 604800), is invalid.")
    token = query.get("x-oss-security-token")
    scope, moment = _check_scope(query.get("x-oss-credential", ""), token, date, keys, now)
    if moment - now > _SKEW:
        raise Denied(403, "AccessDenied", "Request is not valid yet.")
    if now >= moment + timedelta(seconds=int(life)):
        raise _expired(moment + timedelta(seconds=int(life)), now)
    additional = _additional(query.get("x-oss-additional-headers"), request.headers)
    signed = {name: value for name, value in query.items() if name != "x-oss-signature"}
    canonical = v4_canonical(request, bucket, key, signed, additional)
    text = v4_string_to_sign(date, scope, canonical)
    _compare(v4_signature(text, scope, keys.secret), query["x-oss-signature"], keys, text, canonical)


def v4_canonical(request: Request, bucket: str, key: str, query: Mapping[str, str], additional: tuple[str, ...]) -> str:
    """The canonical request of V4; `query` without the signature, `additional` sorted."""
    encoded = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in query.items())
    always = {name for name in request.headers if name.startswith("x-oss-") or name in ("content-type", "content-md5")}
    lines = [request.method, quote(f"/{bucket}/{key}" if bucket else "/", safe="/-_.~")]
    lines.append("&".join(f"{name}={value}" if value else name for name, value in encoded))
    lines += [f"{name}:{request.headers[name]}" for name in sorted(always | set(additional))]
    lines += ["", ";".join(additional), request.headers.get("x-oss-content-sha256", "UNSIGNED-PAYLOAD")]
    return "\n".join(lines)


def v4_string_to_sign(date: str, scope: str, canonical: str) -> str:
    """The four lines that V4 signs."""
    return "\n".join([_V4, date, scope, hashlib.sha256(canonical.encode()).hexdigest()])


def v4_signature(text: str, scope: str, secret: str) -> str:
    """Hexadecimal HMAC-SHA256 under the key derived along `scope` (date/region/oss/aliyun_v4_request)."""
    signing_key = f"aliyun_v4{secret}".encode()
    for part in scope.split("/"):
        signing_key = hmac.digest(signing_key, part.encode(), "sha256")
    return hmac.digest(signing_key, text.encode(), "sha256").hex()


def _check_scope(credential: str, token: str | None, date: str, keys: Keys, now: datetime) -> tuple[str, datetime]:
    access, _, scope = credential.partition("/")
    _check_owner(access, token, keys, now)
    try:
        moment = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise Denied(400, "InvalidArgument", "x-oss-date is invalid.") from None
    if scope != f"{date[:8]}/{keys.region}/oss/aliyun_v4_request":
        raise Denied(400, "InvalidArgument", "Invalid signing date, region or product in Credential.")
    return scope, moment


def _check_owner(access: str, token: str | None, keys: Keys, now: datetime) -> None:
    if access != keys.access or (keys.token is not None and token is None):
        message = "The OSS Access Key Id you provided does not exist in our records."
        raise Denied(403, "InvalidAccessKeyId", message, {"OSSAccessKeyId": access})
    if token != keys.token:
        raise Denied(403, "InvalidSecurityToken", "The security token you provided is invalid.")
    if keys.token_expires is not None and now >= keys.token_expires:
        raise Denied(403, "SecurityTokenExpired", "The security token you provided has expired.")


def _check_skew(moment: datetime, now: datetime) -> None:
    if abs(now - moment) > _SKEW:
        message = "The difference between the request time and the current time is too large."
        times = {"RequestTime": f"{moment:%Y-%m-%dT%H:%M:%S}.000Z", "ServerTime": f"{now:%Y-%m-%dT%H:%M:%S}.000Z"}
        raise Denied(403, "RequestTimeTooSkewed", message, {"MaxAllowedSkewMilliseconds": "900000", **times})


def _expired(expires: datetime, now: datetime) -> Denied:
    times = {"Expires": f"{expires:%Y-%m-%dT%H:%M:%S}.000Z", "ServerTime": f"{now:%Y-%m-%dT%H:%M:%S}.000Z"}
    return Denied(403, "AccessDenied", "Request has expired.", times)


def _additional(text: str | None, headers: Mapping[str, str]) -> tuple[str, ...]:
    """The additional signed headers. OSS refuses an empty list, an empty name, and wrong order or case."""
    if text is None:
        return ()
    names = text.split(";")
    if "" in names or names != sorted({name.lower() for name in names}) or not set(names) <= headers.keys():
        raise Denied(400, "InvalidArgument", "AdditionalHeaders is invalid.")
    return tuple(names)


def _compare(expected: str, provided: str, keys: Keys, text: str, canonical: str | None = None) -> None:
    if hmac.compare_digest(expected.encode(), provided.encode()):
        return
    details = {"OSSAccessKeyId": keys.access, "SignatureProvided": provided, "StringToSign": text}
    details["StringToSignBytes"] = text.encode().hex(" ").upper()
    if canonical is not None:
        details["CanonicalRequest"] = canonical
    message = "The request signature we calculated does not match the signature you provided."
    raise Denied(403, "SignatureDoesNotMatch", message, details)
