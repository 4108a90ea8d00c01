"""Where images stand in a text that a model wrote: data URIs, Markdown and HTML images, links and bare URLs.

Pure, and linear in the length of the text: an answer of 100 MB is read once. What may be an image is ranked here, by
what it looks like and how it is shown; whether a doubtful one counts depends on the others, and is `extract`'s to say.
"""

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum

from archiver.core.errors import Corrupt
from archiver.core.imagefile import SHORTEST, identify
from archiver.core.tempurl import TemporaryURL, host_lifetime, is_signed, unescape_url


class Rank(IntEnum):
    """How sure it is that a URL leads to an image of the answer."""

    PAGE = 0
    """It says that it is something else."""
    LINK = 1
    """It does not say."""
    ORNAMENT = 2
    """An image, but one that calls itself an avatar, a thumbnail, a watermark."""
    IMAGE = 3


@dataclass(frozen=True, slots=True)
class Sight:
    """Something that stands at `start` to `end` of a text, with the Markdown around it: a URL, or bytes."""

    start: int
    end: int
    rank: Rank
    url: TemporaryURL | None = None
    data: bytes | None = field(default=None, repr=False)
    twin: str | None = None
    """The identity of the URL that a download link is another way to."""


_LONGEST_OPENING = 8192  # characters: some relays repeat the whole prompt as the alternative text
_LONGEST_LINE = 1024  # of base64 that is wrapped
_START = re.compile(
    r"data:(?:image(?:/[\w.+-]{1,40})?|application/octet-stream)(?:;[\w=.+-]{1,60}){0,4}?;base64,\s*|https?:(?://|\\+/\\+/)",
    re.IGNORECASE,
)
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")
_NEXT_LINE = re.compile(r"[ \t]*\r?\n[ \t]*([A-Za-z0-9+/_-]+={0,2})(?=[ \t]*(?:[\r\n]|\Z)|[^\w\s.,:;!?])")
_MARKDOWN_IMAGE = re.compile(r"!\[(?P<alt>(?:[^\[\]]|\[[^\[\]]*\])*+)\]\(\s*<?", re.DOTALL)
_HTML_IMAGE = re.compile(r"<img\s[^<>]*?\bsrc\s*=\s*[\"']?", re.IGNORECASE)
_CLOSING = re.compile(r">?(?:\s+(?:\"[^\"\n]{0,500}\"|'[^'\n]{0,500}'))?\s{0,10}\)")
_END_OF_TAG = re.compile(r"[\"']?[^<>]{0,2000}>")

# What a URL is made of, and where one ends that nothing encloses: at a quote, at a closing bracket that it did not
# open, at what HTML and JSON write for a quote or an angle bracket, and where a list goes on with another URL.
_INNER = r"[^\s<>\"`|\\()\[\]{}',;&%s]"
_URL = r"""(?x) (?i:https?):(?://|\\+/\\+/)(?:
    %(one)s+
  | \\+(?:u[0-9a-fA-F]{4}|/)
  | \((?:%(one)s|[',;&])*\) | \[(?:%(one)s|[',;&])*\] | \{(?:%(one)s|[',;&])*\}
  | &(?!(?i:quot|[lg]t|apos|nbsp|\#0*3[49]|\#0*6[02]|\#x0*2[27]|\#x0*3[ce]);)
  | '(?!\s|\Z|[,;\])}>])
  | [,;](?!\s*\\*["']?(?i:https?:|data:))
)+"""
# Not with IGNORECASE as a whole: there the range of what is not ASCII holds "s" and "k", which two signs fold to.
_FOREIGN = r"\u2018-\u201f\u2026\u3000-\u303f\uff00-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65"
_PLAIN_URL = re.compile(_URL % {"one": _INNER % r"\x00-\x20\x7f-\U0010ffff"})
_WIDE_URL = re.compile(_URL % {"one": _INNER % (r"\x00-\x20\x7f-\x9f" + _FOREIGN)})

_EXTENSION = r"\.(?:png|jpe?g|jfif|webp|gif|avif|hei[cf]|bmp|tiff?)(?![a-z0-9.])"
_IMAGE_PATH = re.compile(_EXTENSION + r"[^/]*$", re.IGNORECASE)
_IMAGE_QUERY = re.compile(rf"{_EXTENSION}|image(?:/|%2f)(?:png|jpe?g|webp|gif|avif)", re.IGNORECASE)
_IMAGE_HOST = re.compile(r"(?:^|[.-])(?:img|image|pic)s?\d*(?=[.-])")
_OTHER_PATH = re.compile(
    r"\.(?:html?|php|aspx?|jsp|md|txt|pdf|json|xml|js|css|csv|zip|gz|docx?|xlsx?|pptx?|mp[34]|mov|webm|wav)$|^/?$",
    re.IGNORECASE,
)
_ORNAMENT = re.compile(
    r"(?:^|[/._-])(?:avatars?|gravatar|thumb(?:nail)?s?|favicon|watermarks?|badges?|shields)(?=[/._-]|$)",
    re.IGNORECASE,
)
_ORNAMENTAL_WORDS = frozenset({"avatar", "icon", "logo", "thumbnail", "watermark", "头像", "缩略图", "图标", "水印"})


def sights(text: str) -> Iterator[Sight]:
    """Everything in `text` that is an image or a URL, in its order."""
    floor = at = 0
    while found := _START.search(text, at):
        is_data = found[0][:5].lower() == "data:"
        sight = _data(text, found, floor) if is_data else _link(text, found.start(), floor)
        if isinstance(sight, Sight):
            floor = at = sight.end
            yield sight
        else:
            at = max(found.end(), sight)


def rank(text: str, url: TemporaryURL) -> Rank:
    """How sure it is that the URL, whose text this is, leads to an image."""
    path, _ = _path_and_query(text)
    if _OTHER_PATH.search(path):
        return Rank.PAGE
    if not (names_an_image(text, url) or host_lifetime(url) or is_signed(url)):
        return Rank.LINK
    return Rank.ORNAMENT if _ORNAMENT.search(url.host + path) else Rank.IMAGE


def names_an_image(text: str, url: TemporaryURL) -> bool:
    """Whether the path, the query or the host of the URL, whose text this is, says that it is an image."""
    path, query = _path_and_query(text)
    return bool(_IMAGE_PATH.search(path) or _IMAGE_QUERY.search(query) or _IMAGE_HOST.search(url.host))


def _path_and_query(text: str) -> tuple[str, str]:
    """Of a URL that is one. `urlsplit` would raise for an address in brackets that is none."""
    whole, _, query = text.partition("#")[0].partition("?")
    _, slash, path = whole.partition("://")[2].partition("/")
    return slash + path, query


def decode(text: str) -> bytes | None:
    """The bytes of base64 in either alphabet, with or without line breaks and padding. None when it is none, or too
    short for any image."""
    # Each step copies only where there is something to do: it may be 25 MB.
    packed = "".join(text.split())
    if "-" in packed or "_" in packed:
        packed = packed.translate(_ALPHABET)
    if len(packed) % 4 or packed.endswith("==="):
        packed = packed.rstrip("=")
        packed += "=" * (-len(packed) % 4)
    try:
        data = base64.b64decode(packed, validate=True)
    except ValueError:
        return None
    return data if len(data) >= SHORTEST else None


_ALPHABET = str.maketrans("-_", "+/")


def _data(text: str, found: re.Match[str], floor: int) -> Sight | int:
    """The image of a data URI; without one, where to read on."""
    packed, end = base64_at(text, found.end())
    data = decode(packed)
    if data is None:
        return end
    start, _, _ = _opening(text, floor, found.start())
    return Sight(start, _end(text, start, found.start(), end), Rank.IMAGE, data=data)


def base64_at(text: str, at: int) -> tuple[str, int]:
    """The base64 at a place, and where it ends. Lines belong together when they are of one length but for the last
    one; and where the image is whole without it, a shorter line is a word."""
    first = _BASE64.match(text, at)
    if first is None:
        return "", at
    lines, end = [first[0]], first.end()
    while len(first[0]) <= _LONGEST_LINE and not lines[-1].endswith("="):
        more = _NEXT_LINE.match(text, end)
        if more is None or (len(lines) > 1 and not len(more[1]) <= len(lines[1]) == len(lines[-1])):
            break
        if len(more[1]) < len(lines[-1]) and _is_whole("".join(lines)):
            break
        lines.append(more[1])
        end = more.end(1)
    return "".join(lines), end


def _is_whole(packed: str) -> bool:
    try:
        return identify(decode(packed) or b"").verdict == "ok"
    except Corrupt:
        return False


def _link(text: str, at: int, floor: int) -> Sight | int:
    """What a URL is; without one, where to read on."""
    start, is_shown, words = _opening(text, floor, at)
    best: tuple[int, str, TemporaryURL, Rank] | None = None
    read = at
    # In an open sentence a URL is ASCII: what follows it without a space is the sentence. If only the longer one makes
    # an image, the path was written in plain Chinese.
    for pattern in (_WIDE_URL,) if is_shown else (_PLAIN_URL, _WIDE_URL):
        match = pattern.match(text, at)
        read = match.end() if match else read
        served = _served(match[0], is_open=start == at, mark=text[at - 1 : at]) if match else None
        if match and served and (best is None or rank(*served) >= Rank.ORNAMENT):
            best = (match.end(), *served, rank(*served))
        if best and best[3] >= Rank.ORNAMENT:
            break
    if best is None:
        return read
    end, exact, url, sure = best
    while end > at + len("http") and text[end - 1] != exact[-1]:
        end -= 1
    if is_shown and sure in (Rank.LINK, Rank.PAGE):
        sure = Rank.ORNAMENT if _ORNAMENT.search(url.host + _path_and_query(exact)[0]) else Rank.IMAGE
    if is_shown and words.strip().lower() in _ORNAMENTAL_WORDS:
        sure = Rank.ORNAMENT
    return Sight(start, _end(text, start, at, end), sure, url=url, twin=None if is_shown else _twin(exact))


def _opening(text: str, floor: int, at: int) -> tuple[int, bool, str]:
    """Where the Markdown or HTML around an address at `at` begins, whether it shows an image, and its words."""
    near = max(floor, at - _LONGEST_OPENING)
    for mark, shape in (("![", _MARKDOWN_IMAGE), ("<img", _HTML_IMAGE), ("<IMG", _HTML_IMAGE)):
        start = text.rfind(mark, near, at)
        if start >= 0 and (match := shape.fullmatch(text, start, at)):
            return start, True, match.groupdict().get("alt") or ""
    if text.endswith(("](", "](<"), near, at):
        start = text.rfind("[", near, at)
        return (start, False, "") if start >= 0 else (at, False, "")
    return (at - 1, False, "") if text.startswith("<", at - 1) and at > floor else (at, False, "")


def _end(text: str, start: int, at: int, end: int) -> int:
    """Where the Markdown or HTML around an address ends."""
    if start == at:
        return end
    if text.startswith("<", start):
        closing = _END_OF_TAG.match(text, end) if at - start > 1 else re.compile(">").match(text, end)
    else:
        closing = _CLOSING.match(text, end)
    return closing.end() if closing else end


def _served(text: str, *, is_open: bool, mark: str) -> tuple[str, TemporaryURL] | None:
    """The URL as it was served. Nothing encloses an `is_open` one, so that punctuation at its end is the sentence's."""
    before = ""
    while before != text:
        before, text = text, unescape_url(text)
        if is_open:
            text = text.rstrip("!?;:*")
            text = text.removesuffix(mark) if mark in ("_", "~") else text
    try:
        return text, TemporaryURL(text)
    except ValueError:
        return None


def _twin(text: str) -> str | None:
    """What relays add to an image: a link that downloads the same file, below a folder of that name."""
    if "/download/" not in text:
        return None
    try:
        return TemporaryURL(text.replace("/download/", "/", 1)).identity
    except ValueError:
        return None
