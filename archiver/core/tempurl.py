"""A temporary URL: where a generated image can be fetched for a while, by anybody who knows the text.

The text is a password with a time of death. So it is kept byte for byte (any change to a signed query breaks it), shown
only redacted, never pickled, and handed out by `reveal` alone. This module refuses to fetch, to ask the clock, and to
judge a deadline: it reads what a URL says of itself and what its host is known for.
"""

import hashlib
import re
import unicodedata
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import NoReturn, SupportsIndex
from urllib.parse import unquote

from archiver.core import expiry as schemes
from archiver.core.expiry import ABSURD, Address, Expiry, Scheme

__all__ = ["LONGEST", "Expiry", "TemporaryURL", "expiry", "host_lifetime", "is_signed", "unescape_url"]

LONGEST = 8192
"""Characters. A longer text is not an image URL that a provider gave."""

_SHAPE = re.compile(
    r"(?P<scheme>https?)://"
    r"(?P<host>[a-z0-9._-]+|\[[0-9a-f:.]+\])(?P<port>:[0-9]{1,5})?"
    r"(?P<path>/[^?#]*)?(?P<query>\?[^#]*)?(?P<fragment>#.*)?",
    re.IGNORECASE | re.ASCII,
)
_SIGNED_SEGMENT = re.compile(r"(?<=/)[0-9a-fA-F]{32}(?=/)")
_set = object.__setattr__
_BROKEN_QUERY = re.compile(r"(?:%3f|&).*", re.IGNORECASE)


class TemporaryURL:
    """An absolute http or https URL. Immutable; equal and hashed by its exact text.

    Raises ValueError when the text is not such a URL, or could be read differently by two parsers. The message never
    quotes the text.
    """

    __slots__ = ("_address", "_authority", "_identity", "_redacted", "_signed", "_text", "host", "scheme")

    _identity: str
    _authority: str
    _address: Address
    _redacted: str
    _signed: tuple[Scheme, ...]
    _text: str
    host: str
    """Lower case, without the port."""
    scheme: str
    """`http` or `https`."""

    def __init__(self, text: str) -> None:
        parts = _parse(text)
        address = _address(parts)
        _set(self, "_text", text)
        _set(self, "host", address.host)
        _set(self, "scheme", parts["scheme"].lower())
        _set(self, "_authority", address.host + parts["port"])
        signed = schemes.present(address)
        _set(self, "_address", address)
        _set(self, "_signed", signed)
        _set(self, "_redacted", _redact(text, parts, address, signed))
        _set(self, "_identity", _identify(parts, address, signed))

    def reveal(self) -> str:
        """The exact text. Only what fetches it and what stores it may ask."""
        return self._text

    @property
    def identity(self) -> str:
        """64 hexadecimal digits that stay the same when the same object is signed anew.

        Parameters and path segments of a recognised signature do not count, nor do the fragment and the case of the
        host. Everything else does, in order; the query of an unsigned URL counts whole.
        """
        return self._identity

    @property
    def signatures(self) -> tuple[str, ...]:
        """The ids of the schemes (U01 to U20) that the URL is signed with, readable or not."""
        return tuple(scheme.id for scheme in self._signed)

    @property
    def authority(self) -> str:
        """Host and port, as the redacted text has them: what is sick or well together."""
        return self._authority

    def __str__(self) -> str:
        return self._redacted

    def __repr__(self) -> str:
        return f"TemporaryURL({self._redacted})"

    def __eq__(self, other: object) -> bool:
        return self._text == other._text if isinstance(other, TemporaryURL) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._text)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a TemporaryURL does not change")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("a TemporaryURL does not change")

    def __copy__(self) -> "TemporaryURL":
        return self

    def __deepcopy__(self, memo: object) -> "TemporaryURL":
        return self

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError("a TemporaryURL is a secret and is never pickled")


def expiry(url: TemporaryURL, issued_at: datetime) -> tuple[Expiry, ...]:
    """Every time of death that the URL states and that makes sense, one per signing scheme; the earliest one wins.

    A time more than ten years before or after `issued_at` (aware) is a misread number and is left out. A time that is
    merely past is kept: an old URL found by a backfill says truly that it is dead, and is still worth one attempt.
    """
    return tuple(found for found in schemes.read(url._address, url._signed) if abs(found.at - issued_at) <= ABSURD)


def is_signed(url: TemporaryURL) -> bool:
    """Whether the URL carries a signature that is known here: then it leads to one object, not to a page for people."""
    return bool(url._signed)


_HOST_LIFETIMES = (
    ("delivery-*.bfl.ai", timedelta(minutes=10)),  # documented by BFL, as are its older hosts on Azure
    ("bfldelivery*.blob.core.windows.net", timedelta(minutes=10)),
    ("oaidalleapiprod*.blob.core.windows.net", timedelta(minutes=60)),  # documented by OpenAI
    ("replicate.delivery", timedelta(hours=1)),  # documented; outputs are deleted
    ("*.replicate.delivery", timedelta(hours=1)),
    ("fal.media", timedelta(hours=1)),  # set per account and unknown to us: the guess for the unknown
    ("*.fal.media", timedelta(hours=1)),
    ("aiart-*.myqcloud.com", timedelta(hours=1)),  # documented by Tencent
    ("dashscope-result-*.aliyuncs.com", timedelta(hours=24)),  # documented; also where path and signature say 7 days
    ("r2cdn.copilotbase.com", timedelta(hours=24)),  # documented by APIYI; no query at all
    ("*.volces.com", timedelta(hours=24)),  # documented by Volcengine (Seedream)
)


def host_lifetime(url: TemporaryURL) -> timedelta | None:
    """How long images live on a host that is known to be short-lived, counted from the answer; None: not known.

    The figures are the shortest that a vendor documents. The earliest evidence wins, so a row can only add haste.
    """
    return _lifetime(url.host)


@lru_cache(maxsize=4096)
def _lifetime(host: str) -> timedelta | None:
    return next((life for pattern, life in _HOST_LIFETIMES if fnmatchcase(host, pattern)), None)


_JSON_CHARACTER = re.compile(r"\\+u([0-9a-fA-F]{4})")
_HTML_AMPERSAND = re.compile(r"&(?:amp|#0*38|#x0*26);", re.IGNORECASE)
_BRACKETS = {")": "(", "]": "[", "}": "{"}
_PROSE = frozenset("\"'`<>.,\\")


def unescape_url(text: str) -> str:
    r"""The URL as it was served, out of a text in which JSON, HTML or prose wrapped it.

    Undone: `\u0026` and `\/` of JSON (also when JSON was put into JSON), `&amp;` of HTML, the quotes, brackets and
    punctuation that end a sentence, and a query whose separators were percent-encoded (`%26`). The last one only when
    it turns a URL that states no expiry into one that does. Any other URL comes back as it is.
    """
    text = _JSON_CHARACTER.sub(_plain_character, text.strip().lstrip("<(\"'`"))
    text = re.sub(r"\\+/", "/", text)
    while (once := _HTML_AMPERSAND.sub("&", text)) != text:
        text = once
    return _repair_separators(_strip_prose(text))


def _plain_character(match: re.Match[str]) -> str:
    character = chr(int(match[1], 16))
    return character if character.isprintable() else match[0]


def _strip_prose(text: str) -> str:
    """A closing bracket stays when the URL itself opened it."""
    while text:
        last = text[-1]
        unopened = last in _BRACKETS and text.count(last) > text.count(_BRACKETS[last])
        foreign = not last.isascii() and unicodedata.category(last).startswith("P")  # a URL would percent-encode it
        if last not in _PROSE and not unopened and not foreign:
            break
        text = text[:-1]
    return text


def _repair_separators(text: str) -> str:
    head, mark, query = text.partition("?")
    if not mark or "&" in query or "%26" not in query:
        return text
    repaired = head + mark + query.replace("%26", "&")
    try:
        before, after = _address(_parse(text)), _address(_parse(repaired))
    except ValueError:
        return text
    return repaired if schemes.read(after) and not schemes.read(before) else text


def _parse(text: str) -> dict[str, str]:
    if len(text) > LONGEST:
        raise ValueError(f"the URL is longer than {LONGEST} characters")
    if " " in text or not text.isprintable():  # of all white space, only the ASCII space is printable
        raise ValueError("the URL contains white space or a control character")
    if "\\" in text:
        raise ValueError("the URL contains a backslash")
    match = _SHAPE.fullmatch(text)
    if not match:
        raise ValueError("not an absolute http or https URL with a plain host")
    parts = {name: value or "" for name, value in match.groupdict().items()}
    if parts["port"] and not 0 < int(parts["port"][1:]) < 65536:
        raise ValueError("the URL names an impossible port")
    return parts


def _address(parts: dict[str, str]) -> Address:
    return Address(parts["host"].lower(), parts["path"], schemes.parameters(parts["query"][1:]))


def _redact(text: str, parts: dict[str, str], address: Address, signed: tuple[Scheme, ...]) -> str:
    """What anybody may read: no query, no fragment, no signature in the path, but a mark to tell two URLs apart."""
    path = parts["path"]
    if any(scheme.segments for scheme in signed):
        path = _SIGNED_SEGMENT.sub("[redacted]", path, count=1)
    if "&" in path or "%3" in path:
        path = _BROKEN_QUERY.sub("[redacted]", path)
    if parts["query"]:
        path += "?[redacted]"
    mark = "" if path == parts["path"] and not parts["fragment"] else "#" + _digest(text)[:8]
    return f"{parts['scheme'].lower()}://{address.host}{parts['port']}{path}{mark}"


def _identify(parts: dict[str, str], address: Address, signatures: tuple[Scheme, ...]) -> str:
    path, query = parts["path"], parts["query"]
    if signatures:
        signed = frozenset[str]().union(*(scheme.names for scheme in signatures))
        pieces = (piece for piece in query[1:].split("&") if piece)
        kept = [piece for piece in pieces if unquote(piece.partition("=")[0]).lower() not in signed]
        query = "?" + "&".join(kept) if kept else ""
        skipped = max(scheme.segments for scheme in signatures)
        path = "/" + path.split("/", skipped + 1)[-1] if skipped else path
    return _digest(f"{parts['scheme'].lower()}://{address.host}{parts['port']}{path}{query}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
