"""What bytes are: `identify` says which image they hold, or that they are not a whole file.

Type and size come from the bytes alone, never from a URL or a header, and a file counts as whole only when its own
structure says so: PNG by the checksum of every chunk (all cuts and all flipped bits are found), the other formats by
their end marker or their stated length (all cuts are found; a flipped bit inside the picture is not, only the source's
checksum can tell). This module refuses to decode a picture, and to drop bytes that are complete but odd: those are
archived as `.bin`. It holds no second copy of the data and raises nothing but `Corrupt`.
"""

import codecs
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from archiver.core.errors import Corrupt, NotAnImage
from archiver.core.model import ImageInfo

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

SHORTEST = 16
"""Bytes. No image file is shorter; every format here can be told by this many."""

Checksum = Callable[["ReadableBuffer"], int]

_HEAD = 4096
_BLOCK = 65536


def identify(data: "ReadableBuffer", crc32: Checksum = zlib.crc32) -> ImageInfo:
    """Type, size in pixels and verdict of `data`: bytes, a memoryview or a mapped file (which may be closed after).

    The verdict is `ok`; `trailing-bytes` when something other than zeros follows the end of the image; `open-ended`
    when the file does not say where it ends; `svg`, `unknown format: <name>` or `unknown format` when the bytes are
    archived as they are with extension `bin`. Raises `Corrupt` when the bytes are cut short, damaged, or a message in
    place of an image; its text quotes none of them. `crc32` is that of zlib: whoever has a faster one brings it.
    """
    # A mapped file cannot be closed while a view of it lives, and the traceback of an error keeps local names alive: so
    # no function below gives a slice of `view`, or an iterator over it, a name.
    with memoryview(data) as whole, whole.cast("B") as view:
        if len(view) < SHORTEST:
            raise Corrupt(f"a body of {len(view)} bytes is too short for an image")
        head = bytes(view[:_HEAD])
        for recognises, read in _FORMATS:
            if recognises(head):
                return _png(view, crc32) if read is _png else read(view)
        if not _end_of_content(view):
            raise Corrupt("nothing but zeros came")
        return _document(view, head) or _odd("unknown format" + _odd_name(head))


def _png(view: memoryview, crc32: Checksum = zlib.crc32) -> ImageInfo:
    if bytes(view[:8]) != b"\x89PNG\r\n\x1a\n":
        raise Corrupt("the PNG signature is damaged")
    at, width, height, picture = 8, 0, 0, False
    while True:
        length, kind = _field(view, ">I4s", at)
        end = at + 12 + length
        if crc32(view[at + 4 : end - 4]) != _field(view, ">I", end - 4)[0]:
            raise Corrupt("a PNG checksum does not match")
        if at == 8:
            if (kind, length) != (b"IHDR", 13):
                raise Corrupt("the PNG does not begin with its header")
            width, height = _field(view, ">II", at + 8)
        picture = picture or kind == b"IDAT"
        at = end
        if kind == b"IEND":
            break
    if not (width and height and picture):
        raise Corrupt("the PNG holds no picture")
    return _image("png", width, height, _verdict(view, at))


def _jpeg(view: memoryview) -> ImageInfo:
    at, dimensions = 2, (0, 0)
    while True:
        while _field(view, "2B", at) == (0xFF, 0xFF):  # fill bytes
            at += 1
        prefix, marker = _field(view, "2B", at)
        (length,) = _field(view, ">H", at + 2)
        if prefix != 0xFF or marker in _JPEG_NOT_A_SEGMENT or length < 2:
            raise Corrupt("the JPEG structure is damaged")
        if marker in _JPEG_FRAMES:
            height, width = _field(view, ">HH", at + 5)
            dimensions = (width, height)
        at += 2 + length
        if marker == 0xDA:  # compressed data follows
            break
    if not all(dimensions):
        raise Corrupt("the JPEG holds no picture")
    end = _end_of_content(view)
    if end < at + 2 or bytes(view[end - 2 : end]) != b"\xff\xd9":
        end = _end_of_scans(view, at)
    return _image("jpg", *dimensions, _verdict(view, end))


_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_NOT_A_SEGMENT = frozenset({0x00, 0x01, *range(0xD0, 0xDA)})
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # in compressed data, anything else after FF is data


def _end_of_scans(view: memoryview, at: int) -> int:
    """Where the JPEG ends when more follows, such as the depth map or second picture of a telephone."""
    while match := _JPEG_MARKER.search(view, at):
        at = match.end()
        if view[at - 1] == 0xD9:
            return at
        at += max(2, _field(view, ">H", at)[0])
    raise Corrupt("the JPEG is cut short")


def _gif(view: memoryview) -> ImageInfo:
    width, height, flags = _field(view, "<HHB", 6)
    at, picture = 13 + _gif_palette(flags), False
    while (kind := _field(view, "B", at)[0]) != 0x3B:
        if kind == 0x21:
            at += 2
        elif kind == 0x2C:
            picture = True
            at += 11 + _gif_palette(_field(view, "B", at + 9)[0])
        else:
            raise Corrupt("the GIF structure is damaged")
        while length := _field(view, "B", at)[0]:
            at += 1 + length
        at += 1
    if not (width and height and picture):
        raise Corrupt("the GIF holds no picture")
    return _image("gif", width, height, _verdict(view, at + 1))


def _gif_palette(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _webp(view: memoryview) -> ImageInfo:
    end = 8 + int(_field(view, "<I", 4)[0])
    if end > len(view):
        raise Corrupt("the WebP is cut short")
    at, dimensions, picture = 12, (0, 0), False
    while at < end:
        kind, length = _field(view, "<4sI", at)
        if not any(dimensions):
            dimensions = _webp_dimensions(view, kind, at + 8)
        picture = picture or kind in (b"VP8 ", b"VP8L", b"ANMF")
        at += 8 + length + length % 2
    if at - end not in (0, 1):  # some writers leave the last padding byte out of the count
        raise Corrupt("the WebP chunks do not add up")
    if not (all(dimensions) and picture):
        raise Corrupt("the WebP holds no picture")
    return _image("webp", *dimensions, _verdict(view, min(at, len(view))))


def _webp_dimensions(view: memoryview, kind: bytes, at: int) -> tuple[int, int]:
    if kind == b"VP8X":
        low_w, high_w, low_h, high_h = _field(view, "<HBHB", at + 4)
        return (low_w | high_w << 16) + 1, (low_h | high_h << 16) + 1
    if kind == b"VP8L":
        signature, bits = _field(view, "<BI", at)
        return ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1) if signature == 0x2F else (0, 0)
    if kind == b"VP8 ":
        start, width, height = _field(view, "<3sHH", at + 3)
        return (width & 0x3FFF, height & 0x3FFF) if start == b"\x9d\x01\x2a" else (0, 0)
    return 0, 0


_ISPE = re.compile(rb"ispe.{4}(.{4})(.{4})", re.DOTALL)
_AVIF = frozenset({b"avif", b"avis"})
_HEIC = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})


def _iso_media(view: memoryview) -> ImageInfo:
    """AVIF, HEIC and their relatives: top-level boxes that fill the file exactly."""
    boxes = {kind: (start, end) for kind, start, end in _boxes(view)}
    start, end = boxes[b"ftyp"]
    brands = {bytes(view[at : at + 4]) for at in (start, *range(start + 8, min(end, _HEAD) - 3, 4))}
    verdict = "open-ended" if b"" in boxes else "ok"
    extension = "avif" if brands & _AVIF else "heic" if brands & _HEIC else ""
    if not extension:
        return _odd("unknown format: ISO media such as MP4")
    index = boxes.get(b"meta") or boxes.get(b"moov")
    if not index or not (b"mdat" in boxes or re.compile(b"idat").search(view, *index)):
        raise Corrupt("the file ends before its picture")
    # Thumbnails and tiles state their size in the same way: the largest is the picture.
    sizes = [(int.from_bytes(match[1]), int.from_bytes(match[2])) for match in _ISPE.finditer(view, *index)]
    width, height = max(sizes, key=lambda size: size[0] * size[1], default=(None, None))
    return _image(extension, width, height, verdict)


def _boxes(view: memoryview) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of each box's content. An empty kind follows a box that says "to the end of the file"."""
    at = 0
    while at < len(view):
        size, kind = _field(view, ">I4s", at)
        header = 8
        if size == 1:
            size, header = _field(view, ">Q", at + 8)[0], 16
        if size == 0 and kind == b"mdat":
            size = len(view) - at
            yield b"", at, at
        if size < header or at + size > len(view):
            raise Corrupt("the file is cut short, or its boxes do not add up")
        yield kind, at + header, at + size
        at += size


_SPACE = b" \t\r\n\f"
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")  # every binary format has some of these near its start
_SVG_START = re.compile(
    rb"(?>\s+|<\?xml.*?\?>|<!--.*?-->|<!DOCTYPE[^\[>]*(?:\[[^\]]*\]\s*)?>)*+<(?:\w+:)?svg[\s/>]",
    re.DOTALL | re.IGNORECASE,
)
_SVG_END = re.compile(rb"</(?:\w+:)?svg\s*>(?>\s+|<!--.*?-->)*+\Z", re.DOTALL | re.IGNORECASE)


def _document(view: memoryview, head: bytes) -> ImageInfo | None:
    """Text is an error page, a challenge or a message, whatever the header called it; only SVG is kept."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        head = head.decode("utf-16", "replace").encode("utf-8", "replace")
    if _CONTROL.search(head):
        return None
    text = head.removeprefix(codecs.BOM_UTF8).lstrip(_SPACE)
    if _SVG_START.match(text):
        if not _SVG_END.search(bytes(view[-_HEAD:])):
            raise Corrupt("the SVG is cut short")
        return _odd("svg")
    if text.startswith(b"<?xml"):
        raise NotAnImage("an XML document came instead of an image")
    if text.startswith(b"<"):
        raise NotAnImage("a web page came instead of an image")
    if text.startswith((b"{", b"[")):
        raise NotAnImage("a JSON document came instead of an image")
    raise NotAnImage("plain text came instead of an image")


_ODD_NAMES = {
    b"%PDF-": "PDF",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"BM": "BMP",
    b"\x00\x00\x01\x00": "ICO",
    b"8BPS": "PSD",
    b"\xff\x0a": "JPEG XL",
    b"\x00\x00\x00\x0cJXL ": "JPEG XL",
    b"PK\x03\x04": "ZIP",
    b"\x1f\x8b": "gzip",
    b"\x1a\x45\xdf\xa3": "Matroska or WebM",
}


def _odd_name(head: bytes) -> str:
    return next((f": {name}" for magic, name in _ODD_NAMES.items() if head.startswith(magic)), "")


def _odd(verdict: str) -> ImageInfo:
    """SVG is among them on purpose: served from one's own bucket under its own type, it may run scripts."""
    return ImageInfo(content_type="application/octet-stream", extension="bin", verdict=verdict)


def _image(extension: str, width: int | None, height: int | None, verdict: str) -> ImageInfo:
    kind = "jpeg" if extension == "jpg" else extension
    return ImageInfo(content_type=f"image/{kind}", extension=extension, width=width, height=height, verdict=verdict)


def _field(view: memoryview, layout: str, at: int) -> tuple[Any, ...]:
    try:
        return struct.unpack_from(layout, view, at)
    except struct.error:
        raise Corrupt("the file is cut short") from None


def _end_of_content(view: memoryview) -> int:
    """The length without zeros at the end, which some servers pad with."""
    end = len(view)
    while end:
        start = max(0, end - _BLOCK)
        if kept := len(bytes(view[start:end]).rstrip(b"\0")):
            return start + kept
        end = start
    return 0


def _verdict(view: memoryview, end: int) -> str:
    return "ok" if _end_of_content(view) <= end else "trailing-bytes"


_FORMATS: tuple[tuple[Callable[[bytes], bool], Callable[[memoryview], ImageInfo]], ...] = (
    # Two signs each, so that one damaged byte does not turn a PNG into an unknown format.
    (lambda head: head[1:4] == b"PNG" or head[12:16] == b"IHDR", _png),
    (lambda head: head[:2] == b"\xff\xd8", _jpeg),
    (lambda head: head[:6] in (b"GIF87a", b"GIF89a"), _gif),
    (lambda head: head[:4] == b"RIFF" and head[8:12] == b"WEBP", _webp),
    (lambda head: head[4:8] == b"ftyp", _iso_media),
    (lambda head: head[:5] == b"%PDF-", lambda _: _odd("unknown format: PDF")),
)
