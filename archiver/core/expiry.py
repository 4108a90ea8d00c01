"""The time of death that a URL carries in itself: one row per signing scheme, U01 to U20.

Query names match case-insensitively; the query is split first and each value is percent-decoded after, because a
decoded `&` belongs to a value. The schemes, their parameters and the examples in the tests are facts about vendors,
collected from their pages, their SDKs and live URLs. This file refuses to decide anything: it only reads what is
written, and a parameter that cannot be understood is the same as no parameter.
"""

import base64
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import NamedTuple
from urllib.parse import unquote

PRESIGN_LIMIT = timedelta(days=7)
"""No vendor signs a V4 URL for longer; a greater number is damage, not a promise."""

ABSURD = timedelta(days=3653)
"""An expiry more than ten years from the issue date, before or after, is a misread number."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECONDS_ABOVE = 10**11  # as seconds, this is the year 5138
_CHINA = timezone(timedelta(hours=8))


class Address(NamedTuple):
    """The parts of a URL as the schemes see them. `path` is as written; `params` has lower-case, decoded names."""

    host: str
    path: str
    params: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Expiry:
    """One time of death found in a URL. With `lower_bound` the URL dies at `at` or later, never earlier."""

    at: datetime
    scheme: str
    lower_bound: bool


@dataclass(frozen=True, slots=True)
class Scheme:
    """One way of signing. It is present when all of `needs` are in the query and `fits` agrees.

    `clock` is the parameter that `read` trusts: of several present schemes with one clock, the first in the table reads
    it. `names` are all parameters that a new signature changes, and so no part of the object's identity. `segments` is
    how many leading path segments belong to the signature.
    """

    id: str
    clock: str
    needs: frozenset[str]
    names: frozenset[str]
    read: Callable[[Address], datetime | None]
    fits: Callable[[Address], bool] = lambda _: True
    lower_bound: bool = False
    segments: int = 0

    def present(self, address: Address) -> bool:
        """Whether the URL is signed in this way, readable or not."""
        return self.needs <= address.params.keys() and self.fits(address)


def parameters(query: str) -> dict[str, str]:
    """Split, then decode. The first of several equal names counts."""
    found: dict[str, str] = {}
    for piece in query.split("&"):
        name, _, value = piece.partition("=")
        name = (unquote(name) if "%" in name else name).lower()
        found.setdefault(name, unquote(value) if "%" in value else value)
    return found


def present(address: Address) -> tuple[Scheme, ...]:
    """The schemes that the URL is signed with. Only the first of those that share a clock is named."""
    possible = set(_WITHOUT_NAMES).union(*(_BY_NAME[name] for name in _BY_NAME.keys() & address.params.keys()))
    found: dict[str, Scheme] = {}
    for place in sorted(possible):
        scheme = SCHEMES[place]
        if scheme.present(address):
            found.setdefault(scheme.clock, scheme)
    return tuple(found.values())


def read(address: Address, signed: tuple[Scheme, ...] | None = None) -> tuple[Expiry, ...]:
    """Every time of death that the URL states, sensible or not, in the order of the table."""
    readings = ((scheme, scheme.read(address)) for scheme in (present(address) if signed is None else signed))
    return tuple(Expiry(at, scheme.id, scheme.lower_bound) for scheme, at in readings if at is not None)


def epoch(text: str) -> datetime | None:
    """Decimal seconds since 1970, or milliseconds when the number is too large for seconds."""
    if not re.fullmatch(r"[0-9]{1,14}", text):
        return None
    number = int(text)
    return _after_1970(number / 1000 if number > _MILLISECONDS_ABOVE else number)


def hexadecimal_epoch(text: str) -> datetime | None:
    """Seconds since 1970 in eight hexadecimal digits."""
    return _after_1970(int(text, 16)) if re.fullmatch(r"[0-9a-fA-F]{8}", text) else None


def moment(text: str) -> datetime | None:
    """An ISO-8601 time in UTC unless it names another offset; a bare date is its first second."""
    try:
        at = datetime.fromisoformat(text)
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _after_1970(seconds: float) -> datetime | None:
    try:
        return _EPOCH + timedelta(seconds=seconds)
    except (ValueError, OverflowError):
        return None


def _epoch_in(name: str) -> Callable[[Address], datetime | None]:
    return lambda address: epoch(address.params[name])


def _date_plus_seconds(vendor: str) -> Callable[[Address], datetime | None]:
    """The V4 family: `<vendor>date` as YYYYMMDDTHHMMSSZ, `<vendor>expires` as seconds, at most 7 days."""

    def read_v4(address: Address) -> datetime | None:
        date, seconds = address.params[f"{vendor}date"], address.params[f"{vendor}expires"]
        if not re.fullmatch(r"[0-9]{8}T[0-9]{6}Z", date) or not re.fullmatch(r"[0-9]{1,6}", seconds):
            return None
        start, life = moment(date), timedelta(seconds=int(seconds))
        return start + life if start and timedelta(0) < life <= PRESIGN_LIMIT and start.year < 9999 else None

    return read_v4


def _azure(address: Address) -> datetime | None:
    """A user-delegation SAS dies with its key: the earlier of `se` and `ske`."""
    times = [moment(address.params[name]) for name in ("se", "ske") if name in address.params]
    return min((at for at in times if at), default=None)


def _cloudfront_policy(address: Address) -> datetime | None:
    try:
        policy = json.loads(_base64(address.params["policy"].replace("_", "=").replace("-", "+").replace("~", "/")))
        return _json_epoch(policy["Statement"][0]["Condition"]["DateLessThan"]["AWS:EpochTime"])
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        return None


def _json_web_token(address: Address) -> datetime | None:
    try:
        payload = address.params["token"].split(".")[1]
        return _json_epoch(json.loads(_base64(payload.replace("-", "+").replace("_", "/")))["exp"])
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        return None


def _json_epoch(number: object) -> datetime | None:
    return epoch(str(int(number))) if isinstance(number, int | float) and 0 <= number < 10**14 else None


def _base64(text: str) -> bytes:
    return base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), validate=True)


def _tencent_cos(address: Address) -> datetime | None:
    """Both windows read `start;end`; the request dies with the earlier end."""
    windows = [address.params[name] for name in ("q-sign-time", "q-key-time") if name in address.params]
    ends = [epoch(window.partition(";")[2]) for window in windows]
    return min((at for at in ends if at), default=None)


_BCE = re.compile(r"bce-auth-v1/[^/]*/([^/]+)/(-?[0-9]{1,9})(?:/|$)")


def _baidu(address: Address) -> datetime | None:
    """Signing time plus seconds; -1 means never, and then there is nothing to say."""
    match = _BCE.match(address.params["authorization"])
    start = moment(match[1]) if match else None
    if not match or not start or int(match[2]) < 0:
        return None
    return _after_1970((start - _EPOCH).total_seconds() + int(match[2]))


_CDN_KEY = re.compile(r"([0-9]{10})-[^-]*-[^-]*-[0-9a-fA-F]{32}")
_MD5 = re.compile(r"[0-9a-fA-F]{32}")
_CDN_TYPE_B = re.compile(r"/([0-9]{12})/([0-9a-fA-F]{32})/")
_CDN_TYPE_C = re.compile(r"/([0-9a-fA-F]{32})/([0-9a-fA-F]{8})/")


def _cdn_key_in(name: str) -> Callable[[Address], datetime | None]:
    """`<timestamp>-<random>-<user>-<md5>`, where only the server knows the lifetime that follows the timestamp."""

    def read_key(address: Address) -> datetime | None:
        match = _CDN_KEY.fullmatch(address.params[name])
        return epoch(match[1]) if match else None

    return read_key


def _cdn_time_in(name: str) -> Callable[[Address], datetime | None]:
    return lambda address: hexadecimal_epoch(address.params[name]) or epoch(address.params[name])


def _cdn_type_b(address: Address) -> datetime | None:
    match = _CDN_TYPE_B.match(address.path)
    try:
        return datetime.strptime(match[1], "%Y%m%d%H%M").replace(tzinfo=_CHINA).astimezone(UTC) if match else None
    except (ValueError, OverflowError):
        return None


def _cdn_type_c(address: Address) -> datetime | None:
    match = _CDN_TYPE_C.match(address.path)
    return hexadecimal_epoch(match[2]) if match else None


def _matches(name: str, pattern: re.Pattern[str]) -> Callable[[Address], bool]:
    return lambda address: bool(pattern.fullmatch(address.params[name]))


def _named(text: str, prefix: str = "") -> frozenset[str]:
    return frozenset(prefix + name for name in text.split())


_SHARED_CLOCK = "expires"
SCHEMES: tuple[Scheme, ...] = (
    Scheme("U01", "x-amz-expires", _named("x-amz-date x-amz-expires"),
           _named("algorithm credential date expires signedheaders signature security-token content-sha256", "x-amz-"),
           _date_plus_seconds("x-amz-")),
    Scheme("U02", _SHARED_CLOCK, _named("awsaccesskeyid expires signature"),
           _named("awsaccesskeyid expires signature x-amz-security-token"), _epoch_in("expires")),
    Scheme("U03", _SHARED_CLOCK, _named("ossaccesskeyid expires signature"),
           _named("ossaccesskeyid expires signature security-token"), _epoch_in("expires")),
    Scheme("U04", "x-oss-expires", _named("x-oss-date x-oss-expires"),
           _named("date expires credential signature signature-version additional-headers security-token", "x-oss-"),
           _date_plus_seconds("x-oss-")),
    Scheme("U05", "x-goog-expires", _named("x-goog-date x-goog-expires"),
           _named("algorithm credential date expires signedheaders signature", "x-goog-"),
           _date_plus_seconds("x-goog-")),
    Scheme("U06", _SHARED_CLOCK, _named("googleaccessid expires"),
           _named("googleaccessid expires signature"), _epoch_in("expires")),
    Scheme("U07", "se", _named("sig se"),
           _named("sig se st sv sr sp si ss srt sip spr skoid sktid skt ske sks skv saoid suoid scid sdd ses"
                  " rscc rscd rsce rscl rsct"), _azure),
    Scheme("U08", _SHARED_CLOCK, _named("key-pair-id signature expires"),
           _named("key-pair-id signature expires hash-algorithm"), _epoch_in("expires")),
    Scheme("U09", "policy", _named("policy key-pair-id"),
           _named("policy key-pair-id signature hash-algorithm"), _cloudfront_policy),
    Scheme("U10", "q-sign-time", _named("q-sign-time"),
           _named("sign-algorithm ak sign-time key-time header-list url-param-list signature", "q-")
           | _named("x-cos-security-token"), _tencent_cos),
    Scheme("U11", "x-tos-expires", _named("x-tos-date x-tos-expires"),
           _named("algorithm credential date expires signedheaders signature policy security-token", "x-tos-"),
           _date_plus_seconds("x-tos-")),
    Scheme("U12", "ex", _named("ex is hm"), _named("ex is hm"),
           lambda address: hexadecimal_epoch(address.params["ex"]),
           fits=lambda address: address.host.startswith(("cdn.discordapp.", "media.discordapp."))),
    Scheme("U13", "exp", _named("exp sig"), _named("exp sig"), _epoch_in("exp")),
    Scheme("U14", _SHARED_CLOCK, _named("accesskeyid expires signature"),
           _named("accesskeyid expires signature x-obs-security-token"), _epoch_in("expires")),
    Scheme("U15", "e", _named("e token"), _named("e token"), _epoch_in("e"),
           fits=lambda address: epoch(address.params["e"]) is not None),
    Scheme("U16", "authorization", _named("authorization"), _named("authorization x-bce-security-token"), _baidu,
           fits=lambda address: address.params["authorization"].startswith("bce-auth-v1/")),
    Scheme("U17", "auth_key", _named("auth_key"), _named("auth_key"), _cdn_key_in("auth_key"),
           fits=_matches("auth_key", _CDN_KEY), lower_bound=True),
    Scheme("U18", "path", frozenset(), frozenset(), _cdn_type_b, lower_bound=True, segments=2,
           fits=lambda address: bool(_CDN_TYPE_B.match(address.path))),
    Scheme("U18", "path", frozenset(), frozenset(), _cdn_type_c, lower_bound=True, segments=2,
           fits=lambda address: bool(_CDN_TYPE_C.match(address.path))),
    Scheme("U18", "sign", _named("sign"), _named("sign"), _cdn_key_in("sign"),
           fits=_matches("sign", _CDN_KEY), lower_bound=True),
    Scheme("U18", "sign", _named("sign time"), _named("sign time"), _cdn_time_in("time"),
           fits=_matches("sign", _MD5), lower_bound=True),
    Scheme("U18", "sign", _named("sign t"), _named("sign t"), _cdn_time_in("t"),
           fits=_matches("sign", _MD5), lower_bound=True),
    Scheme("U19", _SHARED_CLOCK, _named("expires s"), _named("expires s"), _epoch_in("expires"),
           fits=_matches("s", _MD5)),
    Scheme("U19", _SHARED_CLOCK, _named("expires"), _named("expires signature sig"), _epoch_in("expires")),
    Scheme("U20", "token", _named("token"), _named("token"), _json_web_token,
           fits=lambda address: address.params["token"].startswith("eyJ")),
)  # fmt: skip
"""In the order of the reference table; a row that asks for less stands below the rows that ask for more."""

# Millions of URLs are read in a backfill: only the schemes are tried whose longest, rarest parameter is there.
_WITHOUT_NAMES = tuple(place for place, scheme in enumerate(SCHEMES) if not scheme.needs)
_BY_NAME: dict[str, list[int]] = {}
for _place, _scheme in enumerate(SCHEMES):
    if _scheme.needs:
        _BY_NAME.setdefault(max(sorted(_scheme.needs), key=len), []).append(_place)
