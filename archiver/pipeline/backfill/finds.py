"""What was found in a source, and which URLs are taken for temporary images: one rule for all kinds of source.

A URL is an image when it says so, or is signed like an object of a bucket, or lies on a host that is known for
generated images. Pages, APIs, documentation, avatars and the furniture of web sites are none, however they are written;
in a column that is named for image URLs everything is one that does not say that it is something else.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache

from archiver.core.model import Json
from archiver.core.prose import Rank, names_an_image, rank, sights
from archiver.core.tempurl import TemporaryURL, host_lifetime, unescape_url

#: Schemes that sign objects in buckets; the others sign pages and API calls just as well.
_OF_BUCKETS = frozenset({*(f"U{number:02}" for number in range(1, 13)), "U14", "U15", "U16"})
_API = re.compile(
    r"/(?:api|v\d+(?:(?:alpha|beta)\d*)?|rest|graphql|oauth2?|login|signin|auth|callbacks?|webhooks?|rpc|predictions|tasks)(?:/|$)",
    re.IGNORECASE,
)
_FURNITURE = re.compile(
    r"(?:^|[/._-])(?:logos?|icons?|emojis?|emotes?|sprites?|banners?|screenshots?|profile[-_](?:pics?|images?|photos?)|docs|"
    r"documentation|captcha|_next|wp-content/(?:themes|plugins))(?=[/._-]|$)",
    re.IGNORECASE,
)
_OTHER_FILE = re.compile(
    r"\.(?!(?:png|jpe?g|jfif|webp|gif|avif|hei[cf]|bmp|tiff?)$)[a-z][a-z0-9]{1,10}$", re.IGNORECASE
)
_LASTING = tuple(
    f"{prefix}{host}"
    for host in (
        "github.com githubusercontent.com github.io gitlab.com wikipedia.org wikimedia.org gravatar.com jsdelivr.net"
        " unpkg.com cdnjs.cloudflare.com gstatic.com shields.io readthedocs.io w3.org schema.org npmjs.com pypi.org"
    ).split()
    for prefix in ("", "*.")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """What stands beside a URL. Times are as they were written; `is_told` means that a person named their columns, so
    that one which cannot be read is a mistake and not a coincidence."""

    prompt: str = ""
    model: str | None = None
    created_at: Json = None
    expires_at: Json = None
    is_told: bool = False


NOTHING = Beside()


@dataclass(frozen=True, slots=True, kw_only=True)
class Find:
    """The URL of an image, with the line where it stands."""

    number: int
    url: TemporaryURL
    beside: Beside = NOTHING
    values: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """A URL that is not taken for an image."""

    number: int
    url: TemporaryURL


def in_text(text: str, *, shown: bool = True) -> Iterator[tuple[TemporaryURL, bool, int]]:
    """Every URL in a text, each once, whether it is taken for an image, and where it stands. With `shown`, what
    Markdown or HTML shows as an image counts as one."""
    if "http" not in text and "HTTP" not in text and "Http" not in text:
        return
    found = [(sight, sight.url) for sight in sights(text) if sight.url is not None]
    seen: set[str] = set()
    identities = {url.identity for sight, url in found if sight.twin} and {url.identity for _, url in found}
    for sight, url in found:
        if url.identity in seen or (sight.twin is not None and sight.twin in identities):
            continue
        seen.add(url.identity)
        is_shown = shown and sight.rank is Rank.IMAGE and text[sight.start : sight.start + 2] in ("![", "<i", "<I")
        yield url, sight.rank is Rank.IMAGE and _is_temporary(url, is_shown=is_shown), sight.start


def in_field(text: str, *, is_named: bool) -> tuple[TemporaryURL, bool]:
    """A URL that is all of a value, and whether it is taken for an image. `is_named`: the field is one for images.

    Raises ValueError when the value is no URL."""
    served = unescape_url(text)
    url = TemporaryURL(served)
    sure = rank(served, url)
    if is_named and sure in (Rank.LINK, Rank.IMAGE):
        return url, not _API.search(_path(url)) or _is_temporary(url, is_shown=False)
    return url, sure is Rank.IMAGE and _is_temporary(url, is_shown=False)


def has_evidence(url: TemporaryURL) -> bool:
    """Whether the URL is signed like an object of a bucket, or on a host that is known for generated images."""
    return host_lifetime(url) is not None or _is_of_bucket(url)


def _is_temporary(url: TemporaryURL, *, is_shown: bool) -> bool:
    """Whether a URL that ranks as an image is one that was generated, as far as it can be told."""
    path = _path(url)
    is_named = names_an_image(f"https://{url.host}{path}", url)
    if host_lifetime(url) is not None:
        return is_named or not _OTHER_FILE.search(path)
    if url.signatures:
        if not is_named:
            return _is_of_bucket(url) and not _OTHER_FILE.search(path) and not _API.search(path)
        return True
    if path.lower().endswith((".svg", ".ico")) or _is_lasting(url.host):
        return False
    if _FURNITURE.search(path) or url.host.startswith(("docs.", "doc.", "help.", "api-docs.")):
        return False
    return is_shown or is_named


@lru_cache(maxsize=4096)
def _is_lasting(host: str) -> bool:
    return any(fnmatchcase(host, pattern) for pattern in _LASTING)


def _is_of_bucket(url: TemporaryURL) -> bool:
    return not _OF_BUCKETS.isdisjoint(url.signatures)


def _path(url: TemporaryURL) -> str:
    """The path, as the redacted text has it."""
    return "/" + str(url).partition("://")[2].partition("/")[2].partition("?")[0].partition("#")[0]
