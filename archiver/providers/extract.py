"""The images that an answer holds, wherever they stand in it: the one reader of foreign shapes for all adapters.

From any text or JSON value to its images, in order, each once, and the words that remain. It judges what is there, not
what was asked for, by rules that can be told in a sentence: bytes count; what stands in a field for images, or is shown
as an image, counts; a link in a sentence counts when it looks like an image (by path, host or signature). Only where
nothing counted may the one URL that there is be the image. It refuses to fetch, and to take for an image what a field's
own name denies: signatures, thumbnails, watermarks, avatars, citations, and what was sent.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from archiver.core.model import Output
from archiver.core.prose import Rank, Sight, base64_at, decode, rank, sights
from archiver.core.tempurl import TemporaryURL, unescape_url

DEEPEST = 40
"""Levels of JSON. No answer is nested deeper; what is would be an attack on the stack."""

_DENIED = re.compile(
    r"signature|thumb|avatar|watermark|preview|partial|reasoning|refusal|annotation|citation|grounding|webhook|prompt|"
    r"request|error|^(?:inputs?|mask|audio|video|usage|toolcalls)$"
)
_URLS = re.compile(r"^(?:ur[il]s?|images?|outputs?|sample|results?|data|src|fileuri)$|imageurls?$")
_WORDS = frozenset({"content", "text", "output", "result", "outputtext"})
_BYTES = frozenset({"b64json", "b64", "base64", "imagebase64", "bytesbase64encoded", "binarydatabase64"})
_IMAGE_MAGIC = re.compile(r"\s*(?:iVBORw0KGgo|/9j/|UklGR|R0lGOD|[\w+/]{4,8}GZ0eX)")
_DATA_URI = re.compile(r"\s*data:[^,]{0,200};base64,", re.IGNORECASE)
_WHOLE_URL = re.compile(r"\s*[<(\"'`]?https?:(?://|\\+/\\+/)\S+\s*", re.IGNORECASE)
_NOTHING_SAID = re.compile(r"(?:\s|\[image \d+\])*")


@dataclass(frozen=True, slots=True)
class Extract:
    """What was found. `words` is the text with `[image N]` in place of image N, counted from 1; empty when it said
    nothing else."""

    outputs: tuple[Output, ...] = ()
    words: str = ""


def extract(value: object, *, guess: bool = True) -> Extract:
    """The images and the words of a text or JSON value. Without `guess`, a URL that does not look like an image is
    none, even when it is the only one."""
    found = _Search()
    found.walk("", value, 0, is_draft=False)
    return found.result(guess)


@dataclass(slots=True)
class _Find:
    """One image, or what may be one."""

    key: str
    rank: Rank
    url: TemporaryURL | None
    data: bytes | None = field(repr=False)
    role: Literal["final", "draft"]


class _Search:
    def __init__(self) -> None:
        self._finds: dict[str, _Find] = {}
        #: What was said, in order: words, and the key of a find with its own words.
        self._said: list[str | tuple[str, str]] = []

    def walk(self, name: str, value: object, depth: int, *, is_draft: bool) -> None:
        """Look at a value that stands under `name` (plain: lower case, no underscores)."""
        if depth > DEEPEST or _DENIED.search(name):
            return
        if isinstance(value, str):
            self._text(name, value, is_draft=is_draft)
        elif isinstance(value, list):
            for item in value:
                self.walk(name, item, depth + 1, is_draft=is_draft)
        elif isinstance(value, Mapping):
            self._fields(value, depth, is_draft=is_draft)

    def _fields(self, value: Mapping[object, object], depth: int, *, is_draft: bool) -> None:
        fields = {_plain(str(name)): item for name, item in value.items()}
        kind, mime = fields.get("type"), fields.get("mimetype")
        if isinstance(kind, str) and "partial" in kind:
            return
        if isinstance(mime, str) and not mime.lower().startswith(("image/", "application/octet-stream")):
            return
        is_draft = is_draft or fields.get("thought") is True
        if isinstance(fields.get("url"), str) and _whole_url(str(fields["url"])):
            # The same image in both forms.
            fields = {name: item for name, item in fields.items() if name not in _BYTES}
        for name, item in fields.items():
            holds_bytes = (name == "data" and mime) or (name == "result" and kind == "image_generation_call")
            self.walk("b64" if holds_bytes else name, item, depth + 1, is_draft=is_draft)

    def _text(self, name: str, text: str, *, is_draft: bool) -> None:
        is_prose = not name or name in _WORDS
        if data := _bare(text) if is_prose else _field(name, text):
            self._add(Rank.IMAGE, None, data, is_draft=is_draft)
        elif name and _URLS.search(name) and (url := _whole_url(text)):
            self._add(Rank.IMAGE, url, None, is_draft=is_draft)
        elif is_prose:
            self._prose(text, is_draft=is_draft)
        elif (url := _whole_url(text)) and rank(unescape_url(text), url) is Rank.IMAGE:
            self._add(Rank.IMAGE, url, None, is_draft=is_draft)

    def _prose(self, text: str, *, is_draft: bool) -> None:
        if text.lstrip()[:1] in ("{", "["):
            inside = _Search()
            inside.walk("", _json(text), 1, is_draft=is_draft)
            if inside._finds:
                for find in inside._finds.values():
                    self._add(find.rank, find.url, find.data, is_draft=find.role == "draft")
                return
        said: list[str | tuple[str, str]] = []
        at = 0
        for sight in sights(text):
            said += [text[at : sight.start], self._see(text, sight, is_draft=is_draft)]
            at = sight.end
        if not is_draft:
            self._said += [*said, text[at:], "\n"]

    def _see(self, text: str, sight: Sight, *, is_draft: bool) -> tuple[str, str]:
        if sight.twin in self._finds:
            return sight.twin or "", text[sight.start : sight.end]
        key = self._add(sight.rank, sight.url, sight.data, is_draft=is_draft)
        return key, "" if sight.data else text[sight.start : sight.end]

    def _add(self, rank_: Rank, url: TemporaryURL | None, data: bytes | None, *, is_draft: bool) -> str:
        key = url.identity if url else hashlib.sha256(data or b"").hexdigest()
        find = self._finds.setdefault(key, _Find(key, rank_, url, data, "draft"))
        find.rank = max(find.rank, rank_)
        if not is_draft:
            find.role = "final"
        return key

    def result(self, guess: bool) -> Extract:
        """All that counts, numbered."""
        best = max((find.rank for find in self._finds.values()), default=Rank.PAGE)
        counted = [find for find in self._finds.values() if find.rank == best >= Rank.ORNAMENT]
        if guess and best is Rank.LINK and len(self._finds) == 1:
            counted = list(self._finds.values())
        outputs = tuple(
            Output(index=index, url=find.url, data=find.data, role=find.role) for index, find in enumerate(counted)
        )
        numbers = {find.key: number for number, find in enumerate(counted, 1)}
        words = "".join(
            piece if isinstance(piece, str) else f"[image {numbers[piece[0]]}]" if piece[0] in numbers else piece[1]
            for piece in self._said
        )
        # JSON may hold half a surrogate pair, and no database can store one.
        words = words.encode("utf-8", "replace").decode().replace("\0", "").strip()
        return Extract(outputs, "" if _NOTHING_SAID.fullmatch(words) else words)


def _plain(name: str) -> str:
    """`fileUri` and `file_uri` are one name."""
    return name.replace("_", "").lower()


def _field(name: str, text: str) -> bytes | None:
    """The bytes of a field that holds nothing else: base64 with or without a prefix."""
    prefix = _DATA_URI.match(text)
    if prefix or name in _BYTES or _IMAGE_MAGIC.match(text):
        return decode(text[prefix.end() :] if prefix else text)
    return None


def _bare(text: str) -> bytes | None:
    """The bytes of a text that is base64 of an image without any word or prefix, as some channels give it."""
    text = text.strip()
    if not _IMAGE_MAGIC.match(text):
        return None
    packed, end = base64_at(text, 0)
    return decode(packed) if end == len(text) else None


def _whole_url(text: str) -> TemporaryURL | None:
    """The URL that this text is, from end to end."""
    if not _WHOLE_URL.fullmatch(text):
        return None
    try:
        return TemporaryURL(unescape_url(text))
    except ValueError:
        return None


def _json(text: str) -> object:
    try:
        found: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found
